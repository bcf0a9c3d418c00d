"""Whose turn it was in a task queue: the lag of each priority and tenant, and how many dispatches passed its tasks.

A task waits from when its publish was acknowledged until its dispatch, which has a number among those of its queue. A
dispatch passes it if its number is lower and it surely came after that acknowledgement. The time of a dispatch is not
noted. But a worker asks only for as many tasks as it has room for: all others that it got before had ended by then.
"""

import heapq
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eventlib.queueing import PRIORITIES
from sim.declare.declared import Floats
from sim.declare.scenario import Scenario
from sim.declare.task_queue import Labels, TaskQueue
from sim.evidence.history import History, Rows, Run, of_kind
from sim.evidence.lags import lag_metrics, lags_of_run
from sim.evidence.warm_up import after

Mask = npt.NDArray[np.bool_]

_QUANTILES = ("p50", "p95")  # of each priority and tenant


def queue_metrics(
    prefix: str, scenario: Scenario, run: Run, rows: Rows, service: int, from_s: float = 0.0
) -> tuple[dict[str, float], dict[str, float]]:
    """Lag and passed by, of each priority and of each tenant of a queue, and what `Metrics.unhandled` has of them.

    Lag is that of messages that were meant to be sent at `from_s` or later.
    """
    _, queue = _queue_at(scenario, service)
    if queue is None:
        return {}, {}
    labels = _labels(scenario, run, rows, service)
    found: dict[str, float] = {}
    unhandled: dict[str, float] = {}
    for part, chosen in _parts(queue, labels).items():
        lags = lags_of_run(scenario, run, after(rows, from_s), [service], chosen)
        of_part, unhandled_there = lag_metrics(f"{prefix}{part}.", lags, _QUANTILES)
        found |= of_part
        unhandled |= unhandled_there
    for part, most in passed_by(scenario, run, rows, service).items():
        found[f"{prefix}{part}.passed_by"] = most
    return found, unhandled


def passed_by(scenario: Scenario, run: Run, rows: Rows, service: int) -> dict[str, float]:
    """The most dispatches that passed a waiting task of each part of a queue (`TaskQueue.bounds`), NaN if it had none.

    What passes a task of a tenant has the same priority.
    """
    name, queue = _queue_at(scenario, service)
    assert queue is not None, f"{name} is no task queue"
    labels = _labels(scenario, run, rows, service)
    waits = _Waits.of(scenario, rows, service, labels.priority.size)
    found: dict[str, float] = {}
    for part, chosen in _parts(queue, labels).items():
        if part in PRIORITIES:
            found[part] = waits.passed_by(chosen, np.ones(chosen.size, bool))
        else:
            of_priority = [labels.priority == one for one in queue.used_priorities()]
            most = [waits.passed_by(chosen & among, among) for among in of_priority]
            found[part] = max((one for one in most if not np.isnan(one)), default=np.nan)
    return found


def queues_of(history: History) -> dict[str, TaskQueue]:
    """The services that are task queues."""
    return {name: one.queue for name, one in history.scenario.services.items() if one.queue is not None}


def _queue_at(scenario: Scenario, service: int) -> tuple[str, TaskQueue | None]:
    name = list(scenario.services)[service]
    return name, scenario.services[name].queue


def _parts(queue: TaskQueue, labels: Labels) -> dict[str, Mask]:
    """The messages of each part of a queue."""
    tenants = list(queue.tenants)
    return {
        part: labels.priority == PRIORITIES.index(part) if part in PRIORITIES else labels.tenant == tenants.index(part)
        for part in queue.bounds()
    }


def _labels(scenario: Scenario, run: Run, rows: Rows, service: int) -> Labels:
    """The labels of all messages that a service was given in a run."""
    name = list(scenario.services)[service]
    event = list(scenario.flow.paths).index(scenario.services[name].consumes)
    roots = int(of_kind(rows[rows["service"] == -1], "sent")["message"].max(initial=-1)) + 1
    most = int(rows[rows["event"] == event]["message"].max(initial=-1)) + 1
    return scenario.labels(name, run.seed, max(most, roots * scenario.flow.paths[scenario.services[name].consumes]))


@dataclass(frozen=True, slots=True)
class _Waits:
    """From when until when each task of a service waited, in one run, as far as all dispatches were noted.

    A dispatch is noted when its task begins. What a killed worker held and had not begun was dispatched all the same,
    so nothing is said of what came after the first such dispatch.

    `message` and `not_before_s` are of the dispatches, in their order: what was dispatched, and a time before which it
    was not. `there_s` says when each message was surely there, infinite if never. `dispatched` has the place of its
    first dispatch, or the number of dispatches if it has none.
    """

    message: npt.NDArray[np.int64]
    not_before_s: Floats
    there_s: Floats
    dispatched: npt.NDArray[np.int64]

    @classmethod
    def of(cls, scenario: Scenario, rows: Rows, service: int, messages: int) -> "_Waits":
        name = list(scenario.services)[service]
        declared = scenario.services[name]
        of_event = rows[rows["event"] == list(scenario.flow.paths).index(declared.consumes)]
        own = of_event[of_event["service"] == service]
        started = of_kind(own, "started")
        started = started[np.unique(started["value"], return_index=True)[1]]  # in the order of dispatches
        started = started[started["value"] == np.arange(started.size)]
        there_s, sent_s = (_first_s(of_kind(of_event, kind), messages) for kind in ("published", "sent"))
        dispatched = np.full(messages, started.size)
        np.minimum.at(dispatched, started["message"], np.arange(started.size))
        not_before_s = np.maximum(
            _asked_s(own, started, declared.concurrency + declared.prefetch), sent_s[started["message"]]
        )
        return cls(started["message"], not_before_s, there_s, dispatched)

    def passed_by(self, chosen: Mask, among: Mask) -> float:
        """The most dispatches in a row, among some of the messages, that passed a waiting one of the chosen.

        Both masks are by number of message.
        """
        at = np.flatnonzero(among[self.message])
        if not chosen[self.message].any():
            return np.nan
        own = np.append(np.flatnonzero(chosen[self.message[at]]), at.size)
        waiting = np.flatnonzero(chosen)
        waiting = waiting[np.argsort(self.dispatched[waiting], kind="stable")]
        # Of the messages that are dispatched at a place or later, the one that was there first.
        first_s = np.append(np.minimum.accumulate(self.there_s[waiting][::-1])[::-1], np.inf)
        places = np.append(at, self.message.size)[own]
        since_s = first_s[np.searchsorted(self.dispatched[waiting], places)]
        most, before = 0, 0
        for place, from_s in zip(own, since_s, strict=True):
            most = max(most, int(np.count_nonzero(self.not_before_s[at[before:place]] > from_s)))
            before = place + 1
        return float(most)


def _first_s(rows: Rows, messages: int) -> Floats:
    """The time of the first row of each message; infinite where it has none."""
    found = np.full(messages, np.inf)
    np.minimum.at(found, rows["message"], rows["t_s"])
    return found


def _asked_s(own: Rows, started: Rows, room: int) -> Floats:
    """For each dispatch a time at which its worker cannot have asked yet; minus infinity where that is not known."""
    ended = of_kind(own, "handled", "failed")
    ends_s: dict[tuple[int, int, int], list[float]] = {}  # more than one where a message was published again
    for row in ended:
        ends_s.setdefault((int(row["consumer"]), int(row["message"]), int(row["attempt"])), []).append(
            float(row["t_s"])
        )
    latest_s: dict[int, list[float]] = {}  # by worker, of the tasks that it got before: when the last ones ended
    asked_s = np.full(started.size, -np.inf)
    put_aside = {(int(row["message"]), int(row["attempt"])) for row in of_kind(own, "retried")}
    for place, row in enumerate(started):
        if row["attempt"] > 1 and (int(row["message"]), int(row["attempt"]) - 1) not in put_aside:
            continue  # it was taken over: its number is that of the dispatch to another worker
        worker = int(row["consumer"])
        ends = latest_s.setdefault(worker, [])
        if len(ends) == room:
            asked_s[place] = ends[0]
        all_s = ends_s.get((worker, int(row["message"]), int(row["attempt"])), ())
        end_s = min((one for one in all_s if one >= row["t_s"]), default=-np.inf)
        if len(ends) < room:
            heapq.heappush(ends, end_s)
        else:
            heapq.heappushpop(ends, end_s)
    return asked_s
