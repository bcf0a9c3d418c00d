"""Numbers from a history. Pure: the same rows give the same numbers, whichever world wrote them.

A metric of the whole system has a plain name (`lag_s_p95`). A metric of one service starts with the service's name
(`billing.lag_s_p95`), then one of a priority or a tenant of a task queue has its name (`mailer.low.lag_s_p95`); one of
the callers starts with `callers`, one of a dependency with `dependencies` and its name. Lag and throughput of the
system are those of its last services, which emit nothing that another one consumes: there the messages that the load
sent come to their end. A message that was neither handled nor given up by the end of its run counts with a lag of at
least that end: what was never handled must not make a system look fast.

Each number has one function here. Checks, claims, figures and reports all call it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from sim.declare.callers import CALLERS
from sim.declare.declared import Floats
from sim.declare.scenario import Scenario
from sim.evidence.capacity import work_of
from sim.evidence.circuits import circuit_metrics
from sim.evidence.dependencies import dependency_metrics
from sim.evidence.history import KIND, History, Left, Rows, Run, of_kind
from sim.evidence.instrument import INSTRUMENT, instrument_metrics
from sim.evidence.lags import QUANTILES, first_handled, lag_metrics, lags_of_run, last_services, quantile, round_trips
from sim.evidence.recovery import backlog, recoveries_s, recovery_s
from sim.evidence.requests import answers_of, requests_of
from sim.evidence.sagas import ENDS, half_done, sagas_of
from sim.evidence.scaling import scaling_metrics
from sim.evidence.turns import queue_metrics
from sim.evidence.unhandled import sent_by_load
from sim.evidence.warm_up import after, warm_up_s
from sim.tables import html_table
from sim.wording import lower_bound, number, share_unhandled

UNITS = {
    "throughput_per_s": "1/s",
    "lag_s": "s",
    "unhandled": "share",
    "attempts_mean": "attempts",
    "dead_letters": "messages",
    "duplicates": "messages",
    "utilisation": "share",
    "wait_s_mean": "s",
    "queue_mean": "calls",
    "queue_max": "calls",
    "backlog_mean": "messages",
    "backlog_max": "messages",
    "batch_size": "messages",
    "circuit_opened": "times",
    "paused": "share",
    "consumers": "number",
    "consumer_hours": "hours",
    "recovery_s": "s",
    "round_trip_s": "s",
    "timed_out": "requests",
    "replies_lost": "replies",
    "found_after_return": "replies",
    "abandoned": "requests",
    "answer_s": "s",
    "requests_mean": "messages",
    "answered": "requests",
    "asked_again": "requests",
    "given_up": "requests",
    "passed_by": "dispatches",
    "completed": "sagas",
    "compensated": "sagas",
    "parked": "sagas",
    "half_done": "sagas",
    "duration_s": "s",
    "little_residual": "share",
    "lateness_s": "s",
    "oversleep_s": "s",
    "sent_late": "messages",
    "skipped": "messages",
}
_QUALITY = ("little_residual", *INSTRUMENT)  # these say how good the measurement was


@dataclass(frozen=True, slots=True)
class Interval:
    """The mean over runs and its 95 % confidence interval (Student's t). Below three runs the bounds are NaN.

    Where `unhandled` is not 0, the number is a quantile of lag that falls among messages which were never handled:
    this share of all. Then the mean is only a lower bound, and there is no interval.
    """

    mean: float
    low: float
    high: float
    runs: int
    unhandled: float = 0.0

    def __repr__(self) -> str:
        return f"Interval(mean={self.mean:.4g}, low={self.low:.4g}, high={self.high:.4g}, runs={self.runs})"


class Metrics(dict[str, Floats]):
    """Metrics by name: an array of shape (runs,) each. A notebook shows them as a table.

    `unhandled` says which are only lower bounds. For each quantile of lag it has an array of shape (runs,): the share
    of unhandled messages in the runs where it falls among these; 0 in the others.
    """

    def __init__(self, values: Mapping[str, Floats], unhandled: Mapping[str, Floats] | None = None) -> None:
        super().__init__(values)
        self.unhandled = dict(unhandled or {})

    def __repr__(self) -> str:
        return "\n".join(f"{name:<28}{mean:>14}  {between:<22}{unit}" for name, mean, between, unit in self._rows())

    def _repr_html_(self) -> str:
        runs = max((values.size for values in self.values()), default=0)
        return html_table(f"Metrics of {runs} runs", ("metric", "mean", "lowest to highest", "unit"), self._rows())

    def _rows(self) -> Iterator[tuple[str, str, str, str]]:
        for name, values in self.items():
            known = values[~np.isnan(values)]
            between = f"{number(known.min())} to {number(known.max())}" if known.size > 1 else ""
            share = float(self.unhandled.get(name, np.zeros(1)).mean())
            mean = lower_bound(number(known.mean() if known.size else np.nan), share)
            yield name, mean, share_unhandled(share) if share else between, unit_of(name)


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """Dead letters: how many the consumers recorded, and how many the dead-letter queues held at the end."""

    recorded: int
    kept: int

    @property
    def unrecorded(self) -> int:
        """Dead letters of consumers that were killed after they had moved the entry and before they recorded it."""
        return max(0, self.kept - self.recorded)


# All metrics of a history


def measure(history: History) -> Metrics:
    """Every metric of every run: name -> array of shape (runs,). NaN where a run has no such number.

    A quantile of lag that falls among messages that were never handled is the time at which the run ended: it is at
    least that. `unhandled` is their share of all messages that were not given up. What the warm-up cuts is left out;
    recovery, Little's law, turns and half-done sagas need the whole run.
    """
    values: dict[str, list[float]] = {}
    unhandled: dict[str, list[float]] = {}
    from_s = warm_up_s(history)
    for run, rows in history.each_run():
        for of_runs, of_run in zip((values, unhandled), _run_metrics(history.scenario, run, rows, from_s), strict=True):
            for name, value in of_run.items():
                of_runs.setdefault(name, []).append(value)
    return Metrics(*({name: np.array(of) for name, of in one.items()} for one in (values, unhandled)))


def summarize(values: Floats, unhandled: Floats | None = None) -> Interval:
    """The mean of independent runs with its 95 % t interval. Runs without a number (NaN) are left out.

    `unhandled` has the shares that `Metrics` holds: with one of them above 0, the mean is only a lower bound.
    """
    known = values[~np.isnan(values)]
    mean = float(known.mean()) if known.size else np.nan
    if unhandled is not None and unhandled.any():
        return Interval(mean, np.nan, np.nan, known.size, float(unhandled.mean()))
    if known.size < 3 or not np.isfinite(mean):
        return Interval(mean, np.nan, np.nan, known.size)
    half = float(special.stdtrit(known.size - 1, 0.975) * known.std(ddof=1) / np.sqrt(known.size))
    return Interval(mean, mean - half, mean + half, known.size)


def summaries(history: History) -> dict[str, Interval]:
    """Every metric of a history, summarized over its seeds."""
    found = measure_seeds(history)
    return {name: summarize(values, found.unhandled.get(name)) for name, values in found.items()}


def measure_seeds(history: History) -> Metrics:
    """Every metric of every seed, averaged over the seed's repeats: name -> array of shape (seeds,)."""
    return averaged(history, measure(history))


def averaged(history: History, found: Metrics) -> Metrics:
    """Metrics of every run of a history, averaged over the repeats of each seed."""
    return Metrics(
        *({name: of_seeds(history, values) for name, values in one.items()} for one in (found, found.unhandled))
    )


def of_seeds(history: History, values: Floats) -> Floats:
    """The mean of each seed's repeats, shape (seeds,). Repeats of one seed are not independent runs."""
    seeds = np.array([run.seed for run in history.runs])
    return np.array([values[seeds == seed].mean() for seed in np.unique(seeds)])


def unit_of(metric: str) -> str:
    """The unit of a metric, by its name with or without its service."""
    name = metric.rpartition(".")[2]
    return next(unit for prefix, unit in UNITS.items() if name.startswith(prefix))


def is_predicted(metric: str) -> bool:
    """Does the simulation predict this metric? It does not predict how good the live measurement was."""
    return not metric.rpartition(".")[2].startswith(_QUALITY)


# One number each. `rows` are a history's rows, in its order. `service` is the code of a service in them


def count(rows: Rows, kind: str) -> int:
    """How many rows are of a kind."""
    return int(np.count_nonzero(rows["kind"] == KIND[kind]))


def attempts(rows: Rows, service: int) -> npt.NDArray[np.int64]:
    """How many messages of a service were settled (handled or dead) at attempt 1, 2, ...; shape (most attempts,)."""
    settled = of_kind(rows[rows["service"] == service], "handled", "dead")
    return np.bincount(settled["attempt"], minlength=2)[1:]


def dead_letters(rows: Rows, left: Iterable[Left]) -> DeadLetters:
    """How many dead letters `rows` record, and how many the queues held when the runs of `left` ended."""
    return DeadLetters(count(rows, "dead"), sum(one.dead for one in left))


@dataclass(frozen=True, slots=True)
class Totals:
    """How much happened in all runs of some histories."""

    runs: int
    published: int
    killed: int


def totals(histories: Iterable[History]) -> Totals:
    """The totals of histories."""
    every = list(histories)
    published, killed = (sum(count(history.rows, kind) for history in every) for kind in ("published", "killed"))
    return Totals(sum(len(history.runs) for history in every), published, killed)


def sent_per_run(history: History) -> float:
    """How many messages the load sent in a run, on average."""
    return sent_by_load(history.rows).size / max(len(history.runs), 1)


def little_residual(scenario: Scenario, rows: Rows, service: int) -> float:
    """How far the history is from Little's law at a service: |L - lambda W| / (lambda W).

    L is the mean of the sampled backlog, which the server counted. lambda W is the mean over the same time of the time
    between published and acknowledged, which the processes recorded. The two agree if nothing was overlooked.
    Source: Little, "A Proof for the Queuing Formula: L = lambda W", Operations Research 9(3), 1961.
    """
    at_s, entries = backlog(rows, service)
    consumes = list(scenario.services.values())[service].consumes
    of_event = rows[rows["event"] == list(scenario.flow.paths).index(consumes)]
    # Own handlers that compute hear late that the server has what they published.
    arrived = of_kind(of_event, "sent" if consumes in scenario.flow.seen else "published")
    gone = of_kind(rows[rows["service"] == service], "acked", "dead")
    if not at_s.size or len(arrived) != len(gone) or not len(arrived):
        return np.nan  # some message is still there, or came twice: the sum below would not be of whole stays
    stays_s = float(gone["t_s"].sum() - arrived["t_s"].sum())
    length_s = float(at_s[-1] - at_s[0])
    if length_s <= 0 or stays_s <= 0:
        return np.nan
    sampled = float(np.trapezoid(entries, at_s)) / length_s
    expected = stays_s / length_s
    return abs(sampled - expected) / expected


# The metrics of one run


def _run_metrics(scenario: Scenario, run: Run, rows: Rows, from_s: float) -> tuple[dict[str, float], dict[str, float]]:
    """The metrics of one run from a time on, and what `Metrics.unhandled` has of it."""
    services, warm = list(scenario.services), after(rows, from_s)
    last = [services.index(name) for name in last_services(scenario)]
    found, unhandled = _rates("", scenario, run, warm, last, from_s)
    for code, name in enumerate(services):
        prefix = f"{name}." if len(services) > 1 else ""
        if prefix:
            of_service, unhandled_there = _rates(prefix, scenario, run, warm, [code], from_s)
            found |= of_service
            unhandled |= unhandled_there
        found |= _service_metrics(prefix, scenario, run, rows, code, from_s)
        if scenario.services[name].saga is not None:
            found |= _saga_metrics(prefix, scenario, run, rows, code, from_s)
        found |= scaling_metrics(prefix, scenario, run, rows, code, from_s)
        found |= circuit_metrics(prefix, scenario, run, rows, code, from_s)
        of_queue, unhandled_there = queue_metrics(prefix, scenario, run, rows, code, from_s)
        found |= of_queue
        unhandled |= unhandled_there
    if scenario.callers is not None:
        found |= _caller_metrics(scenario, run, rows, from_s)
    return found | dependency_metrics(scenario, rows, from_s) | instrument_metrics(scenario, rows), unhandled


def _rates(
    prefix: str, scenario: Scenario, run: Run, rows: Rows, services: list[int], from_s: float
) -> tuple[dict[str, float], dict[str, float]]:
    """Throughput and lag, and what `Metrics.unhandled` has of it."""
    handled = first_handled(rows, services)
    span_s = float(handled["t_s"].max()) - from_s if handled.size else np.nan
    found = {f"{prefix}throughput_per_s": handled.size / span_s if span_s else np.nan}
    of_run = lags_of_run(scenario, run, rows, services)
    of_lag, unhandled = lag_metrics(prefix, of_run)
    return found | of_lag | {f"{prefix}unhandled": of_run.unhandled_share}, unhandled


def _service_metrics(
    prefix: str, scenario: Scenario, run: Run, rows: Rows, code: int, from_s: float
) -> dict[str, float]:
    whole = rows[rows["service"] == code]
    own = after(whole, from_s)
    _, entries = backlog(own, code)
    by_attempt = attempts(own, code)
    settled_at = np.repeat(np.arange(1, len(by_attempt) + 1), by_attempt)
    left = run.left[list(scenario.services)[code]]
    return {
        f"{prefix}attempts_mean": float(settled_at.mean()) if settled_at.size else np.nan,
        f"{prefix}dead_letters": float(dead_letters(own, [left]).recorded),
        f"{prefix}duplicates": float(count(own, "handled") - first_handled(own, [code]).size),
        f"{prefix}utilisation": work_of(scenario, run, whole, code, from_s).utilisation,
        f"{prefix}backlog_mean": float(entries.mean()) if entries.size else np.nan,
        f"{prefix}backlog_max": float(entries.max()) if entries.size else np.nan,
        f"{prefix}recovery_s": recovery_s(scenario, run, rows, code),
        **{f"{prefix}{name}": value for name, value in recoveries_s(scenario, run, rows, code).items()},
        **_batch_metrics(prefix, scenario, own, code),
        f"{prefix}little_residual": little_residual(scenario, rows, code),
    }


def _batch_metrics(prefix: str, scenario: Scenario, own: Rows, code: int) -> dict[str, float]:
    """With how many messages its handlers were called, on average. Nothing for a service without batches."""
    if list(scenario.services.values())[code].batch is None:
        return {}
    sizes = of_kind(own, "batch")["value"]
    return {f"{prefix}batch_size_mean": float(sizes.mean()) if sizes.size else np.nan}


def _caller_metrics(scenario: Scenario, run: Run, rows: Rows, from_s: float) -> dict[str, float]:
    warm = after(rows, from_s)
    requests, waited_s = requests_of(scenario, run, warm), round_trips(scenario, run, warm).lag_s
    counts = {
        "timed_out": requests.timed_out & ~requests.replied,
        "replies_lost": requests.lost,
        "found_after_return": requests.replied & (requests.asked > 1),
        "abandoned": requests.abandoned,
    }
    times = {f"round_trip_s_{name}": quantile(waited_s, q) for name, q in QUANTILES.items()}
    assert scenario.callers is not None
    if scenario.callers.ask_by_answers(scenario.offered_load):
        answers = answers_of(scenario, run, rows, from_s)
        counts |= {"answered": answers.answered, "asked_again": answers.sent > 1, "given_up": answers.given_up}
        times |= {f"answer_s_{name}": quantile(answers.took_s, q) for name, q in QUANTILES.items()}
        times["requests_mean"] = float(answers.sent.mean()) if answers.sent.size else np.nan
    return {f"{CALLERS}.{name}": value for name, value in times.items()} | {
        f"{CALLERS}.{name}": float(np.count_nonzero(of)) for name, of in counts.items()
    }


def _saga_metrics(prefix: str, scenario: Scenario, run: Run, rows: Rows, code: int, from_s: float) -> dict[str, float]:
    sagas = sagas_of(scenario, after(rows, from_s), code).values()
    lasted_s = np.array([one.ended_s - one.started_s for one in sagas if one.end and np.isfinite(one.started_s)])
    broken, _ = half_done(scenario, run, rows, code)
    return {
        **{f"{prefix}{end}": float(sum(one.end == end for one in sagas)) for end in ENDS},
        f"{prefix}half_done": float(broken),
        **{f"{prefix}duration_s_{name}": quantile(lasted_s, QUANTILES[name]) for name in ("p50", "p95")},
    }
