"""compare_kept(): two kept histories side by side, before and after a change of code, server or machine.

A metric has moved if the difference is larger than what runs of one seed differ by. Many metrics are judged at once, so
each interval is wide enough for all of them to hold together.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from scipy import special

from sim.declare.declared import Floats
from sim.declare.differences import changes, differences
from sim.errors import InvalidHistory
from sim.evidence.checks import Check, check
from sim.evidence.export import checks_json, runs_json
from sim.evidence.history import History
from sim.evidence.metrics import Metrics, is_predicted, measure, unit_of
from sim.tables import html_table
from sim.wording import lower_bound, number

CONFIDENCE = 0.95  # that all intervals of one comparison hold
_SAME_RUNS = 10  # so many that all say the same say it of others: an event that 3 in 10 runs have would have shown

_WORSE_IF_LOWER = ("throughput_per_s", "completed")
_NEITHER = ("utilisation", "duration_s", "found_after_return")  # more of it may be better or worse

Movement = Literal["better", "worse", "moved", "not moved", "unknown"]


@dataclass(frozen=True, slots=True)
class Moved:
    """One metric in two histories, in `unit`. `change` is the mean of the second minus that of the first.

    The true change lies between `low` and `high`. They are NaN where too few runs tell how far runs of one seed differ.
    `runs` counts the runs of each history that are in it. `unhandled` has for each history the share of messages that
    were never handled, where that makes the value a lower bound; else 0.
    """

    metric: str
    unit: str
    before: float
    after: float
    change: float
    low: float
    high: float
    runs: tuple[int, int]
    unhandled: tuple[float, float] = (0.0, 0.0)

    @property
    def relative_change(self) -> float:
        """The change as a share of the first value; infinite where only that is 0."""
        if self.change == 0 or math.isnan(self.change):
            return self.change
        return self.change / abs(self.before) if self.before else math.copysign(math.inf, self.change)

    @property
    def is_judged(self) -> bool:
        """Whether it says something of the system, and there is such a number: not how good a measurement was."""
        return is_predicted(self.metric) and not (math.isnan(self.before) and math.isnan(self.after))

    @property
    def verdict(self) -> Movement:
        """Whether it moved by more than the noise, and whether that is better or worse."""
        if math.isnan(self.low) or math.isnan(self.high):
            return "unknown"
        if self.low <= 0.0 <= self.high:
            return "not moved"
        worse = _worse_if(self.metric)
        if worse is None:
            return "moved"
        return "worse" if (self.change > 0) == (worse == "higher") else "better"


@dataclass(frozen=True, repr=False)
class KeptComparison:
    """Two histories, what is different about how they were made, and what moved."""

    before: History
    after: History
    differences: tuple[str, ...]
    seeds: tuple[int, ...]  # that both have, where runs are compared seed by seed
    rows: tuple[Moved, ...]
    checks: tuple[Check, ...]  # of the second history

    def __getitem__(self, metric: str) -> Moved:
        for row in self.rows:
            if row.metric == metric:
                return row
        raise KeyError(f"no metric {metric!r}; there are: {', '.join(row.metric for row in self.rows)}")

    def judged(self, verdict: Movement) -> list[Moved]:
        """The metrics with this verdict, without those that only say how good a measurement was."""
        return [row for row in self.rows if row.verdict == verdict and row.is_judged]

    @property
    def in_words(self) -> str:
        """What moved, in a sentence."""
        moved: tuple[Movement, ...] = ("worse", "better", "moved")
        told = [f"{len(found)} {verdict}" for verdict in moved if (found := self.judged(verdict))]
        unknown, judged = self.judged("unknown"), sum(row.is_judged for row in self.rows)
        told += [f"{len(unknown)} cannot be told"] if unknown else []
        return f"Of {judged} metrics: {', '.join(told)}" if told else f"None of {judged} metrics moved"

    def __repr__(self) -> str:
        return f"Comparison of two histories of {self.after.scenario.name}. {self.in_words}."

    def __str__(self) -> str:
        head = f"{'metric':<28}{'before':>12}{'after':>12}{'change':>11}{'interval':>24}  {'unit':<9}verdict"
        lines = ["{:<28}{:>12}{:>12}{:>11}{:>24}  {:<9}{}".format(*cells(row)).rstrip() for row in self.rows]
        return "\n".join((f"{self.in_words}.", *self.differences, head, *lines))

    def _repr_html_(self) -> str:
        header = ("metric", "before", "after", "change", "interval of the change", "unit", "verdict")
        return html_table(f"{self.in_words}.", header, map(cells, self.rows))


def compare_kept(before: History, after: History) -> KeptComparison:
    """Put two histories side by side. Where both have one load and share seeds, runs are compared seed by seed.

    Raises:
        InvalidHistory: they are of different worlds, or share no metric.
    """
    if before.world != after.world:
        raise InvalidHistory(
            "compare", f"one history is {before.world}, the other {after.world}; give two of one world"
        )
    first, second = measure(before), measure(after)
    names = [name for name in second if name in first]
    judged = sum(map(is_predicted, names))
    if not judged:
        raise InvalidHistory("compare", "the histories share no metric; give two of one scenario, or of versions of it")
    seeds: tuple[int, ...] = ()
    if before.scenario.offered_load == after.scenario.offered_load:  # then a seed sends the same in both
        seeds = tuple(sorted({run.seed for run in before.runs} & {run.seed for run in after.runs}))
    level = 1.0 - (1.0 - CONFIDENCE) / judged  # Dunn, "Multiple comparisons among means", 1961
    rows = tuple(_row(name, _Side(before, first, name), _Side(after, second, name), seeds, level) for name in names)
    return KeptComparison(before, after, tuple(_differences(before, after)), seeds, rows, tuple(check(after)))


def kept_json(found: KeptComparison) -> dict[str, Any]:
    """The comparison for machines."""
    metrics = {
        row.metric: {
            "before": row.before,
            "after": row.after,
            "change": row.change,
            "relative_change": row.relative_change,
            "interval": [row.low, row.high],
            "runs": list(row.runs),
            "unit": row.unit,
            "verdict": row.verdict if row.is_judged else None,
            "unhandled": list(row.unhandled),
        }
        for row in found.rows
    }
    histories = {"before": _made(found.before), "after": _made(found.after)}
    told = {"differences": list(found.differences), "seeds": list(found.seeds), "confidence": CONFIDENCE}
    return histories | told | {"metrics": metrics, "checks": checks_json(found.checks)}


def cells(row: Moved) -> tuple[str, ...]:
    """A row as text: metric, both values, the change, its interval, unit and verdict."""
    change = row.relative_change
    if math.isnan(change):
        share = "-"
    elif math.isinf(change):
        share = "from 0" if row.before == 0 else "-"
    else:
        share = f"{100 * change:+.1f} %"
    between = f"{number(row.low)} to {number(row.high)}" if math.isfinite(row.low) else "-"
    verdict = row.verdict if row.is_judged else ""
    values = [lower_bound(number(value), of) for value, of in zip((row.before, row.after), row.unhandled, strict=True)]
    return row.metric, *values, share, between, row.unit, verdict


def _worse_if(metric: str) -> Literal["higher", "lower"] | None:
    """In which direction a metric gets worse, by its name with or without its service. None: neither is worse."""
    name = metric.rpartition(".")[2]
    if name.startswith(_NEITHER):
        return None
    return "lower" if name.startswith(_WORSE_IF_LOWER) else "higher"


class _Side(NamedTuple):
    """One metric of one history."""

    history: History
    measures: Metrics
    metric: str

    def values(self, seed: int | None = None) -> Floats:
        """The values of all runs, or of one seed; without those that have no such number."""
        found = self.measures[self.metric]
        if seed is not None:
            found = found[np.array([run.seed for run in self.history.runs]) == seed]
        return found[~np.isnan(found)]

    def counts(self) -> bool:
        """Whether every value is a whole number."""
        return bool(np.all(np.mod(self.values(), 1.0) == 0.0))

    @property
    def unhandled(self) -> float:
        """The share of messages that were never handled, where that makes the metric a lower bound; else 0."""
        return float(self.measures.unhandled.get(self.metric, np.zeros(1)).mean())


class _Spread(NamedTuple):
    """How far the runs of each seed are apart on one side: the sum of squares, and how many runs each seed has."""

    squares: float
    freedom: int
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, seeds: Sequence[Floats]) -> Self:
        squares = sum(float(((values - values.mean()) ** 2).sum()) for values in seeds)
        return cls(squares, sum(values.size - 1 for values in seeds), tuple(values.size for values in seeds))

    @property
    def error_squared(self) -> float:
        """The squared standard error of the mean of the seeds' means, their variances pooled."""
        return self.squares / self.freedom * sum(1.0 / size for size in self.sizes) / len(self.sizes) ** 2


class _Difference(NamedTuple):
    """A difference of means, how many runs are in it, the standard error and its degrees of freedom."""

    before: float
    after: float
    runs: tuple[int, int]
    error: float
    freedom: float

    def interval(self, level: float) -> tuple[float, float]:
        change = self.after - self.before
        if not (self.freedom > 0 and math.isfinite(change)):
            return math.nan, math.nan
        half = float(special.stdtrit(self.freedom, (1.0 + level) / 2.0)) * self.error if self.error else 0.0
        return change - half, change + half


def _row(metric: str, before: _Side, after: _Side, seeds: tuple[int, ...], level: float) -> Moved:
    common = [seed for seed in seeds if before.values(seed).size and after.values(seed).size]
    found = _paired(before, after, common) if common else _apart(before.values(), after.values())
    change = 0.0 if found.before == found.after else found.after - found.before  # two infinities are equal
    low, high = found.interval(level)
    shares = (before.unhandled, after.unhandled)
    if any(shares):  # the true values may lie on any side of each other
        low = high = math.nan
    if change and not found.error and found.freedom < _SAME_RUNS and before.counts() and after.counts():
        low = high = math.nan  # a few runs that counted the same do not show what others would count
    return Moved(metric, unit_of(metric), found.before, found.after, change, low, high, found.runs, shares)


def _paired(before: _Side, after: _Side, seeds: list[int]) -> _Difference:
    """The means over seeds. Their error follows from runs of one seed; without repeats, from the seeds' changes.

    The variance of runs of one seed is that of its side (Welch), or of the other side where that alone has repeats.
    Repeats that ran back to back do not show how a machine drifts from day to day.
    """
    pairs = [(before.values(seed), after.values(seed)) for seed in seeds]
    means = np.array([[values.mean() for values in pair] for pair in pairs])
    runs = (sum(one.size for one, _ in pairs), sum(other.size for _, other in pairs))
    freedom = sum(values.size - 1 for pair in pairs for values in pair)
    first, second = map(float, means.mean(axis=0))
    if freedom and np.isfinite(means).all():
        sides = [_Spread.of(side) for side in zip(*pairs, strict=True)]
        sides = [
            one if one.freedom else one._replace(squares=other.squares, freedom=other.freedom)
            for one, other in (sides, sides[::-1])
        ]
        return _welch(first, second, runs, [(side.error_squared, side.freedom) for side in sides])
    if len(pairs) > 2 and np.isfinite(means).all():
        changes = means[:, 1] - means[:, 0]
        return _Difference(first, second, runs, float(changes.std(ddof=1)) / math.sqrt(len(pairs)), len(pairs) - 1)
    return _Difference(first, second, runs, math.nan, 0)


def _apart(before: Floats, after: Floats) -> _Difference:
    """The difference of independent runs, whose variances need not be equal."""
    runs = (before.size, after.size)
    first, second = (float(values.mean()) if values.size else math.nan for values in (before, after))
    if min(runs) < 2 or not np.isfinite([first, second]).all():
        return _Difference(first, second, runs, math.nan, 0)
    return _welch(
        first, second, runs, [(float(side.var(ddof=1)) / side.size, side.size - 1) for side in (before, after)]
    )


def _welch(before: float, after: float, runs: tuple[int, int], sides: list[tuple[float, int]]) -> _Difference:
    """A difference of two means with their squared errors and degrees of freedom (Welch, Biometrika 34, 1947)."""
    squared = sum(error_squared for error_squared, _ in sides)
    if squared == 0.0:
        return _Difference(before, after, runs, 0.0, sum(freedom for _, freedom in sides))
    freedom = squared**2 / sum(error_squared**2 / freedom for error_squared, freedom in sides)
    return _Difference(before, after, runs, math.sqrt(squared), freedom)


def _differences(before: History, after: History) -> list[str]:
    """What is different about how two histories were made, a line each."""
    made = [{"server": one.server} | one.environment for one in (before, after)]
    made = [{name: said for name, said in one.items() if name != "date"} for one in made]
    return changes(*made, absent="unknown") + differences(before.scenario, after.scenario)


def _made(history: History) -> dict[str, Any]:
    return runs_json(history) | {"environment": history.environment}
