"""How many consumers a service has when it is scaled by its backlog: the rule, and what it remembers."""

from collections import deque
from collections.abc import Collection
from math import ceil
from typing import Self

from pydantic import Field, model_validator

from sim.declare.declared import Declared
from sim.wording import digits, quantity

LEAVE_S = 5.0  # longest wait of a consumer that is stopped for its handlers; then what it holds is given back


class Autoscale(Declared):
    """Let a service have between `min` and `max` consumers: one for each `backlog_per_consumer` messages of backlog.

    Every `every_s` seconds the backlog is looked at: all that is yet to be settled, retries included. More consumers
    are started when it has called for them at each look of the last `up_after_s` seconds. Some are stopped when it has
    called for fewer at each look of the last `down_after_s` seconds. A consumer that is stopped ends what it handles
    and gives the rest back. The defaults are those of Kubernetes.

    Source: Kubernetes, "Horizontal Pod Autoscaling": the algorithm with a target average value, and the stabilization
    windows for scaling up and down.
    """

    min: int = Field(default=1, ge=1, le=100)
    max: int = Field(ge=1, le=100)
    backlog_per_consumer: float = Field(gt=0)
    every_s: float = Field(default=15.0, ge=0.05, le=1e5)
    up_after_s: float = Field(default=0.0, ge=0, le=1e5)
    down_after_s: float = Field(default=300.0, ge=0, le=1e5)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.max < self.min:
            raise ValueError(f"max: {self.max} is below min, {self.min}; raise max or lower min")
        return self

    def wanted(self, backlog: float) -> int:
        """How many consumers a backlog calls for."""
        return min(self.max, max(self.min, ceil(backlog / self.backlog_per_consumer)))

    def in_words(self) -> str:
        """The rule as half a sentence."""
        each = f"one for each {digits(self.backlog_per_consumer)} messages of backlog"
        return f"{self.min} to {self.max}, {each}, looked at every {quantity(self.every_s, 's')}"


class Autoscaler:
    """What an `Autoscale` has called for lately. Times are seconds of any clock that does not go back.

    The `consumers` that there are at `now_s`, its beginning, count as what it called for then.
    """

    __slots__ = ("_called_for", "_rule")

    def __init__(self, rule: Autoscale, consumers: int, now_s: float) -> None:
        self._rule = rule
        self._called_for = deque([(now_s, consumers)])  # the looks of the longer window: when, and how many

    def decide(self, backlog: float, consumers: int, now_s: float) -> int:
        """How many consumers there are to be from now on, where there are `consumers`."""
        rule, wanted = self._rule, self._rule.wanted(backlog)
        keeps_s = max(rule.up_after_s, rule.down_after_s)
        while self._called_for and self._called_for[0][0] <= now_s - keeps_s:
            self._called_for.popleft()
        self._called_for.append((now_s, wanted))
        least = min((many for at_s, many in self._called_for if at_s > now_s - rule.up_after_s), default=wanted)
        most = max((many for at_s, many in self._called_for if at_s > now_s - rule.down_after_s), default=wanted)
        return min(most, max(least, consumers))


def moves(present: Collection[int], wanted: int) -> tuple[list[int], list[int]]:
    """The consumers to start and those to stop, by index: a service of n consumers has those from 0 to n - 1."""
    start = [index for index in range(wanted) if index not in present]
    return start, sorted(index for index in present if index >= wanted)
