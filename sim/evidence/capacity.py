"""How busy a service was, and whether it was given more than it can do: offered, capacity and growth, in words."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

from sim.declare.declared import Floats
from sim.declare.scenario import Scenario
from sim.declare.service import Service
from sim.evidence.history import KIND, History, Rows, Run, of_kind
from sim.evidence.scaling import consumer_seconds
from sim.wording import quantity

_INT_MAX = np.iinfo(np.int64).max
_MESSAGES_MIN = 20  # fewer say nothing about a rate


@dataclass(frozen=True, slots=True)
class Work:
    """What the handlers of one service did in one run.

    `busy_s` is the time of all its attempts, `attempts` their number, `handlers` how many may run at once (on average,
    where the service is scaled), and `length_s` how long the run was.
    """

    busy_s: float
    attempts: int
    handlers: float
    length_s: float

    @property
    def utilisation(self) -> float:
        """The share of the run in which a handler was busy, averaged over the handlers."""
        return self.busy_s / (self.handlers * self.length_s) if self.length_s > 0 else np.nan


@dataclass(frozen=True, slots=True)
class Overload:
    """A service that is offered more than it can do, both in messages a second, averaged over the runs."""

    service: str
    offered_per_s: float
    capacity_per_s: float
    mend: str

    def in_words(self) -> str:
        """What that means, as one sentence without its full stop."""
        offered, capacity, growth = (
            quantity(value, "1/s")
            for value in (self.offered_per_s, self.capacity_per_s, self.offered_per_s - self.capacity_per_s)
        )
        return (
            f"{self.service} is overloaded: it is offered {offered} and can do {capacity}, so its backlog grows by "
            f"{growth} on average while the load lasts; {self.mend}"
        )


def work_of(scenario: Scenario, run: Run, rows: Rows, service: int, from_s: float = 0.0) -> Work:
    """What the handlers of a service did in a run, from a time on. `rows` are the service's own.

    An attempt that was cut off lasted until its consumer was killed or had left, or the run ended.
    """
    declared = list(scenario.services.values())[service]
    if declared.saga is None:
        of_attempts = of_kind(rows, begins_work(declared), "handled", "failed")
        starts_s, ends_s, cut = matched(of_attempts, of_attempts["kind"] == KIND[begins_work(declared)])
        attempts = int(np.count_nonzero(rows["kind"] == KIND["started"]))
    else:
        started, ended, cut = _acts(rows)
        attempts = started.size
        starts_s, ends_s = started["t_s"], ended["t_s"]
    ends_s = np.concatenate((ends_s, cut_off_s(rows, cut, run.ended_s)))
    busy_s = float(np.maximum(ends_s, from_s).sum() - np.maximum(starts_s, from_s).sum())
    length_s = run.ended_s - from_s
    consumers = consumer_seconds(scenario, run, rows, service, from_s) / length_s if length_s > 0 else 0.0
    return Work(busy_s, attempts, consumers * declared.concurrency, length_s)


def begins_work(service: Service) -> str:
    """The kind of the rows with which a handler is called: a batch is one call, that of its first message."""
    return "started" if service.batch is None else "batch"


def matched(rows: Rows, begins: npt.NDArray[np.bool_]) -> tuple[Floats, Floats, Rows]:
    """When calls of handlers began and ended, and the rows of those that have no end. `rows` are in the order of time.

    They are beginnings and ends. What ends a call is the first end of its consumer, message and attempt that follows.
    """
    numbers = _attempt_numbers(rows)
    order = np.argsort(numbers, kind="stable")
    numbers, ends = numbers[order], ~begins[order]
    next_end = np.where(ends, np.arange(rows.size), rows.size)
    next_end = np.append(np.minimum.accumulate(next_end[::-1])[::-1], rows.size)
    calls = np.flatnonzero(~ends)
    following = next_end[calls]
    over = np.append(numbers, -1)[following] == numbers[calls]
    at_s = rows["t_s"][order]
    cut = np.sort(order[calls[~over]])
    starts_s = np.concatenate((at_s[calls[over]], rows["t_s"][cut]))
    return starts_s, at_s[following[over]], rows[cut]


def _attempt_numbers(rows: Rows) -> npt.NDArray[np.int64]:
    """A number for each row: the same for those of one consumer at one message in one attempt."""
    columns = ["message", "consumer", "attempt"]
    sizes = [2 + int(rows[name].max(initial=0)) for name in columns]
    if prod(sizes) > _INT_MAX:
        return np.asarray(np.unique(rows[columns], return_inverse=True)[1], np.int64)
    # As one number each, for which NumPy takes a fifth of the time.
    return np.asarray(np.ravel_multi_index(tuple(rows[name].astype(np.int64) + 1 for name in columns), sizes), np.int64)


def _acts(rows: Rows) -> tuple[Rows, Rows, Rows]:
    """The acts of sagas: their beginnings, their ends, and the beginnings that have no end."""
    begun, over, cut = [], [], []
    for word in ("step", "undo"):
        started, ended = of_kind(rows, f"{word}_started"), of_kind(rows, f"{word}_done", f"{word}_failed")
        key = ["consumer", "message", "attempt", "value"]
        begun.append(started)
        over.append(ended)
        cut.append(started[~np.isin(started[key], ended[key])])
    return np.concatenate(begun), np.concatenate(over), np.concatenate(cut)


def cut_off_s(rows: Rows, cut: Rows, ended_s: float) -> Floats:
    """When calls were cut off that have no end, in a run that was over then. `rows` say who was killed or left."""
    killed = of_kind(rows, "killed", "left")
    ends_s = np.full(cut.size, ended_s)
    for index, row in enumerate(cut):
        later_s = killed["t_s"][(killed["consumer"] == row["consumer"]) & (killed["t_s"] >= row["t_s"])]
        ends_s[index] = min(later_s.min(initial=ended_s), ended_s)
    return np.asarray(np.maximum(ends_s, cut["t_s"]))


def overloads(history: History) -> Iterator[Overload]:
    """The services that were offered more than they can do while the load lasted."""
    yield from overloads_of(history.scenario, [rates_of(history)])


Rates = dict[str, list[tuple[float, float]]]  # by service: in each run, messages a second offered, and that it can do


def rates_of(history: History) -> Rates:
    """What each service was offered and can do, in the runs in which that is known."""
    return {
        name: [rates for run, rows in history.each_run() if (rates := _rates(history, run, rows, code))]
        for code, name in enumerate(history.services)
    }


def overloads_of(scenario: Scenario, each: Sequence[Rates]) -> Iterator[Overload]:
    """The services that were offered more than they can do, in the runs of several histories together."""
    for name, service in scenario.services.items():
        if found := [rates for one in each for rates in one[name]]:
            offered, capacity = np.mean(found, axis=0)
            if offered > capacity:
                yield Overload(name, float(offered), float(capacity), _mend(service))


def _mend(service: Service) -> str:
    """What helps, as far as a declaration says what may be in the way of more handlers."""
    if service.ordered_by is not None:
        return "messages of one key wait for each other, so more consumers may not help: shorten its service time"
    if service.uses:
        called = " and ".join(service.uses)
        return (
            f"its handlers also wait for {called}: add capacity there, add consumers or concurrency, or lower the rate"
        )
    if service.autoscale is not None:
        return "raise autoscale.max or concurrency, lower backlog_per_consumer, or lower the rate"
    return "add consumers or concurrency, or lower the rate"


def _rates(history: History, run: Run, rows: Rows, code: int) -> tuple[float, float] | None:
    """Messages a second that a service was offered, and those that it can do. None where that is not known."""
    event = history.events.index(list(history.scenario.services.values())[code].consumes)
    arrived_s = of_kind(rows[rows["event"] == event], "published")["t_s"]
    own = rows[rows["service"] == code]
    work = work_of(history.scenario, run, own, code)
    over_s, settled = float(np.ptp(arrived_s)) if arrived_s.size else 0.0, of_kind(own, "handled", "dead").size
    return rates_between(arrived_s.size, over_s, settled, work)


def rates_between(arrived: int, over_s: float, settled: int, work: Work) -> tuple[float, float] | None:
    """Messages a second that a service was offered, and those that it can do. None where that is not known.

    So many arrived within `over_s`, and so many were settled, by this work.
    """
    if arrived < _MESSAGES_MIN or not settled or work.busy_s <= 0:
        return None
    attempts = max(1.0, work.attempts / settled) if settled >= _MESSAGES_MIN else 1.0
    capacity = work.handlers / (work.busy_s / work.attempts) / attempts
    return ((arrived - 1) / over_s, capacity) if over_s > 0 else None
