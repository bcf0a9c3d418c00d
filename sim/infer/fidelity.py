"""fidelity(): how good predictions are over many scenarios. All are predicted from one calibration before any runs.

A goal is a number of scenarios in which a metric is predicted to a tolerance. Where the load was late, or the machine
busier or calmer than it was timed, a scenario is counted apart: that says nothing about the model.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from sim.calibration import Calibration
from sim.declare.order import run_order
from sim.declare.scenario import Progress, Scenario
from sim.errors import InvalidScenario
from sim.evidence.checks import generator_late, invalid
from sim.evidence.history import joined
from sim.infer.compare import Comparison, Row, compare, comparison_json
from sim.infer.predict import REPLICATIONS, predict
from sim.infer.prediction import Prediction
from sim.progress import shown
from sim.tables import html_table
from sim.wording import digits
from sim.worlds.live import run_live, server_at

REPEATS = 5
FLOORS = 1.5  # two runs of one seed are about one noise floor apart
GOALS = {"throughput_per_s": 0.02, "lag_s_p50": 0.05, "lag_s_p95": 0.10, "lag_s_p99": 0.15}
_AIMS = {"lag_s_p50": "11 of 12", "lag_s_p95": "23 of 24", "lag_s_p99": "23 of 24"}
_SHARES = ("relative_error", "relative_floor")
_COVERED = ("lag_s_p50", "lag_s_p95", "lag_s_p99", "attempts_mean", "dead_letters")
_PREDICTING = 0.05  # about the share of the time that predicting takes
_PRIOR, JUDGED = 0, 1  # seeds: one live run of the first is "the last run" before those of the second


@dataclass(frozen=True, slots=True)
class Score:
    """How many scenarios reach a goal, of those in which it could be told. `aim` says what the goal is."""

    name: str
    reached: int
    of: int
    aim: str


@dataclass(frozen=True, repr=False)
class Fidelity:
    """The comparisons of many scenarios, each predicted before any of them ran."""

    comparisons: tuple[Comparison, ...]

    @property
    def judged(self) -> list[Comparison]:
        """Those whose load was sent as declared, and worked off, on the machine as it was timed."""
        return [one for one in self.comparisons if _reason(one) is None]

    @property
    def invalid(self) -> dict[str, str]:
        """The names of the others, and why each is none."""
        return {one.live.scenario.name: reason for one in self.comparisons if (reason := _reason(one)) is not None}

    def scores(self) -> list[Score]:
        """How many scenarios reach each goal."""
        judged, found = self.judged, []
        for metric, tolerance in GOALS.items():
            rows = [one[metric] for one in judged if math.isfinite(one[metric].relative_error)]
            good = sum(abs(row.relative_error) <= tolerance for row in rows)
            found.append(Score(f"{metric} within {100 * tolerance:g} %", good, len(rows), _AIMS.get(metric, "all")))
        for metric in list(GOALS)[1:]:
            rows = [row for row in (one[metric] for one in judged) if math.isfinite(row.floor + row.error)]
            good = sum(abs(row.error) <= FLOORS * row.floor for row in rows)
            found.append(Score(f"{metric} at most {FLOORS:g} noise floors off", good, len(rows), "three quarters"))
        cells = [*self._covered_rows()]
        covered, repeats = (sum(values) for values in ([row.covered for row in cells], [row.repeats for row in cells]))
        found.append(Score("live runs where 95 in 100 were predicted to lie", covered, repeats, "90 to 99 %"))
        return found

    def medians(self) -> list[tuple[str, float, float, dict[str, float]]]:
        """For each metric of the goals: the median error, the median noise floor, and the median of each baseline.

        All are shares of the live value. A baseline is taken over the scenarios of which it says something.
        """
        found = []
        for metric in GOALS:
            rows = [one[metric] for one in self.judged]
            baselines: dict[str, float] = {}
            for name in sorted({name for row in rows for name in row.baselines}):
                shares = [row.baselines[name] / abs(row.live) for row in rows if name in row.baselines and row.live]
                baselines[name] = _median(shares)
            error, floor = (
                _median([abs(row.relative_error) for row in rows]),
                _median([row.relative_floor for row in rows]),
            )
            found.append((metric, error, floor, baselines))
        return found

    def beaten(self) -> dict[str, dict[str, float]]:
        """For each metric and baseline: the median distance of the prediction over that of the baseline."""
        found: dict[str, dict[str, float]] = {}
        for metric in GOALS:
            rows = [one[metric] for one in self.judged]
            for name in sorted({name for row in rows for name in row.baselines}):
                both = [row for row in rows if row.baselines.get(name, 0.0) > 0.0]
                found.setdefault(metric, {})[name] = _median([row.distance / row.baselines[name] for row in both])
        return found

    def __repr__(self) -> str:
        return f"Fidelity of {len(self.comparisons)} scenarios"

    def __str__(self) -> str:
        (_, _, goals), *_ = self.tables()
        return "\n".join((repr(self), *("{:<48}{:>9}  {}".format(*row) for row in goals)))

    def _repr_html_(self) -> str:
        (_, header, goals), *_ = self.tables()
        return html_table(repr(self), header, goals)

    def tables(self) -> list[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
        """What is to be shown, as text: a title, a header and rows each."""
        goals: list[tuple[str, ...]] = [(one.name, f"{one.reached} of {one.of}", one.aim) for one in self.scores()]
        shares = [(metric, *map(_percent, (error, floor, *of.values()))) for metric, error, floor, of in self.medians()]
        names = sorted({name for *_, of in self.medians() for name in of})
        return [
            ("Goals", ("goal", "reached", "aim"), goals),
            ("Medians of the errors, without sign", ("metric", "prediction", "noise floor", *names), shares),
            ("Error / noise floor of each scenario", ("scenario", *GOALS, "not judged"), list(self._scenario_rows())),
        ]

    def _scenario_rows(self) -> Iterator[tuple[str, ...]]:
        for one in self.comparisons:
            cells = (
                f"{_percent(row.relative_error, signed=True)} / {_percent(row.relative_floor)}"
                for row in map(one.__getitem__, GOALS)
            )
            yield one.live.scenario.name, *cells, _reason(one) or ""

    def _covered_rows(self) -> Iterator[Row]:
        for one in self.judged:
            for row in one.predictions:
                if row.metric.rpartition(".")[2] in _COVERED:
                    yield row


async def fidelity(
    scenarios: Sequence[Scenario],
    *,
    calibration: Calibration,
    repeats: int = REPEATS,
    replications: int = REPLICATIONS,
    url: str | None = None,
    progress: Progress | None = None,
) -> Fidelity:
    """Predict every scenario, then run each: once for one seed, `repeats` times for the seed that is judged.

    Raises:
        InvalidScenario: there are none, or two have one name, or one would record too many rows.
        SimError, EventlibError: as `predict` and `run_live` do.
    """
    names = [one.name for one in scenarios]
    if not names or len(set(names)) < len(names):
        raise InvalidScenario("scenarios", "give at least one, and each a name of its own")
    for scenario in scenarios:
        scenario.check_size(len(run_order([JUDGED], repeats)))
    comparisons: list[Comparison] = []
    with server_at(url) as address, shown(progress, f"predicting {len(names)} scenarios, then running them") as advance:
        predictions: list[Prediction] = []
        for number, scenario in enumerate(scenarios):
            advance(_PREDICTING * number / len(names))
            predictions.append(predict(scenario, [JUDGED], calibration=calibration, replications=replications))
        for number, (scenario, prediction) in enumerate(zip(scenarios, predictions, strict=True)):
            told = partial(_part, advance, number, len(names))
            prior = await run_live(scenario, [_PRIOR], repeats=1, url=address, progress=lambda share: None)
            live = await run_live(scenario, [JUDGED], repeats=repeats, url=address, progress=told)
            comparisons.append(compare(prediction, joined(prior, live)))
    return Fidelity(tuple(comparisons))


def fidelity_json(found: Fidelity) -> dict[str, Any]:
    """The result for machines: the goals, the medians, and each scenario's comparison with its prediction's hash."""
    return {
        "goals": [{"goal": one.name, "reached": one.reached, "of": one.of, "aim": one.aim} for one in found.scores()],
        "medians": {
            metric: {"error": error, "floor": floor, "baselines": baselines}
            for metric, error, floor, baselines in found.medians()
        },
        "distance_over_baseline": found.beaten(),
        "invalid": found.invalid,
        "tables": [{"title": title, "header": header, "rows": rows} for title, header, rows in found.tables()],
        "scenarios": {one.live.scenario.name: comparison_json(one) for one in found.comparisons},
    }


def _part(progress: Progress, number: int, of: int, share: float) -> None:
    """The progress of one of several scenarios, once all are predicted."""
    progress(_PREDICTING + (1.0 - _PREDICTING) * (number + min(1.0, share)) / of)


def _reason(comparison: Comparison) -> str | None:
    """Why a comparison says nothing of the prediction, in a few words."""
    if generator_late(comparison.checks):
        return "load too late"
    if invalid(comparison.checks):
        return "not worked off"
    return "not as timed" if comparison.drift is not None and not comparison.drift.as_timed else None


def _median(values: list[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return float(np.median(known)) if known else math.nan


def _percent(share: float, *, signed: bool = False) -> str:
    return f"{digits(100 * share, significant=2, signed=signed)} %" if math.isfinite(share) else "-"
