"""compare(): simulated beside live, each difference beside the noise floor of the live world itself.

Runs of one seed had the same arrivals, service times and failures in both worlds, so they are compared pair by pair.
The noise floor is what the live world disagrees with itself by: the same seed, run again.
"""

import itertools
from dataclasses import dataclass

import numpy as np

from sim.declare.declared import Floats
from sim.errors import InvalidHistory
from sim.evidence.checks import Check, check
from sim.evidence.history import History
from sim.evidence.metrics import Interval, measure, of_seeds, summarize, unit_of


@dataclass(frozen=True, slots=True)
class Row:
    """One metric in both worlds, in `unit`.

    `simulated` and `live` are means over the shared seeds; `error` is the mean of simulated minus live, seed by seed;
    `distance` is the mean absolute difference of a simulated and a live run of one seed, `noise_floor` that of two live
    ones. NaN where there is no such number.
    """

    metric: str
    unit: str
    simulated: float
    live: float
    error: float
    distance: float
    noise_floor: float
    simulated_interval: Interval
    live_interval: Interval

    @property
    def relative_error(self) -> float:
        """The error as a share of the live value."""
        return self.error / self.live if self.live else np.nan

    @property
    def within_noise(self) -> bool | None:
        """Are simulated and live no further apart than two live runs are? None where either is unknown."""
        if np.isnan(self.distance) or np.isnan(self.noise_floor):
            return None
        return bool(self.distance <= self.noise_floor)


@dataclass(frozen=True)
class Comparison:
    """Both worlds' numbers and the verdicts on the live one."""

    simulated: History
    live: History
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    checks: tuple[Check, ...]

    def __getitem__(self, metric: str) -> Row:
        return next(row for row in self.rows if row.metric == metric)

    def __str__(self) -> str:
        head = f"{'metric':<28}{'simulated':>12}{'live':>12}{'error':>12}{'noise floor':>13}  unit"
        lines = [
            f"{r.metric:<28}{r.simulated:>12.4g}{r.live:>12.4g}{r.error:>+12.3g}{r.noise_floor:>13.3g}  {r.unit}"
            for r in self.rows
        ]
        return "\n".join((f"{self.live.scenario.name} on {self.live.server}, seeds {list(self.seeds)}", head, *lines))


def compare(simulated: History, live: History) -> Comparison:
    """Put two histories of one scenario side by side.

    Raises:
        InvalidHistory: they are of different scenarios or worlds, or have no seed in common.
    """
    if (simulated.world, live.world) != ("simulated", "live"):
        raise InvalidHistory("compare", f"needs a simulated and a live history, not {simulated.world} and {live.world}")
    if simulated.scenario != live.scenario:
        raise InvalidHistory("compare", "the histories are of different scenarios; run both with the same file")
    seeds = tuple(sorted({run.seed for run in simulated.runs} & {run.seed for run in live.runs}))
    if not seeds:
        raise InvalidHistory("compare", "the histories share no seed; give both worlds the same first seeds")
    theirs, ours = measure(live), measure(simulated)
    rows = tuple(_row(name, simulated, ours[name], live, theirs[name], seeds) for name in theirs)
    return Comparison(simulated, live, seeds, rows, tuple(check(live)))


def _row(
    metric: str, simulated: History, predicted: Floats, live: History, measured: Floats, seeds: tuple[int, ...]
) -> Row:
    by_seed = [(_of_seed(simulated, predicted, seed), _of_seed(live, measured, seed)) for seed in seeds]
    pairs = [(float(ours.mean()), float(theirs.mean())) for ours, theirs in by_seed]
    pairs_of_repeats = [pair for _, repeats in by_seed for pair in itertools.combinations(repeats.tolist(), 2)]
    apart = [0.0 if a == b else abs(a - b) for ours, theirs in by_seed for a in ours.tolist() for b in theirs.tolist()]
    noise = [0.0 if a == b else abs(a - b) for a, b in pairs_of_repeats]  # two infinities agree
    return Row(
        metric,
        unit_of(metric),
        _mean([ours for ours, _ in pairs]),
        _mean([theirs for _, theirs in pairs]),
        _mean([ours - theirs for ours, theirs in pairs]),
        _mean(apart),
        _mean(noise),
        summarize(predicted),
        summarize(of_seeds(live, measured)),
    )


def _of_seed(history: History, values: Floats, seed: int) -> Floats:
    return values[[index for index, run in enumerate(history.runs) if run.seed == seed]]


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else np.nan
