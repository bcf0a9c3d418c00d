"""How busy dependencies were: what their slots note while a run goes on, and the metrics of that.

A look at a dependency has a row of each of the `LOOKS`. All but the last are totals since the run began, so that the
difference of two looks is exact, and the number of rows does not grow with that of calls.
"""

from collections.abc import Iterator

import numpy as np

from sim.declare.scenario import Scenario
from sim.evidence.history import KIND, LOOKS, Rows

DEPENDENCIES = "dependencies"  # what their metrics begin with


class SlotUse:
    """What the slots of one dependency have done so far. Times are seconds of any clock that does not go back."""

    __slots__ = ("_at_s", "_begun", "_busy", "_busy_s", "_waited_s")

    def __init__(self, now_s: float) -> None:
        self._at_s = now_s
        self._busy = self._begun = 0
        self._busy_s = self._waited_s = 0.0

    def begin(self, now_s: float, waited_s: float) -> None:
        """A call gets a slot, after it has waited for so long."""
        self._pass(now_s)
        self._busy += 1
        self._begun += 1
        self._waited_s += waited_s

    def end(self, now_s: float) -> None:
        """A slot is free again."""
        self._pass(now_s)
        self._busy -= 1

    def look(self, now_s: float, waiting: int) -> Iterator[tuple[str, float]]:
        """The kinds and values of the rows of a look, at which so many calls wait."""
        self._pass(now_s)
        return zip(LOOKS, (self._busy_s, self._waited_s, float(self._begun), float(waiting)), strict=True)

    def _pass(self, now_s: float) -> None:
        self._busy_s += self._busy * (now_s - self._at_s)
        self._at_s = now_s


def dependency_metrics(scenario: Scenario, rows: Rows, from_s: float) -> dict[str, float]:
    """The metrics of all dependencies in one run, from a time on; NaN where there are no two looks.

    `utilisation` is the share of the time in which a slot was busy, averaged over the slots; `wait_s_mean` for how long
    calls waited that got a slot; `queue_mean` and `queue_max` how many waited at a look.
    """
    looks = Looks(scenario, from_s)
    looks.add(rows)
    return looks.metrics()


class Looks:
    """The looks at all dependencies in one run from a time on, counted while they come."""

    def __init__(self, scenario: Scenario, from_s: float) -> None:
        self._from_s = from_s
        self._dependencies = [_Looks(one.capacity) for one in scenario.dependencies.values()]
        self._names = list(scenario.dependencies)

    def add(self, rows: Rows) -> None:
        """Looks that follow the last ones; other rows are passed over."""
        if not self._names:
            return
        looks = rows[np.isin(rows["kind"], [KIND[kind] for kind in LOOKS]) & (rows["t_s"] >= self._from_s)]
        for number, dependency in enumerate(self._dependencies):
            dependency.add(looks[looks["consumer"] == number])

    def metrics(self) -> dict[str, float]:
        """What they come to: see `dependency_metrics`."""
        each = zip(self._names, self._dependencies, strict=True)
        return {f"{DEPENDENCIES}.{name}.{metric}": value for name, one in each for metric, value in one.metrics()}


class _Looks:
    """The looks at one dependency, which has so many slots."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._first, self._last = dict[str, Rows](), dict[str, Rows]()  # by kind, one row each
        self._looks, self._waiting, self._most = 0, 0.0, np.nan

    def add(self, rows: Rows) -> None:
        for kind in LOOKS:
            if (of_kind := rows[rows["kind"] == KIND[kind]]).size:
                self._first.setdefault(kind, of_kind[:1].copy())
                self._last[kind] = of_kind[-1:].copy()
        waiting = rows["value"][rows["kind"] == KIND["calls_waiting"]]
        self._looks += waiting.size
        self._waiting += float(waiting.sum())
        self._most = float(np.fmax(self._most, waiting.max())) if waiting.size else self._most

    def metrics(self) -> Iterator[tuple[str, float]]:
        length_s = self._gain("slots_busy", "t_s")
        yield "utilisation", _ratio(self._gain("slots_busy"), self._slots * length_s)
        yield "wait_s_mean", _ratio(self._gain("calls_waited"), self._gain("calls_begun"))
        yield "queue_mean", _ratio(self._waiting, self._looks)
        yield "queue_max", self._most

    def _gain(self, kind: str, column: str = "value") -> float:
        """By how much a total grew from the first look to the last one."""
        return float(self._last[kind][column][0] - self._first[kind][column][0]) if kind in self._last else 0.0


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else np.nan
