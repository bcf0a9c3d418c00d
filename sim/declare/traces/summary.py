"""What a trace looks like: its rate over time, its gaps, and how bursty it is. And which column is likely what."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sim.declare.declared import Floats
from sim.declare.traces import AT, KNOWN, Trace
from sim.declare.traces.tables import Seen

WINDOWS_S = (0.1, 1.0, 10.0, 60.0, 600.0, 3600.0)
_WINDOWS_MIN = 20  # fewer say nothing of a variance
_TIME_WORDS = {"at", "arrival", "arrived", "created", "date", "datetime", "epoch", "start", "time", "timestamp", "ts"}
_WORK_WORDS = {"bytes", "cost", "duration", "elapsed", "generated", "latency", "length", "service", "size", "tokens"}
_WORK_WORDS |= {"work"}


@dataclass(frozen=True, slots=True)
class TraceSummary:
    """A trace in numbers. Gaps are the seconds between two rows; NaN where there is none.

    `cv` is the standard deviation of the gaps over their mean: 1 where rows are independent of each other. `dispersion`
    has the variance of the number of rows in windows of so many seconds over its mean, by the length of the windows: 1
    for independent rows at one rate, more for bursts and for a rate that changes, less for even distances.

    Source: Cox, Lewis, "The Statistical Analysis of Series of Events" (1966), chapters 4 and 5.
    """

    rows: int
    length_s: float
    rate_per_s: float
    gap_s_p50: float
    gap_s_p99: float
    gap_s_max: float
    gap_max_at_s: float
    cv: float
    dispersion: dict[float, float]


def summarize(trace: Trace) -> TraceSummary:
    """What a trace looks like."""
    length_s, gaps_s = float(trace.at_s[-1]), np.diff(trace.at_s)
    p50_s, p99_s, longest_s = np.quantile(gaps_s, (0.5, 0.99, 1.0)) if gaps_s.size else (np.nan,) * 3
    mean_s = float(gaps_s.mean()) if gaps_s.size else np.nan
    return TraceSummary(
        rows=trace.at_s.size,
        length_s=length_s,
        rate_per_s=gaps_s.size / length_s if length_s else np.nan,
        gap_s_p50=float(p50_s),
        gap_s_p99=float(p99_s),
        gap_s_max=float(longest_s),
        gap_max_at_s=float(trace.at_s[int(gaps_s.argmax())]) if gaps_s.size else np.nan,
        cv=float(gaps_s.std() / mean_s) if mean_s > 0 else np.nan,
        dispersion=dict(_dispersion(trace.at_s)),
    )


def rate_over_time(trace: Trace, parts: int) -> tuple[Floats, Floats]:
    """Edges of equal parts of the trace in seconds, shape (parts + 1,), and the rate in each, shape (parts,)."""
    counts, edges_s = np.histogram(trace.at_s, parts, (0.0, float(trace.at_s[-1]) or 1.0))
    return edges_s, counts / np.diff(edges_s)


def likely_columns(seen: Sequence[Seen]) -> dict[str, str]:
    """Which column is likely `at` and which `work`: by what they have, then by their names. It is a guess."""
    names = [one.name for one in seen]
    if set(KNOWN.values()) <= set(names):
        return dict(KNOWN)
    times = [one for one in seen if one.has == "times"]
    # A column with the name of a time that has something else is the times all the same: reading it says what is wrong.
    named = [one for one in seen if _words(one.name) & _TIME_WORDS]
    ascending = [one for one in seen if one.ascends]
    at = next(iter([*times, *sorted(named, key=lambda one: one.has == "text"), *ascending]), None)
    if at is None:
        return {}
    others = [
        one
        for one in seen
        if one.has == "numbers" and one is not at and one.low < one.high and not one.ascends and not _is_id(one)
    ]
    work = next(iter(sorted(others, key=lambda one: not _words(one.name) & _WORK_WORDS)), None)
    return {AT: at.name} | ({"work": work.name} if work else {})


def _is_id(column: Seen) -> bool:
    return "id" in _words(column.name)


def _words(name: str) -> set[str]:
    """The words of a name: `startTime_ms` has start, time and ms."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def _dispersion(at_s: Floats) -> Iterator[tuple[float, float]]:
    for window_s in WINDOWS_S:
        windows = int(at_s[-1] / window_s)
        if windows >= _WINDOWS_MIN:
            counts = np.bincount(np.minimum((at_s / window_s).astype(np.int64), windows))[:windows]
            yield window_s, float(counts.var(ddof=1) / counts.mean())
