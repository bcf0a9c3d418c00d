"""Decides which waiting task starts next: whose turn a priority is, and whose turn a tenant is within a priority.

Pure functions, and a queue made of them. The server's scripts follow the same rules, and tests hold both together. The
simulator calls these.

Priorities take turns by a fixed pattern (weighted round robin). A priority without a waiting task is skipped. So the
oldest waiting task of a priority is passed by at most `passed_by_max` other dispatches, even if new tasks keep coming.
With the default weights that is 1 for critical, 3 for high, 7 for normal and 14 for low.

Within a priority, tenants take turns by start tags (start-time fair queueing). A tenant's tasks start in their order.
If all weights are equal, a tenant that had nothing to do starts its task within as many dispatches of the priority as
there are tenants with waiting tasks, its own included.

Source: Goyal, Vin and Cheng, "Start-time Fair Queueing", IEEE/ACM Transactions on Networking 5(5), 1997.
"""

import heapq
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit by its name: at most `at_once` tasks run, or else at most `starts` begin in any window of `within_s`."""

    name: str
    at_once: int | None = None
    starts: int = 0
    within_s: float = 0.0


def next_start_s(limit: Limit, started_s: Sequence[float], now_s: float) -> float:
    """When a task may start, by a limit with `starts`: `now_s` if it may now. `started_s` are the starts in order."""
    recent = [at_s for at_s in started_s if at_s > now_s - limit.within_s]
    return recent[-limit.starts] + limit.within_s if len(recent) >= limit.starts else now_s


_SUSPECTS = Limit("(suspects)", at_once=1)  # they wait as if for a limit


@dataclass(slots=True)
class _Waiting(Generic[T]):
    """An item that waits. `tag` is its start tag, once it has had its turn and waits for a limit."""

    item: T
    priority: int
    tenant: str
    place: int
    limits: Sequence[Limit]
    tag: float = 0.0
    woken: str = ""  # by which limit
    suspect: bool = False


class FairQueue(Generic[T]):
    """Waiting items, by priority and tenant. The server's queue hands tasks out in the same order.

    An item whose limit has no room is blocked. It holds up no other, and when there is room, it has its old start tag.
    """

    def __init__(self, weights: Sequence[int], tenant_weights: Mapping[str, float] | None = None) -> None:
        self._pattern = pattern_of(weights)
        self._turn = 0
        self._places = 0
        self._lines = [_Line[T](tenant_weights or {}) for _ in weights]
        self._limits: _Limits[T] = _Limits()

    def __len__(self) -> int:
        return sum(line.size for line in self._lines) + self._limits.blocked

    def add(
        self, item: T, priority: int, tenant: str = "", place: int | None = None, limits: Sequence[Limit] = ()
    ) -> int:
        """Let an item wait behind the others of its tenant, or at the place that it had before. Returns its place."""
        if place is None:
            self._places += 1
            place = self._places
        self._lines[priority].add(_Waiting(item, priority, tenant, place, limits))
        return place

    def set_aside(self, suspect: T, priority: int, place: int, limits: Sequence[Limit] = ()) -> None:
        """Let an item wait that may be what ended its workers. It has no slot meanwhile.

        It waits for a worker that holds nothing that was taken over (see `policy.is_suspect`).
        """
        self.free(limits)
        tag = self._lines[priority].virtual_time
        waiting = _Waiting(suspect, priority, "", place, limits, tag, suspect=True)
        self._come_back(self._limits.block(waiting, _SUSPECTS, 0.0))

    @property
    def suspects_wait(self) -> bool:
        """Whether an item waits for a worker that may have a suspect."""
        return self._limits.blocks(_SUSPECTS)

    def let_suspects_come(self) -> None:
        """A worker asks that may have a suspect: the first one of each priority comes back."""
        self._come_back(self._limits.wake(_SUSPECTS.name))

    def take(self, now_s: float = 0.0, *, may_take_suspect: bool = False) -> T | None:
        """The item that starts next, at `now_s`. None if no item may start."""
        self.look(now_s)
        while (chosen := next_priority(self._pattern, self._turn, [line.size > 0 for line in self._lines])) is not None:
            priority, following = chosen
            line = self._lines[priority]
            waiting = line.take()
            kept_apart = waiting.suspect and not may_take_suspect
            limit = _SUSPECTS if kept_apart else self._limits.acquire(waiting, now_s)
            if limit is None:
                self._turn = following
                line.started(waiting.tag)
                return waiting.item
            self._come_back(self._limits.block(waiting, limit, now_s))
            line.rest()
        return None

    def look(self, now_s: float) -> None:
        """Let items come back whose limits of starts have room again."""
        self._come_back(self._limits.due(now_s))

    def free(self, limits: Sequence[Limit]) -> None:
        """An item that ran has ended: its slots go to those that wait for them."""
        for limit in limits:
            self._come_back(self._limits.free(limit))

    def has_ready(self) -> bool:
        """Whether an item waits that is not blocked."""
        return any(line.size for line in self._lines)

    @property
    def due_s(self) -> float | None:
        """When a limit with `starts` has room again for a blocked item. None if none waits for one."""
        return self._limits.due_s

    def _come_back(self, items: Iterable[_Waiting[T]]) -> None:
        for waiting in items:
            self._lines[waiting.priority].come_back(waiting)


class _Line(Generic[T]):
    """The waiting items of one priority."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        self.size = 0
        self._weights = weights
        self.virtual_time = 0.0
        self._tags: dict[str, float] = {}  # of each tenant's next item; also of tenants that had something to do lately
        self._items: dict[str, list[tuple[int, _Waiting[T]]]] = {}  # heaps: first the place of each item
        self._back: list[tuple[float, int, _Waiting[T]]] = []  # a heap of those that were blocked, by tag and place

    def add(self, waiting: _Waiting[T]) -> None:
        tenant = waiting.tenant
        self._tags[tenant] = start_tag(self.virtual_time, self._tags.get(tenant))
        heapq.heappush(self._items.setdefault(tenant, []), (waiting.place, waiting))
        self.size += 1

    def come_back(self, waiting: _Waiting[T]) -> None:
        heapq.heappush(self._back, (waiting.tag, waiting.place, waiting))
        self.size += 1

    def take(self) -> _Waiting[T]:
        self.size -= 1
        while True:
            tenant = min(self._tags, key=lambda name: (self._tags[name], name.encode()), default=None)
            if self._back and not (tenant is not None and self._tags[tenant] < self._back[0][0]):
                return heapq.heappop(self._back)[2]
            assert tenant is not None, "an item waits"
            tag = max(self.virtual_time, self._tags[tenant])
            items = self._items[tenant]
            if items:
                waiting = heapq.heappop(items)[1]
                waiting.tag = tag
                self._tags[tenant] = following_tag(tag, self._weights.get(tenant, 1.0))
                return waiting
            self.virtual_time = tag
            del self._tags[tenant]  # it has had nothing to do since, and its next item may start as soon as any other

    def started(self, tag: float) -> None:
        self.virtual_time = max(self.virtual_time, tag)
        self.rest()

    def rest(self) -> None:
        """If no item waits any more, the next one of any tenant may start at once."""
        if not self.size and self._tags:
            self.virtual_time = max(self.virtual_time, *self._tags.values())
            self._tags.clear()


class _Limits(Generic[T]):
    """What limits have in use, and the items that wait for them."""

    def __init__(self) -> None:
        self._running: Counter[str] = Counter()
        self._started_s: dict[str, list[float]] = {}
        self._blocked: dict[str, dict[int, list[tuple[float, int, _Waiting[T]]]]] = {}  # by limit and priority: heaps
        self._timers: dict[str, tuple[float, Limit]] = {}

    @property
    def blocked(self) -> int:
        return sum(len(line) for lines in self._blocked.values() for line in lines.values())

    def blocks(self, limit: Limit) -> bool:
        return limit.name in self._blocked

    @property
    def due_s(self) -> float | None:
        return min((at_s for at_s, _ in self._timers.values()), default=None)

    def acquire(self, waiting: _Waiting[T], now_s: float) -> Limit | None:
        """Take all that a start needs, or nothing. Returns the limit that has no room."""
        for limit in waiting.limits:
            if not self._has_room(limit, now_s):
                return limit
        for limit in waiting.limits:
            if limit.at_once is not None:
                self._running[limit.name] += 1
            else:
                started_s = self._started_s.setdefault(limit.name, [])
                self._started_s[limit.name] = [at for at in started_s if at > now_s - limit.within_s] + [now_s]
        return None

    def block(self, waiting: _Waiting[T], limit: Limit, now_s: float) -> Iterator[_Waiting[T]]:
        """Let an item wait for a limit. If another limit had let it go, the next one of that limit comes instead."""
        before, waiting.woken = waiting.woken, ""
        line = self._blocked.setdefault(limit.name, {}).setdefault(waiting.priority, [])
        heapq.heappush(line, (waiting.tag, waiting.place, waiting))
        if limit.at_once is None:
            at_s = next_start_s(limit, self._started_s.get(limit.name, ()), now_s)
            self._timers.setdefault(limit.name, (at_s, limit))
        if before and before != limit.name:
            yield from self.wake(before)

    def free(self, limit: Limit) -> Iterator[_Waiting[T]]:
        if limit.at_once is not None:
            self._running[limit.name] -= 1
            yield from self.wake(limit.name)

    def wake(self, name: str) -> Iterator[_Waiting[T]]:
        """The first item of each priority, and whose turn it is gets the room.

        If only the most urgent one were let go, the others could wait for ever.
        """
        lines = self._blocked.get(name, {})
        for priority in sorted(lines):
            waiting = heapq.heappop(lines[priority])[-1]
            if not lines[priority]:
                del lines[priority]
            waiting.woken = name
            yield waiting
        if not lines:
            self._blocked.pop(name, None)

    def due(self, now_s: float) -> Iterator[_Waiting[T]]:
        """The items whose limits of starts have room again."""
        for name, (at_s, limit) in list(self._timers.items()):
            if at_s > now_s:
                continue
            del self._timers[name]
            recent = [at for at in self._started_s.get(name, ()) if at > now_s - limit.within_s]
            for _ in range(limit.starts - len(recent)):
                yield from self.wake(name)
            if self._blocked.get(name):
                next_s = next_start_s(limit, recent, now_s)
                self._timers[name] = (next_s if next_s > now_s else now_s + limit.within_s, limit)

    def _has_room(self, limit: Limit, now_s: float) -> bool:
        if limit.at_once is not None:
            return self._running[limit.name] < limit.at_once
        return next_start_s(limit, self._started_s.get(limit.name, ()), now_s) <= now_s
