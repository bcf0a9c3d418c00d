"""Trying what was learned: the scenario is simulated, and its lag is held beside the lag that was seen."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sim.declare.declared import Floats
from sim.declare.scenario import Progress, Scenario
from sim.evidence.history import History, of_kind
from sim.evidence.lags import lags
from sim.learn.findings import LagSeen
from sim.wording import quantity
from sim.worlds.simulated import simulate

_EVENTS = 200_000  # simulated in all
_SEEDS = 10
TOLERANCE = 0.2  # how far a predicted quantile may lie outside of what was seen


@dataclass(frozen=True, slots=True)
class Trial:
    """Quantiles of lag in seconds: the median over the seeds, and the least and the most of them."""

    p50_s: tuple[float, float, float]
    p95_s: tuple[float, float, float]
    seeds: int
    seen: LagSeen

    @property
    def agrees(self) -> bool | None:
        """Whether the middle of both quantiles lies within what was seen, or near it. None where none was seen.

        The spread of the seeds is no excuse: the wider it is, the less such a scenario says.
        """
        if not self.seen.n:
            return None
        return all(
            low * (1 - TOLERANCE) <= middle <= high * (1 + TOLERANCE)
            for (middle, _, _), (low, high) in ((self.p50_s, self.seen.p50_s), (self.p95_s, self.seen.p95_s))
        )

    def in_words(self) -> str:
        """What it predicts and what was seen, in a sentence or two."""
        what = "lag of first attempts" if self.seen.first_attempts else "lag"
        said = f"This scenario predicts a {what} with p50 {_span(self.p50_s)} and p95 {_span(self.p95_s)}"
        if not self.seen.n:
            return f"{said}. The lag that was seen is not known, because {self.seen.unknown}."
        seen = f"{said}; seen were p50 {_bounds(self.seen.p50_s)} and p95 {_bounds(self.seen.p95_s)}."
        return seen if self.agrees else f"{seen} They do not agree: do not rely on this scenario."

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        found = asdict(self)
        del found["seen"]
        return found | {"agrees": self.agrees}


def try_out(scenario: Scenario, seen: LagSeen, at_begin: int, progress: Progress | None = None) -> Trial:
    """Simulate the scenario with some seeds. The first `at_begin` arrivals stand for others, so they do not count."""
    arrivals = scenario.plan(0).arrivals_s.size
    seeds = int(np.clip(_EVENTS // max(1, arrivals), 1, _SEEDS))
    history = simulate(scenario, range(seeds), progress=progress)
    first_s = scenario.plan(0).arrivals_s[at_begin] if at_begin < arrivals else 0.0
    of_runs = [found[intended >= first_s] for found, intended in _lags(history, first_attempts=seen.first_attempts)]
    p50, p95 = (_middle([float(np.quantile(lag_s, q)) for lag_s in of_runs]) for q in (0.5, 0.95))
    return Trial(p50, p95, seeds, seen)


def _lags(history: History, *, first_attempts: bool) -> list[tuple[Floats, Floats]]:
    """The lag of each message and when it was sent, of each run: until it was handled, or its first attempt ended."""
    if not first_attempts:
        found = lags(history)
        runs = [found.run == run for run in range(len(history.runs))]
        return [(found.lag_s[of_run], found.intended_s[of_run]) for of_run in runs]
    ended = of_kind(history.rows, "handled", "failed")
    firsts = [ended[(ended["attempt"] == 1) & (ended["run"] == run)] for run in range(len(history.runs))]
    return [(first["t_s"] - first["intended_s"], first["intended_s"]) for first in firsts]


def _middle(of_runs: list[float]) -> tuple[float, float, float]:
    return float(np.median(of_runs)), min(of_runs), max(of_runs)


def _span(value: tuple[float, float, float]) -> str:
    middle, least, most = (quantity(each, "s") for each in value)
    return f"{middle} ({least} to {most})"


def _bounds(value: tuple[float, float]) -> str:
    return f"{quantity(value[0], 's')} to {quantity(value[1], 's')}"
