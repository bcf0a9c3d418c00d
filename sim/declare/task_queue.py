"""A task queue, as declared: how its messages are shared among priorities and tenants, and whose turn is when."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
from pydantic import Field, model_validator

from eventlib.queueing import PRIORITIES, WEIGHTS, Limit, passed_by_max, pattern_of, tenant_passed_by_max
from sim.declare.declared import Declared, Numbers, places_among
from sim.wording import quantity

_ALL = 1e-6  # shares that add up to 1 within this are all of the messages


def _check_sum(shares: Iterable[float], where: str = "") -> None:
    total = sum(shares)
    if abs(total - 1.0) > _ALL:
        raise ValueError(f"{where}the shares add up to {total:g}; make them add up to 1")


class PriorityShares(Declared):
    """Which share of the messages has each priority. They add up to 1."""

    critical: float = Field(default=0.0, ge=0, le=1)
    high: float = Field(default=0.0, ge=0, le=1)
    normal: float = Field(default=0.0, ge=0, le=1)
    low: float = Field(default=0.0, ge=0, le=1)

    def in_order(self) -> list[float]:
        """The shares in the order of `PRIORITIES`."""
        return [getattr(self, name) for name in PRIORITIES]

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        _check_sum(self.in_order())
        return self


class PriorityWeights(Declared):
    """How many turns each priority has of all."""

    critical: int = Field(default=WEIGHTS["critical"], ge=1, le=100)
    high: int = Field(default=WEIGHTS["high"], ge=1, le=100)
    normal: int = Field(default=WEIGHTS["normal"], ge=1, le=100)
    low: int = Field(default=WEIGHTS["low"], ge=1, le=100)

    def in_order(self) -> list[int]:
        """The weights in the order of `PRIORITIES`."""
        return [getattr(self, name) for name in PRIORITIES]


@dataclass(frozen=True, slots=True)
class Labels:
    """The priority and the tenant of each message of a service: places in `PRIORITIES` and in the queue's tenants.

    Both arrays have shape (messages,). Without tenants, all messages are of tenant 0.
    """

    priority: Numbers
    tenant: Numbers


class StartRate(Declared):
    """At most `starts` in any window of `per_s` seconds, over all consumers."""

    starts: int = Field(ge=1)
    per_s: float = Field(default=1.0, ge=0.001, le=1e6)


class TaskQueue(Declared):
    """The queue of a service: its messages are tasks, each with a priority and a tenant, drawn by these shares.

    Priorities take turns by their `weights`. If the queue is `fair`, so do the tenants of one priority, by their
    `fair_weights` (1 for those that are not named); else the tasks of one priority start in their order.

    Over all consumers, at most `limit` tasks run at once, and at most `limit_per_tenant` of each tenant. `rate` bounds
    how many start. A task that waits for a limit holds up no other.
    """

    priorities: PriorityShares = PriorityShares(normal=1.0)
    weights: PriorityWeights = PriorityWeights()
    tenants: dict[str, float] = Field(default_factory=dict)
    fair: bool = True
    fair_weights: dict[str, float] = Field(default_factory=dict)
    limit: int | None = Field(default=None, ge=1)
    limit_per_tenant: int | None = Field(default=None, ge=1)
    rate: StartRate | None = None

    @model_validator(mode="after")
    def _check_tenants(self) -> Self:
        for name, share in self.tenants.items():
            if not 0 <= share <= 1:
                raise ValueError(f"tenants.{name}: {share:g} is no share; give a number from 0 to 1")
            if name in PRIORITIES:
                raise ValueError(f"tenants.{name}: is the name of a priority, so its numbers would be too; rename it")
        if self.tenants:
            _check_sum(self.tenants.values(), "tenants: ")
        elif self.limit_per_tenant is not None:
            raise ValueError("limit_per_tenant: there are no tenants; declare their shares, or give limit")
        for name, weight in self.fair_weights.items():
            if name not in self.tenants:
                raise ValueError(f"fair_weights.{name}: there is no such tenant; name one of {', '.join(self.tenants)}")
            if not 0.001 <= weight <= 1000:
                raise ValueError(f"fair_weights.{name}: {weight:g}; give a number from 0.001 to 1000")
        return self

    @property
    def takes_turns_by_tenant(self) -> bool:
        """Whether tenants take turns."""
        return self.fair and len(self.tenants) > 1

    def used_priorities(self) -> list[int]:
        """The priorities that messages have, as places in `PRIORITIES`."""
        return [place for place, share in enumerate(self.priorities.in_order()) if share > 0]

    def bounds(self) -> dict[str, int | None]:
        """The parts of the queue, and how many dispatches pass a task of each at most. None: nothing is promised.

        Parts are the priorities that messages have, if there are several, and the tenants, if there are several. What
        passes a task of a tenant has its priority. Nothing is promised of tasks that wait for a limit.
        """
        used, found = self.used_priorities(), dict[str, int | None]()
        if len(used) > 1:
            pattern = pattern_of(self.weights.in_order())
            found |= {PRIORITIES[one]: passed_by_max(pattern, one) for one in used}
        if len(self.tenants) > 1:
            weights = {name: self.fair_weights.get(name, 1.0) for name in self.tenants}
            for name, weight in weights.items():
                others = [weights[other] for other in self.tenants if other != name]
                found[name] = tenant_passed_by_max(weight, others) if self.fair else None
        return dict.fromkeys(found) if self.limits("") else found

    def tenant_at(self, place: int) -> str:
        """The name of the tenant at this place; '' if there are none."""
        return list(self.tenants)[place] if self.tenants else ""

    def limits(self, tenant: str) -> list[Limit]:
        """The limits of a tenant's task, in the order in which the library asks them."""
        found = []
        if self.limit is not None:
            found.append(Limit("all", at_once=self.limit))
        if self.limit_per_tenant is not None:
            found.append(Limit(f"tenant {tenant}", at_once=self.limit_per_tenant))
        if self.rate is not None:
            found.append(Limit("rate", starts=self.rate.starts, within_s=self.rate.per_s))
        return found

    def draw(self, n: int, rng: np.random.Generator) -> Labels:
        """The labels of n messages. Those of the first ones do not depend on n."""
        drawn = rng.random((n, 2))
        priorities, tenants = np.cumsum(self.priorities.in_order()), np.cumsum(list(self.tenants.values()) or [1.0])
        return Labels(places_among(drawn[:, 0], priorities), places_among(drawn[:, 1], tenants))

    def in_words(self) -> str:
        """Which messages it has, and whose turn is when, as half a sentence."""
        shares, weights = self.priorities.in_order(), self.weights.in_order()
        used = self.used_priorities()
        words = ", ".join(f"{100 * shares[one]:g} % {PRIORITIES[one]}" for one in used)
        if len(used) > 1:
            words += f"; turns {':'.join(str(weights[one]) for one in used)}"
        if self.tenants:
            by_tenant = ", ".join(f"{100 * share:g} % {name}" for name, share in self.tenants.items())
            words += f"; {by_tenant}; {'fair by tenant' if self.fair else 'not fair by tenant'}"
        if self.limit is not None:
            words += f"; at most {self.limit} at once"
        if self.limit_per_tenant is not None:
            words += f"; at most {self.limit_per_tenant} at once of a tenant"
        if self.rate is not None:
            words += f"; at most {self.rate.starts} starts in {quantity(self.rate.per_s, 's')}"
        return words
