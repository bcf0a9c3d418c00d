"""How busy dependencies were: what their slots note while a run goes on, and the metrics of that.

A look at a dependency has a row of each of the `LOOKS`. All but the last are totals since the run began, so that the
difference of two looks is exact, and the number of rows does not grow with that of calls.
"""

from collections.abc import Iterator

import numpy as np

from sim.declare.declared import Floats
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
    found: dict[str, float] = {}
    for number, (name, dependency) in enumerate(scenario.dependencies.items()):
        own = rows[(rows["service"] == -1) & (rows["consumer"] == number) & (rows["t_s"] >= from_s)]
        busy, waited, begun, waiting = (own[own["kind"] == KIND[kind]] for kind in LOOKS)
        calls, length_s = (_gain(begun["value"]), _gain(busy["t_s"]))
        queue = waiting["value"]
        found |= {
            f"{DEPENDENCIES}.{name}.utilisation": _ratio(_gain(busy["value"]), dependency.capacity * length_s),
            f"{DEPENDENCIES}.{name}.wait_s_mean": _ratio(_gain(waited["value"]), calls),
            f"{DEPENDENCIES}.{name}.queue_mean": float(queue.mean()) if queue.size else np.nan,
            f"{DEPENDENCIES}.{name}.queue_max": float(queue.max()) if queue.size else np.nan,
        }
    return found


def _gain(totals: Floats) -> float:
    return float(totals[-1] - totals[0]) if totals.size else 0.0


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else np.nan
