"""compare(): the simulated world beside the live one, and each difference beside the noise floor of the live world.

Runs of one seed have the same arrivals, service times and failures in both worlds, so they are compared pair by pair.
The noise floor is the difference between two live runs of one seed.
"""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from sim.declare.declared import Floats
from sim.errors import InvalidHistory
from sim.evidence.checks import Check, check
from sim.evidence.export import checks_json, runs_json, under_all_names
from sim.evidence.history import History
from sim.evidence.metrics import Interval, is_predicted, last_services, measure, of_seeds, summarize, unit_of


@dataclass(frozen=True, slots=True)
class Row:
    """One metric in both worlds, in `unit`. A number that does not exist is NaN.

    `simulated` and `live` are means over the shared seeds. `error` is simulated minus live, averaged over these seeds.
    `distance` is the mean absolute difference of a simulated and a live run of one seed, `noise_floor` that of two live
    runs of one seed.
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
    def relative_noise_floor(self) -> float:
        """The noise floor as a share of the live value."""
        return abs(self.noise_floor / self.live) if self.live else np.nan

    @property
    def within_noise(self) -> bool | None:
        """Is a simulated run as close to a live run as two live runs are? None where either distance is unknown."""
        if np.isnan(self.distance) or np.isnan(self.noise_floor):
            return None
        return bool(self.distance <= self.noise_floor)


@dataclass(frozen=True)
class Comparison:
    """The numbers of both worlds and the verdicts on the live one."""

    simulated: History
    live: History
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    checks: tuple[Check, ...]

    def __getitem__(self, metric: str) -> Row:
        return next(row for row in self.rows if row.metric == metric)

    @property
    def predictions(self) -> list[Row]:
        """The rows that the simulation predicts, each once.

        Where one service ends every flow, its lag and throughput are those of the system, so its own rows are left out.
        """
        names = {row.metric for row in self.rows}
        last = last_services(self.live.scenario)
        repeated = {f"{last[0]}.{name}" for name in names} if len(last) == 1 else set()
        return [row for row in self.rows if row.metric not in repeated and is_predicted(row.metric)]

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
    predicted, measured = measure(simulated), measure(live)
    rows = tuple(_row(name, simulated, predicted[name], live, measured[name], seeds) for name in measured)
    return Comparison(simulated, live, seeds, rows, tuple(check(live)))


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """The comparison for machines: what ran live, every metric in both worlds, and the verdicts."""
    metrics = {
        row.metric: {
            "simulated": row.simulated,
            "simulated_interval": [row.simulated_interval.low, row.simulated_interval.high],
            "live": row.live,
            "live_interval": [row.live_interval.low, row.live_interval.high],
            "error": row.error,
            "distance": row.distance,
            "noise_floor": row.noise_floor,
            "inside": row.within_noise,
            "unit": row.unit,
        }
        for row in comparison.rows
    }
    ran = runs_json(comparison.live) | {
        "seeds": list(comparison.seeds),
        "simulated_runs": len(comparison.simulated.runs),
        "overheads": comparison.simulated.overheads,
    }
    metrics = under_all_names(metrics, comparison.live.scenario)
    return ran | {"metrics": metrics, "checks": checks_json(comparison.checks)}


def _row(
    metric: str, simulated: History, predicted: Floats, live: History, measured: Floats, seeds: tuple[int, ...]
) -> Row:
    by_seed = [(_of_seed(simulated, predicted, seed), _of_seed(live, measured, seed)) for seed in seeds]
    means = [(_mean(runs), _mean(repeats)) for runs, repeats in by_seed]
    return Row(
        metric,
        unit_of(metric),
        simulated=_mean([simulated_mean for simulated_mean, _ in means]),
        live=_mean([live_mean for _, live_mean in means]),
        error=_mean([simulated_mean - live_mean for simulated_mean, live_mean in means]),
        distance=_mean([_apart(*pair) for runs, repeats in by_seed for pair in itertools.product(runs, repeats)]),
        noise_floor=_mean([_apart(*pair) for _, repeats in by_seed for pair in itertools.combinations(repeats, 2)]),
        simulated_interval=summarize(predicted),
        live_interval=summarize(of_seeds(live, measured)),
    )


def _of_seed(history: History, values: Floats, seed: int) -> list[float]:
    return [float(value) for run, value in zip(history.runs, values, strict=True) if run.seed == seed]


def _apart(one: float, other: float) -> float:
    return 0.0 if one == other else abs(one - other)  # two infinities agree


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else np.nan
