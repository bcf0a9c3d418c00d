"""Does a history do what is expected of it? It holds, it fails, or so few runs cannot tell. Pure."""

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

import numpy as np

from sim.declare.expectations import Expectation
from sim.declare.scenario import Scenario
from sim.errors import InvalidScenario
from sim.evidence.export import own_name, under_all_names
from sim.evidence.history import ROW, History, Left, Run
from sim.evidence.metrics import Interval, Metrics, measure, measure_seeds, summarize, unit_of
from sim.wording import at_least, quantity, runs_in_words

Outcome = Literal["holds", "fails", "cannot tell"]

RUNS_MIN = 3  # fewer give no interval
_NEAREST = 5  # names that are suggested for one that is unknown


@dataclass(frozen=True, slots=True)
class Judged:
    """An expectation and what was found: the mean over runs with its 95 % confidence interval, in `unit`.

    A quantile of lag that falls among messages which were never handled is a lower bound (`unhandled` is their share):
    its interval has no upper end, so a limit from above can fail and never hold.
    """

    expectation: Expectation
    mean: float
    low: float
    high: float
    runs: int
    unit: str
    unhandled: float = 0.0

    @property
    def outcome(self) -> Outcome:
        """It holds, or fails, where the whole interval does; else so many runs cannot tell.

        The interval is Student's t over independent runs. Source: Law, "Simulation Modeling and Analysis", 5th edition,
        2015, section 9.4.1.
        """
        held = self.expectation.holds_between(self.low, self.high)
        return "cannot tell" if held is None else "holds" if held else "fails"

    @property
    def immeasurable(self) -> bool:
        """No run has the number, such as the recovery of a service that no fault meets. More runs would not help."""
        return math.isnan(self.mean)

    @property
    def verdict(self) -> str:
        """The outcome as it is written: "holds", "fails" or "cannot tell from 5 runs"."""
        if self.immeasurable:
            return self.outcome
        return f"{self.outcome} from {runs_in_words(self.runs)}" if self.outcome == "cannot tell" else self.outcome

    @property
    def expected(self) -> str:
        """What is expected, with the metric's own unit: "lag_s_p99 < 500 ms"."""
        wanted = self.expectation
        return f"{wanted.metric} {wanted.operator} {quantity(wanted.limit, self.unit)}"

    @property
    def found(self) -> str:
        """What was found: "310 ms (95 % interval 280 ms to 340 ms, 30 runs)"."""
        if self.immeasurable:
            why = ", because no fault meets it" if self.expectation.metric.endswith("recovery_s") else ""
            return f"no run has such a number{why}; expect another metric"
        mean = at_least(quantity(self.mean, self.unit), self.unhandled)
        if not math.isfinite(self.low):
            few = f"; give {RUNS_MIN} seeds or more" if self.runs < RUNS_MIN else ""
            return f"{mean} ({runs_in_words(self.runs)}, no interval{few})"
        low = quantity(self.low, self.unit)
        between = f"from {low} on" if self.unhandled else f"{low} to {quantity(self.high, self.unit)}"
        return f"{mean} (95 % interval {between}, {runs_in_words(self.runs)})"


def metric_names(scenario: Scenario) -> dict[str, str]:
    """The metrics that a history of a scenario has, and the unit of each: those of a run in which nothing happened."""
    left = dict.fromkeys(scenario.services, Left(0, 0, 0, 0, 0))
    nothing = History("simulated", scenario, "none", (Run(0, 0, 0.0, left),), np.zeros(0, ROW))
    return under_all_names({name: unit_of(name) for name in measure(nothing)}, scenario)


def expectations_of(scenario: Scenario, texts: Iterable[str] = ()) -> tuple[Expectation, ...]:
    """What is expected of a scenario: what it says itself, and these texts.

    Raises:
        InvalidScenario: a text expects nothing, names no metric of the scenario, or has another unit than its metric.
    """
    problems, found = [], list(scenario.expectations)
    for text in texts:
        try:
            found.append(Expectation.parse(text))
        except ValueError as error:
            problems.append(f"expect: {error}")
    if found:
        known = metric_names(scenario)
        problems += [f"expect: {problem}" for one in found if (problem := _problem(one, known))]
    if problems:
        raise InvalidScenario(scenario.name, *problems)
    return tuple(dict.fromkeys(found))


def _problem(wanted: Expectation, known: dict[str, str]) -> str | None:
    if wanted.metric not in known:
        return _unknown(wanted.metric, known)
    unit = known[wanted.metric]
    if wanted.unit not in ("", unit):
        return f"{wanted.metric} is in {unit}, not in {wanted.unit}; give the number in {unit}"
    return None


def check_metrics(metrics: Iterable[str], known: Collection[str]) -> None:
    """See that all of these are metrics that are known.

    Raises:
        InvalidScenario: one is not.
    """
    if problems := [_unknown(metric, known) for metric in metrics if metric not in known]:
        raise InvalidScenario("metric", *problems)


def _unknown(metric: str, known: Collection[str]) -> str:
    near = get_close_matches(metric, known, n=_NEAREST, cutoff=0.4) or list(known)[:_NEAREST]
    return f"there is no metric {metric!r}; the nearest are {', '.join(near)}"


def judge(expectations: Sequence[Expectation], metrics: Metrics) -> list[Judged]:
    """What is expected beside what independent runs show: `metrics` has a value for each of them."""
    return [judge_values(wanted, _found(wanted.metric, metrics)) for wanted in expectations]


def judge_history(expectations: Sequence[Expectation], history: History) -> list[Judged]:
    """What is expected beside what the seeds of a history show. Repeats of a seed are no independent runs."""
    return judge(expectations, measure_seeds(history)) if expectations else []


def judge_values(wanted: Expectation, found: Interval) -> Judged:
    """What is expected beside a number and its interval. Infinite in one run is infinite on average."""
    low, high = (found.mean, found.mean) if math.isinf(found.mean) else (found.low, found.high)
    return Judged(wanted, found.mean, low, high, found.runs, unit_of(wanted.metric), found.unhandled)


def _found(metric: str, metrics: Metrics) -> Interval:
    """The mean and the interval of a metric; one that is a lower bound has no upper end."""
    name = own_name(metric, metrics)
    share, found = metrics.unhandled.get(name, np.zeros(1)).mean(), summarize(metrics[name])
    return open_above(found, float(share)) if share else found


def open_above(found: Interval, unhandled: float) -> Interval:
    """The interval of a mean that is a lower bound, because this share was never handled. It has no upper end."""
    return Interval(found.mean, found.low, math.nan if math.isnan(found.low) else math.inf, found.runs, unhandled)


def judged_json(judged: Iterable[Judged]) -> list[dict[str, Any]]:
    """The expectations and what was found, for machines."""
    return [
        {
            "expect": one.expected,
            "metric": one.expectation.metric,
            "operator": one.expectation.operator,
            "limit": one.expectation.limit,
            "unit": one.unit,
            "outcome": one.outcome,
            "mean": one.mean,
            "low": one.low,
            "high": one.high,
            "runs": one.runs,
            "unhandled": one.unhandled,
        }
        for one in judged
    ]
