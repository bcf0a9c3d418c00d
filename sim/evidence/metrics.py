"""Numbers from a history. Pure: the same rows give the same numbers, whichever world wrote them.

System metrics bear plain names (`lag_s_p95`), a service's own its name first (`billing.lag_s_p95`). The system's lag
and throughput are those of the services that emit nothing: where what the load sends comes to its end.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from sim.declare.declared import Floats
from sim.declare.scenario import Scenario
from sim.evidence.history import KIND, History, Rows, Run

QUANTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
LATE_S = 0.005  # a generator whose p99 lateness is above this did not drive the load it was asked to

UNITS = {
    "throughput_per_s": "1/s",
    "lag_s": "s",
    "attempts_mean": "attempts",
    "dead_letters": "messages",
    "duplicates": "messages",
    "backlog_mean": "messages",
    "backlog_max": "messages",
    "recovery_s": "s",
    "little_residual": "share",
    "lateness_s_p99": "s",
}


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over runs and its 95 % confidence interval (Student's t); NaN bounds below three runs, which give none."""

    mean: float
    low: float
    high: float
    runs: int


def unit_of(metric: str) -> str:
    """The unit of a metric, by its name with or without its service."""
    name = metric.rpartition(".")[2]
    return next(unit for prefix, unit in UNITS.items() if name.startswith(prefix))


def measure(history: History) -> dict[str, Floats]:
    """Every metric of every run: name -> array of shape (runs,). NaN where a run has no such number."""
    values: dict[str, list[float]] = {}
    for run, rows in history.each_run():
        for name, value in _run_metrics(history.scenario, run, rows).items():
            values.setdefault(name, []).append(value)
    return {name: np.array(of_runs) for name, of_runs in values.items()}


def summarize(values: Floats) -> Interval:
    """The mean of independent runs with its 95 % t interval, NaN runs left out."""
    known = values[~np.isnan(values)]
    mean = float(known.mean()) if known.size else np.nan
    if known.size < 3 or not np.isfinite(mean):
        return Interval(mean, np.nan, np.nan, known.size)
    half = float(stats.t.ppf(0.975, known.size - 1) * known.std(ddof=1) / np.sqrt(known.size))
    return Interval(mean, mean - half, mean + half, known.size)


def of_seeds(history: History, values: Floats) -> Floats:
    """The mean of each seed's repeats, shape (seeds,): repeats of one seed are no independent runs."""
    seeds = np.array([run.seed for run in history.runs])
    return np.array([values[seeds == seed].mean() for seed in np.unique(seeds)])


def _run_metrics(scenario: Scenario, run: Run, rows: Rows) -> dict[str, float]:
    found: dict[str, float] = {}
    services = list(scenario.services)
    last = [code for code, name in enumerate(services) if not scenario.services[name].emits]
    found |= _rates("", rows, last)
    for code, name in enumerate(services):
        if len(services) > 1:
            found |= _rates(f"{name}.", rows, [code])
        found |= _service_metrics(f"{name}." if len(services) > 1 else "", scenario, run, rows, code)
    found["lateness_s_p99"] = _quantile(lateness_s(rows), 0.99)
    return found


def _rates(prefix: str, rows: Rows, services: list[int]) -> dict[str, float]:
    handled = _first_handled(rows[np.isin(rows["service"], services)])
    span_s = float(handled["t_s"].max()) if handled.size else np.nan
    found = {f"{prefix}throughput_per_s": handled.size / span_s if span_s else np.nan}
    lags_s = handled["t_s"] - handled["intended_s"]
    return found | {f"{prefix}lag_s_{name}": _quantile(lags_s, q) for name, q in QUANTILES.items()}


def _service_metrics(prefix: str, scenario: Scenario, run: Run, rows: Rows, code: int) -> dict[str, float]:
    own = rows[rows["service"] == code]
    sampled = own[own["kind"] == KIND["sampled"]]
    tries = attempts(rows, code)
    settled = np.repeat(np.arange(1, len(tries) + 1), tries)
    return {
        f"{prefix}attempts_mean": float(settled.mean()) if settled.size else np.nan,
        f"{prefix}dead_letters": float(np.sum(own["kind"] == KIND["dead"])),
        f"{prefix}duplicates": float(np.sum(own["kind"] == KIND["handled"]) - _first_handled(own).size),
        f"{prefix}backlog_mean": float(sampled["value"].mean()) if sampled.size else np.nan,
        f"{prefix}backlog_max": float(sampled["value"].max()) if sampled.size else np.nan,
        f"{prefix}recovery_s": recovery_s(scenario, run, rows, code),
        f"{prefix}little_residual": little_residual(scenario, rows, code),
    }


def lags_s(history: History, service: str | None = None) -> Floats:
    """Seconds from the intended send time until handled, of every message of all runs, ascending.

    Of one service, or of those where messages come to their end.
    """
    services = history.services
    names = [service] if service else [name for name in services if not history.scenario.services[name].emits]
    codes = [services.index(name) for name in names]
    handled = _first_handled(history.rows[np.isin(history.rows["service"], codes)])
    return np.sort(handled["t_s"] - handled["intended_s"])


def attempts(rows: Rows, service: int) -> npt.NDArray[np.int64]:
    """How many messages of a service were settled (handled or dead) at attempt 1, 2, ...; shape (most attempts,)."""
    own = rows[(rows["service"] == service) & np.isin(rows["kind"], (KIND["handled"], KIND["dead"]))]
    return np.bincount(own["attempt"], minlength=2)[1:]


def backlog(rows: Rows, service: int) -> tuple[Floats, Floats]:
    """The sampled backlog of a service over time: times in seconds and entries, both of shape (samples,)."""
    own = rows[(rows["service"] == service) & (rows["kind"] == KIND["sampled"])]
    return own["t_s"], own["value"]


def lateness_s(rows: Rows) -> Floats:
    """How much later than intended the load handed over each event, in seconds, shape (events,)."""
    sent = rows[(rows["kind"] == KIND["sent"]) & (rows["service"] == -1)]
    return np.asarray(sent["t_s"] - sent["intended_s"])


def recovery_s(scenario: Scenario, run: Run, rows: Rows, service: int) -> float:
    """Seconds from the begin of a service's first fault until its backlog was back at what it had been before.

    Back means: a second long no sample above the largest one before the fault, or the end of a run that left nothing.
    0.0 where the backlog never rose above it; NaN without a fault or samples before it; infinite if it never was back.
    """
    name = list(scenario.services)[service]
    faults = [fault.at_s for fault in scenario.faults if fault.service == name]
    at_s, entries = backlog(rows, service)
    if not faults or not np.any(at_s < min(faults)):
        return np.nan
    start_s = min(faults)
    above_s = at_s[(at_s >= start_s) & (entries > entries[at_s < start_s].max())]
    if not above_s.size:
        return 0.0
    quiet = np.flatnonzero(np.diff(above_s) > 1.0)
    last_s = above_s[quiet[0]] if quiet.size else above_s[-1]
    later_s = at_s[at_s > last_s]
    if later_s.size:
        return float(later_s[0] - start_s)
    left = run.left[name]
    return np.inf if left.waiting or left.pending or left.retrying or left.delayed else run.ended_s - start_s


def little_residual(scenario: Scenario, rows: Rows, service: int) -> float:
    """How far the history is from Little's law at a service: |L - lambda W| / (lambda W).

    L is the mean of the sampled backlog, which the server counted; lambda W is the mean over the same time of the
    time between published and acknowledged, which the processes noted. They agree if nothing was overlooked.
    Source: Little, "A Proof for the Queuing Formula: L = lambda W", Operations Research 9(3), 1961.
    """
    at_s, entries = backlog(rows, service)
    event = list(scenario.flow.paths).index(list(scenario.services.values())[service].consumes)
    arrived = rows[(rows["kind"] == KIND["published"]) & (rows["event"] == event)]
    gone = rows[np.isin(rows["kind"], (KIND["acked"], KIND["dead"])) & (rows["service"] == service)]
    if not at_s.size or len(arrived) != len(gone) or not len(arrived):
        return np.nan  # something is still there, or came twice: the sum below would not be of whole stays
    stays_s = float(gone["t_s"].sum() - arrived["t_s"].sum())
    length_s = float(at_s[-1] - at_s[0])
    if length_s <= 0 or stays_s <= 0:
        return np.nan
    sampled = float(np.trapezoid(entries, at_s)) / length_s
    expected = stays_s / length_s
    return abs(sampled - expected) / expected


def _first_handled(rows: Rows) -> Rows:
    """One row a message and service: when it was handled for the first time."""
    handled = rows[rows["kind"] == KIND["handled"]]
    _, first = np.unique(handled[["run", "service", "event", "message"]], return_index=True)
    return np.asarray(handled[first])


def _quantile(values: Floats, q: float) -> float:
    return float(np.quantile(values, q)) if values.size else np.nan
