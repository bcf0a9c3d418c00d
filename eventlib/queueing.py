"""Decides which waiting task starts next: whose turn a priority is, and whose turn a tenant is within a priority.

Pure functions, and a queue made of them. The server's scripts follow the same rules, and tests hold both together. The
simulator calls these.

Priorities take turns by a fixed pattern (weighted round robin). A priority without a waiting task is skipped. So the
oldest waiting task of a priority is passed by at most `passed_by_max` other dispatches, whatever else comes: with the
default weights 1 for critical, 3 for high, 7 for normal and 14 for low.

Within a priority, tenants take turns by start tags (start-time fair queueing). A tenant's tasks start in their order.
If all weights are equal, a tenant that had nothing to do starts its task within as many dispatches of the priority as
there are tenants with waiting tasks, its own included.

Source: Goyal, Vin and Cheng, "Start-time Fair Queueing", IEEE/ACM Transactions on Networking 5(5), 1997.
"""

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, Literal, TypeVar

T = TypeVar("T")

Priority = Literal["critical", "high", "normal", "low"]
PRIORITIES: tuple[Priority, ...] = ("critical", "high", "normal", "low")
WEIGHTS: Mapping[Priority, int] = {"critical": 8, "high": 4, "normal": 2, "low": 1}


def pattern_of(weights: Sequence[int]) -> tuple[int, ...]:
    """The order in which priorities take turns, spread evenly: place `n` has the number of the priority.

    A priority of weight `w` among `W` in all has the turns number 1 to `w`. Turn number `n` comes at place
    `(n - 1) * W / w` or later, and no later than just before place `n * W / w`. Among those that may come, the one that
    has to come first does.
    """
    total = sum(weights)
    taken = [0] * len(weights)
    pattern: list[int] = []
    for place in range(total):
        ready = [n for n, weight in enumerate(weights) if taken[n] < weight and taken[n] * total <= place * weight]
        chosen = min(ready, key=lambda n: (-(-(taken[n] + 1) * total // weights[n]), n))
        taken[chosen] += 1
        pattern.append(chosen)
    return tuple(pattern)


def passed_by_max(pattern: Sequence[int], priority: int) -> int:
    """How many dispatches of others pass the oldest waiting task of a priority at most."""
    places = [place for place, each in enumerate(pattern) if each == priority]
    following = [*places[1:], places[0] + len(pattern)]
    return max(after - before for before, after in zip(places, following, strict=True)) - 1


def tenant_passed_by_max(weight: float, others: Iterable[float]) -> int:
    """How many dispatches of its priority pass the oldest waiting task of a tenant of this weight at most.

    While a task of a tenant of weight `w` waits for its turn, virtual time goes on by at most `1 / w`. Another tenant
    of weight `v` has a start at every `1 / v` of it.
    """
    return sum(math.floor(other / weight + 1e-9) + 1 for other in others)


def next_priority(pattern: Sequence[int], turn: int, waits: Sequence[bool]) -> tuple[int, int] | None:
    """The priority whose turn it is, and the turn that follows. None if no priority has a waiting task."""
    for step in range(len(pattern)):
        place = (turn + step) % len(pattern)
        if waits[pattern[place]]:
            return pattern[place], (place + 1) % len(pattern)
    return None


def start_tag(virtual_time: float, next_tag: float | None) -> float:
    """When a tenant's next task starts, in virtual time. `next_tag` is None if the tenant had nothing to do lately."""
    return virtual_time if next_tag is None else max(virtual_time, next_tag)


def following_tag(tag: float, weight: float) -> float:
    """The tag of the tenant's task after the one that has `tag`."""
    return tag + 1.0 / weight


class FairQueue(Generic[T]):
    """Waiting items, by priority and tenant. Without limits, the server's queue hands tasks out in the same order."""

    def __init__(self, weights: Sequence[int], tenant_weights: Mapping[str, float] | None = None) -> None:
        self._pattern = pattern_of(weights)
        self._turn = 0
        self._places = 0
        self._lines = [_Line[T](tenant_weights or {}) for _ in weights]

    def __len__(self) -> int:
        return sum(line.size for line in self._lines)

    def add(self, item: T, priority: int, tenant: str = "", place: int | None = None) -> int:
        """Let an item wait behind the others of its tenant, or at the place that it had before. Returns its place."""
        if place is None:
            self._places += 1
            place = self._places
        self._lines[priority].add(item, tenant, place)
        return place

    def take(self) -> T | None:
        """The item that starts next. None if no item waits."""
        chosen = next_priority(self._pattern, self._turn, [line.size > 0 for line in self._lines])
        if chosen is None:
            return None
        priority, self._turn = chosen
        return self._lines[priority].take()


class _Line(Generic[T]):
    """The waiting items of one priority."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        self.size = 0
        self._weights = weights
        self._virtual_time = 0.0
        self._tags: dict[str, float] = {}  # of each tenant's next item; also of tenants that had something to do lately
        self._items: dict[str, list[tuple[int, T]]] = {}  # heaps: first the place of each item

    def add(self, item: T, tenant: str, place: int) -> None:
        if not self.size and self._tags:  # a new busy period
            self._virtual_time = max(self._virtual_time, *self._tags.values())
            self._tags.clear()
        self._tags[tenant] = start_tag(self._virtual_time, self._tags.get(tenant))
        heapq.heappush(self._items.setdefault(tenant, []), (place, item))
        self.size += 1

    def take(self) -> T:
        while True:
            tenant = min(self._tags, key=lambda name: (self._tags[name], name.encode()))
            self._virtual_time = tag = max(self._virtual_time, self._tags[tenant])
            items = self._items[tenant]
            if items:
                self._tags[tenant] = following_tag(tag, self._weights.get(tenant, 1.0))
                self.size -= 1
                return heapq.heappop(items)[1]
            del self._tags[tenant]  # it has had nothing to do since, and its next item may start as soon as any other
