"""compare(): what was predicted beside what was measured, and whether each prediction is good to a stated tolerance.

Runs of one seed have the same arrivals, service times and failures in both worlds, so they are compared pair by pair.
Live runs of one seed differ all the same: that is the noise of the measurement, the error bar of each error.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any, Literal

import numpy as np
from scipy import special

from sim.declare.declared import Floats
from sim.errors import InvalidHistory
from sim.evidence.checks import Check, check
from sim.evidence.export import checks_json, lower_bound_json, runs_json, under_all_names
from sim.evidence.history import History
from sim.evidence.lags import last_services
from sim.evidence.metrics import (
    Interval,
    Metrics,
    is_predicted,
    measure,
    summarize,
    unit_of,
)
from sim.infer.baselines import formula, last_run
from sim.infer.drift import Drift, drift
from sim.infer.prediction import NOT_PREDICTED, Predicted, Prediction
from sim.tables import html_table
from sim.wording import lower_bound, number

TOLERANCE = 0.10  # how far a prediction may be off, as a share of the live value, unless told otherwise
HEADLINE = "lag_s_p95"  # the prediction that a comparison as a whole is judged by

Closeness = Literal["within", "outside", "too noisy", "unknown"]


@dataclass(frozen=True, slots=True)
class Row:
    """One metric in both worlds, in `unit`. A number that does not exist is NaN.

    `simulated` and `live` are means over the shared seeds. `error` is simulated minus live, averaged over these seeds,
    and `distance` the average without its sign. `noise` is the half-width of the error's 95 % error bar: what it may
    come to because live runs of one seed differ. It is taken from the `live_runs` runs of the shared seeds (Student's
    t, variances of all seeds pooled), and NaN where no seed ran twice. What own handlers do is not the same in both
    worlds: there it holds how far the replications are apart, too. `floor` is how far two live runs of one seed are
    apart: the mean over all `pairs` of them.

    `simulated_interval` is where 95 in 100 live runs should lie, as predicted. `covered` of `repeats` live runs lay
    there, each a mean over the seeds; both are 0 where no interval was predicted. `live_interval` is that of the live
    mean. `drifted` says that the machine was not as it was when it was timed.
    `baselines` has the distance of each baseline that predicts this metric, by its name.
    """

    metric: str
    unit: str
    simulated: float
    live: float
    error: float
    noise: float
    live_runs: int
    simulated_interval: Interval
    live_interval: Interval
    tolerance: float = TOLERANCE
    distance: float = math.nan
    floor: float = math.nan
    pairs: int = 0
    covered: int = 0
    repeats: int = 0
    drifted: bool = False
    baselines: Mapping[str, float] = field(default_factory=dict)

    @property
    def relative_error(self) -> float:
        """The error as a share of the live value; infinite where only the live value is 0."""
        return _share(self.error, self.live)

    @property
    def relative_noise(self) -> float:
        """The noise as a share of the live value."""
        return abs(_share(self.noise, self.live))

    @property
    def relative_floor(self) -> float:
        """The noise floor as a share of the live value."""
        return abs(_share(self.floor, self.live))

    def beats(self, baseline: str) -> bool | None:
        """Whether the prediction is closer than a baseline. None where the baseline says nothing of this metric."""
        distance = self.baselines.get(baseline, math.nan)
        return None if math.isnan(distance) or math.isnan(self.distance) else self.distance < distance

    @property
    def verdict(self) -> Closeness:
        """Is the relative error, as it is shown, within the tolerance?

        It is "too noisy" to tell where the error bar reaches across the tolerance or is not known, or where the machine
        has drifted and the error is larger. It is "unknown"
        where there is no error, or where it is one of lower bounds and the true one may lie on either side. A live 0,
        of which no error is a share, is within where all live runs lie where they were predicted to lie.
        """
        if self.live == 0 and self.error and self.repeats:
            return "within" if self.covered == self.repeats else "outside"
        error, noise = abs(self.relative_error), self.relative_noise
        if math.isnan(error) or not self._at_least_so_far_off():
            return "unknown"
        if error + noise <= self.tolerance:
            return "within"
        return "outside" if error - noise > self.tolerance and not self.drifted else "too noisy"

    @property
    def in_words(self) -> str:
        """The verdict, as tables show it. Where it is not the noise that hides the error, it says what does."""
        beyond = abs(self.relative_error) - self.relative_noise > self.tolerance
        return "machine changed" if self.verdict == "too noisy" and beyond else self.verdict

    def _at_least_so_far_off(self) -> bool:
        """Whether the true error, if it is not this one, lies further out: a lower bound is above the other number."""
        simulated, live = self.simulated_interval.unhandled, self.live_interval.unhandled
        if not simulated and not live:
            return True
        further = self.error > 0 if simulated else self.error < 0
        return further and not (simulated and live) and abs(self.relative_error) > self.tolerance


@dataclass(frozen=True, repr=False)
class Comparison:
    """The numbers of both worlds and the verdicts on the live one.

    `simulated` is the history that figures draw, where there is one; the numbers are those of `prediction`. `drift` is
    None where the machine was not timed.
    """

    prediction: Prediction
    live: History
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    checks: tuple[Check, ...]
    tolerance: float = TOLERANCE
    simulated: History | None = None
    drift: Drift | None = None

    def __getitem__(self, metric: str) -> Row:
        for row in self.rows:
            if row.metric == metric:
                return row
        raise KeyError(f"no metric {metric!r}; there are: {', '.join(row.metric for row in self.rows)}")

    @property
    def headline(self) -> Row:
        """The prediction that the comparison as a whole is judged by."""
        return self[HEADLINE]

    @property
    def predictions(self) -> list[Row]:
        """The rows that the simulation predicts, each once.

        Where one service ends every flow, its lag and throughput are those of the system, so its own rows are left out.
        """
        names = {row.metric for row in self.rows}
        last = last_services(self.live.scenario)
        repeated = {f"{last[0]}.{name}" for name in names} if len(last) == 1 else set()
        return [row for row in self.rows if row.metric not in repeated and is_predicted(row.metric)]

    def __repr__(self) -> str:
        return f"Comparison of {self._caption()}"

    def __str__(self) -> str:
        head = f"{'metric':<28}{'error':>9}{'noise':>11}{'simulated':>14}{'live':>14}  {'unit':<9}verdict"
        lines = ["{:<28}{:>9}{:>11}{:>14}{:>14}  {:<9}{}".format(*_cells(row)).rstrip() for row in self.rows]
        return "\n".join((self._caption(), head, *lines))

    def _repr_html_(self) -> str:
        header = ("metric", "error", "noise", "simulated", "live", "unit", "verdict")
        return html_table(self._caption(), header, (_cells(row) for row in self.rows))

    def _caption(self) -> str:
        title = f"{self.live.scenario.name} on {self.live.server}, seeds {list(self.seeds)}"
        told = f"tolerance {100 * self.tolerance:g} %, noise from n = {self.rows[0].live_runs} live runs"
        return f"{title}: {told}"


def compare(
    predicted: History | Prediction, live: History, *, tolerance: float = TOLERANCE, simulated: History | None = None
) -> Comparison:
    """Put a prediction, or a simulated history, beside live runs of the same scenario.

    `tolerance` is a share of the live value: 0.1 is 10 %. `simulated` is what figures show beside a prediction; a
    simulated history as `predicted` is shown itself.

    Raises:
        InvalidHistory: the histories are of different scenarios or worlds, or have no seed in common, or the tolerance
            is no positive number.
        InvalidPrediction: the prediction is of another scenario.
    """
    if not (math.isfinite(tolerance) and tolerance > 0):
        raise InvalidHistory("compare", f"tolerance is {tolerance:g}; give a share above 0, such as 0.1 for 10 %")
    world = predicted.world if isinstance(predicted, History) else "simulated"
    if (world, live.world) != ("simulated", "live"):
        raise InvalidHistory("compare", f"needs a simulated and a live history, not {world} and {live.world}")
    if isinstance(predicted, Prediction):
        predicted.check_is_of(live.scenario)
    elif predicted.scenario != live.scenario:
        raise InvalidHistory("compare", "the histories are of different scenarios; run both with the same file")
    ran = {run.seed for run in live.runs}
    if isinstance(predicted, History):
        seeds = tuple(sorted({run.seed for run in predicted.runs} & ran))
        if not seeds:
            raise InvalidHistory("compare", "the histories share no seed; give both worlds the same first seeds")
        prediction, simulated = Prediction.of(predicted, seeds), predicted
    else:
        prediction, seeds = predicted, predicted.seeds
        if missing := sorted(set(seeds) - ran):
            raise InvalidHistory("compare", f"seed {missing[0]} was predicted and did not run live; run all its seeds")
    measured, of_formula = measure(live), formula(live)
    drifted = drift({name: np.array(one.of_seeds) for name, one in prediction.metrics.items()}, measured)
    rows = tuple(
        replace(
            _row(name, prediction, _values(live, measured, name, seeds), of_formula.get(name, math.nan), tolerance),
            drifted=drifted is not None and not drifted.as_timed,
        )
        for name in measured
    )
    return Comparison(prediction, live, seeds, rows, tuple(check(live)), tolerance, simulated, drifted)


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
            "relative_error": row.relative_error,
            "noise": row.noise,
            "relative_noise": row.relative_noise,
            "floor": row.floor,
            "relative_floor": row.relative_floor,
            "pairs": row.pairs,
            "covered": row.covered,
            "repeats": row.repeats,
            "baselines": {
                name: {"distance": distance, "beaten": row.beats(name)} for name, distance in row.baselines.items()
            },
            "inside": {"within": True, "outside": False}.get(row.verdict),
            "unit": row.unit,
            "verdict": row.verdict if is_predicted(row.metric) else None,
        }
        | {
            f"{world}_{key}": value
            for world, of_world in (("simulated", row.simulated_interval), ("live", row.live_interval))
            for key, value in lower_bound_json(of_world).items()
        }
        for row in comparison.rows
    }
    ran = runs_json(comparison.live) | {
        "seeds": list(comparison.seeds),
        "live_runs": comparison.headline.live_runs,
        "simulated_runs": len(comparison.prediction.seeds) * comparison.prediction.replications,
        "calibration": comparison.prediction.calibration,
        "tolerance": comparison.tolerance,
        "prediction": {"sha256": comparison.prediction.sha256, "made": comparison.prediction.made},
        "drift": None if (found := comparison.drift) is None else {"ratios": found.ratios, "as_timed": found.as_timed},
    }
    metrics = under_all_names(metrics, comparison.live.scenario)
    return ran | {"metrics": metrics, "checks": checks_json(comparison.checks)}


@dataclass(frozen=True, slots=True)
class _Values:
    """A live metric: its values in the order of runs, for each shared seed those of its runs, and what is unhandled."""

    history: History
    all: Floats
    runs: list[Floats]
    unhandled: list[Floats]

    def means(self) -> Floats:
        return np.array([_mean(of_seed) for of_seed in self.runs])

    def interval(self) -> Interval:
        return summarize(self.means(), np.array([_mean(of_seed) for of_seed in self.unhandled]))

    def last_runs(self, seeds: tuple[int, ...]) -> Floats:
        """What each of the seeds would be, were it as the last run: shape (seeds,)."""
        every = sorted({run.seed for run in self.history.runs})
        return last_run(self.history, self.all)[[every.index(seed) for seed in seeds]]


def _values(history: History, found: Metrics, metric: str, seeds: tuple[int, ...]) -> _Values:
    of_runs = np.array([run.seed for run in history.runs])
    values = found[metric]
    unhandled = found.unhandled.get(metric, np.zeros(values.size))
    runs, shares = ([one[of_runs == seed] for seed in seeds] for one in (values, unhandled))
    return _Values(history, values, runs, shares)


def _row(metric: str, prediction: Prediction, live: _Values, of_formula: float, tolerance: float) -> Row:
    seeds = prediction.seeds
    found = prediction.metrics.get(metric, NOT_PREDICTED)
    simulated, means = np.array(found.of_seeds or (np.nan,) * len(seeds)), live.means()
    apart = [_apart(*pair) for pair in zip(simulated, means, strict=True)]
    floor, pairs = _floor(live.runs)
    covered, repeats = _covered(found, live.runs)
    noise = _noise(live.runs)
    if any(service.app is not None for service in prediction.scenario.services.values()):
        noise = math.hypot(noise, (found.high - found.low) / 2.0)
    baselines = {"M/M/c": np.full(means.size, of_formula), "last run": live.last_runs(seeds)}
    return Row(
        metric,
        unit_of(metric),
        simulated=_mean(simulated),
        live=_mean(means),
        error=_mean(np.array(apart)),
        noise=noise,
        live_runs=sum(of_seed.size for of_seed in live.runs),
        simulated_interval=found.interval(prediction.replications),
        live_interval=live.interval(),
        tolerance=tolerance,
        distance=_mean(np.abs(apart)),
        floor=floor,
        pairs=pairs,
        covered=covered,
        repeats=repeats,
        baselines={name: _distance(values, means) for name, values in baselines.items() if not np.isnan(values).all()},
    )


def _distance(values: Floats, live: Floats) -> float:
    """How far values are from the live ones, averaged over the seeds for which there are both."""
    known = ~np.isnan(values) & ~np.isnan(live)
    return _mean(np.abs([_apart(*pair) for pair in zip(values[known], live[known], strict=True)]))


def _floor(live: list[Floats]) -> tuple[float, int]:
    """How far two live runs of one seed are apart, averaged over all pairs of them, and how many pairs there are."""
    apart = [abs(_apart(*map(float, pair))) for of_seed in live for pair in combinations(of_seed, 2)]
    return _mean(np.array(apart)), len(apart)


def _covered(found: Predicted, live: list[Floats]) -> tuple[int, int]:
    """How many live runs lie where they were predicted to lie, of how many. Each is a mean over the seeds."""
    if math.isnan(found.low) or math.isnan(found.high):
        return 0, 0
    runs = np.array([values[: min(of_seed.size for of_seed in live)] for values in live]).mean(axis=0)
    runs = runs[~np.isnan(runs)]
    rounding = 1e-9 * np.abs(runs)  # a mean of equal values may differ from them in its last digit
    inside = (runs >= found.low - rounding) & (runs <= found.high + rounding)
    return int(inside.sum()), runs.size


def _noise(live: list[Floats]) -> float:
    """Half the width of the 95 % error bar of a mean over seeds, from how far the runs of each seed are apart."""
    freedom = sum(of_seed.size - 1 for of_seed in live)
    if not freedom:
        return np.nan
    squares = sum(_apart(float(value), _mean(of_seed)) ** 2 for of_seed in live for value in of_seed)
    of_mean = sum(squares / freedom / of_seed.size for of_seed in live) / len(live) ** 2
    return float(special.stdtrit(freedom, 0.975) * np.sqrt(of_mean))


def _apart(one: float, other: float) -> float:
    return 0.0 if one == other else one - other  # two infinities agree


def _share(value: float, of: float) -> float:
    """`value` as a share of the live value `of`: infinite where that is 0 or infinite, unless `value` is 0."""
    if value == 0 or math.isnan(value):
        return value
    return value / abs(of) if of and math.isfinite(of) else math.copysign(math.inf, value)


def _mean(values: Floats) -> float:
    return float(values.mean()) if values.size else np.nan


def _cells(row: Row) -> tuple[str, ...]:
    """A row as text."""
    verdict = row.in_words if is_predicted(row.metric) else ""
    shares = _percent(row.relative_error), _bar(row.relative_noise)
    worlds = _at_least(row.simulated, row.simulated_interval), _at_least(row.live, row.live_interval)
    return row.metric, *shares, *worlds, row.unit, verdict


def _at_least(value: float, interval: Interval) -> str:
    return lower_bound(number(value), interval.unhandled)


def _percent(share: float) -> str:
    if not math.isfinite(share):
        return "-" if math.isnan(share) else "of 0"
    return f"{100 * share:+.1f} %"


def _bar(share: float) -> str:
    return f"+/-{100 * share:.1f} %" if math.isfinite(share) else "+/- ?"
