"""Every number that a program tells of itself: its name, what it means, and where it is read. Nothing is counted here.

They are declared once and shown twice: by `metrics` for Prometheus, by `eventlib.opentelemetry` for OpenTelemetry.
Names and units follow https://prometheus.io/docs/practices/naming/: base units; what only grows is a counter. Labels
are `stream`, `group`, `queue` and `priority`, which a program declares, and the few states of a backlog. So the number
of series depends on declarations alone.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import add
from typing import Literal

from eventlib.consume.liveness import ConsumerHealth
from eventlib.counts import ConsumerCounts, EnqueueCounts, Histogram, PublishCounts
from eventlib.health.verdicts import Snapshot
from eventlib.health.watch import Look, Parts
from eventlib.records import Backlog, QueueHealth, is_queue_stream
from eventlib.retention import GroupHealth

Sample = tuple[tuple[str, ...], float]  # the values of the labels, in their order, and the number
Together = Callable[[float, float], float]
_NO_LABEL: tuple[str, ...] = ()
_PLACE = ("stream", "group")
LAG_ABOUT = "From when an event was appended to its stream until it was handled, retries included."


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of one program. `ready` is the verdict of `/readyz`."""

    counts: Mapping[tuple[str, str], ConsumerCounts]
    published: Mapping[str, PublishCounts]
    enqueued: Mapping[str, EnqueueCounts]
    snapshot: Snapshot
    reconnects: int
    look: Look
    ready: bool

    @classmethod
    def of(cls, parts: Parts, snapshot: Snapshot, look: Look, ready: bool) -> "Seen":
        """What a bus has counted until now, with a look that was taken before."""
        counted = parts.running.counts(), parts.publisher.counts(), parts.tasks.counts()
        return cls(*counted, snapshot, parts.broker.reconnects, look, ready)

    @property
    def fresh(self) -> Look:
        """What the server told. Nothing, where it did not: an old number would look like a new one."""
        return self.look if self.look.problem is None else Look()


@dataclass(frozen=True, slots=True)
class Number:
    """One number, or one for each combination of its labels.

    `together` says what several buses of one process have together: the sum of what each counts, one of what all see.
    """

    kind: Literal["counter", "gauge"]
    name: str
    about: str
    labels: tuple[str, ...]
    samples: Callable[[Seen], Iterable[Sample]]
    together: Together = max


@dataclass(frozen=True, slots=True)
class Durations:
    """One histogram in seconds, for each group."""

    name: str
    about: str
    labels: tuple[str, ...]
    samples: Callable[[Seen], Iterable[tuple[tuple[str, ...], Histogram]]]


def _delivered(name: str, about: str, count: Callable[[ConsumerCounts], int]) -> Number:
    def samples(seen: Seen) -> Iterator[Sample]:
        return ((place, count(each)) for place, each in seen.counts.items())

    return Number("counter", name, about, _PLACE, samples, add)


def _sent(name: str, about: str, count: Callable[[PublishCounts], int]) -> Number:
    def samples(seen: Seen) -> Iterator[Sample]:
        return (((stream,), count(each)) for stream, each in seen.published.items())

    return Number("counter", name, about, ("stream",), samples, add)


def _enqueued(name: str, about: str, count: Callable[[EnqueueCounts], int]) -> Number:
    def samples(seen: Seen) -> Iterator[Sample]:
        return (((queue,), count(each)) for queue, each in seen.enqueued.items())

    return Number("counter", name, about, ("queue",), samples, add)


def _program(name: str, about: str, value: Callable[[Seen], float], together: Together = max) -> Number:
    return Number("gauge", name, about, _NO_LABEL, lambda seen: [(_NO_LABEL, value(seen))], together)


def _consumers(name: str, about: str, value: Callable[[ConsumerHealth], float], together: Together = max) -> Number:
    def samples(seen: Seen) -> Iterable[Sample]:
        found: dict[tuple[str, ...], float] = {}
        for each in seen.snapshot.consumers:
            place = each.stream, each.group
            found[place] = together(found[place], value(each)) if place in found else value(each)
        return sorted(found.items())

    return Number("gauge", name, about, _PLACE, samples, together)


def _backlog(name: str, about: str, value: Callable[[Backlog], float]) -> Number:
    def samples(seen: Seen) -> Iterator[Sample]:
        return ((place, value(each)) for place, each in seen.fresh.backlogs.items())

    return Number("gauge", name, about, _PLACE, samples)


def _queue(name: str, about: str, value: Callable[[QueueHealth], float]) -> Number:
    def samples(seen: Seen) -> Iterator[Sample]:
        return (((queue,), value(each)) for queue, each in seen.fresh.queues.items())

    return Number("gauge", name, about, ("queue",), samples)


def _backlog_entries(seen: Seen) -> Iterator[Sample]:
    for place, each in seen.fresh.backlogs.items():
        for state in ("waiting", "pending", "retrying", "delayed", "parked"):
            yield (*place, state), getattr(each, state)


def _own_groups(seen: Seen) -> Iterator[tuple[tuple[str, str], GroupHealth]]:
    """The groups of the program itself. Of others there may be any number."""
    for stream in seen.fresh.streams:
        for group in stream.groups:
            if (place := (stream.stream, group.group)) in seen.fresh.backlogs:
                yield place, group


def _dropped(seen: Seen) -> Iterator[Sample]:
    return ((place, group.dropped) for place, group in _own_groups(seen))


def _loss(seen: Seen) -> Iterator[Sample]:
    return ((place, group.loss_in_s) for place, group in _own_groups(seen) if group.loss_in_s is not None)


def _queue_tasks(seen: Seen) -> Iterator[Sample]:
    for name, queue in seen.fresh.queues.items():
        for state in ("running", "delayed", "blocked"):
            yield (name, state), getattr(queue, state)


def _waiting_tasks(seen: Seen) -> Iterator[Sample]:
    for name, queue in seen.fresh.queues.items():
        yield from (((name, priority), count) for priority, count in queue.waiting.items())


def _oldest_tasks(seen: Seen) -> Iterator[Sample]:
    for name, queue in seen.fresh.queues.items():
        yield from (((name, priority), age_s or 0.0) for priority, age_s in queue.oldest_age_s.items())


NUMBERS: tuple[Number, ...] = (
    _program("eventlib_ready", "1 if /readyz says so, else 0.", lambda seen: seen.ready, min),
    _program("eventlib_server_silent_seconds", "Since the server last answered.", lambda s: s.snapshot.silent_s),
    Number(
        "counter",
        "eventlib_reconnects",
        "Connections to Redis made again.",
        _NO_LABEL,
        lambda seen: [(_NO_LABEL, seen.reconnects)],
        add,
    ),
    _program("eventlib_publishes_queued", "Events not on the server yet.", lambda s: s.snapshot.load.queued, add),
    _program(
        "eventlib_publish_waiting_seconds",
        "For how long the first caller of a publish has waited.",
        lambda seen: seen.snapshot.load.waiting_s,
    ),
    _program(
        "eventlib_spool_bytes",
        "Events in the spool's file, for when Redis answers.",
        lambda seen: seen.snapshot.load.spooled_bytes,
        add,
    ),
    _program(
        "eventlib_spool_limit_bytes",
        "Size that the spool's file may have; 0 where there is none.",
        lambda seen: seen.snapshot.load.spool_bytes_max,
        add,
    ),
    _program(
        "eventlib_waits_outstanding",
        "Requests and other waits for an event.",
        lambda seen: seen.snapshot.outstanding,
        add,
    ),
    _consumers("eventlib_deliveries_in_hand", "Entries that consumers hold.", lambda each: each.in_hand, add),
    _consumers("eventlib_consumer_silent_seconds", "An answer to a read is due.", lambda each: each.silent_s),
    _consumers("eventlib_consumer_paused", "1 if an operator lets the group rest, else 0.", lambda each: each.paused),
    _consumers("eventlib_consumer_full_seconds", "There is no room for more.", lambda each: each.full_s),
    _delivered("eventlib_deliveries_handled", "Deliveries that a handler has handled.", lambda each: each.handled),
    _delivered("eventlib_deliveries_failed", "Attempts of handlers that failed.", lambda each: each.failed),
    _delivered(
        "eventlib_deliveries_retried", "Deliveries that go back for another attempt.", lambda each: each.retried
    ),
    _delivered("eventlib_deliveries_dead", "Deliveries moved to the dead-letter queue.", lambda each: each.dead),
    _delivered(
        "eventlib_deliveries_taken_over",
        "Entries taken over from consumers that fell silent: these may be handled twice.",
        lambda each: each.taken_over,
    ),
    _delivered("eventlib_circuit_opened", "How often a circuit breaker has opened.", lambda each: each.opened),
    _delivered(
        "eventlib_leases_lost", "Entries that another consumer took over from this program.", lambda each: each.lost
    ),
    _sent("eventlib_events_published", "Events that the server or the spool has.", lambda each: each.published),
    _sent(
        "eventlib_events_duplicate",
        "Published events that the stream had already, by number or unique id.",
        lambda each: each.duplicates,
    ),
    _sent("eventlib_events_unpublished", "Events whose publish failed.", lambda each: each.failed),
    _enqueued("eventlib_tasks_enqueued", "Tasks of this program that the server has.", lambda each: each.enqueued),
    _enqueued("eventlib_tasks_unenqueued", "Tasks whose enqueue failed.", lambda each: each.failed),
    _program(
        "eventlib_look_success",
        "1 if the server told how all stands, else 0.",
        lambda seen: seen.look.problem is None,
        min,
    ),
    Number(
        "gauge",
        "eventlib_stream_entries",
        "Entries that the stream has.",
        ("stream",),
        lambda seen: (((stream.stream,), stream.entries) for stream in seen.fresh.streams),
    ),
    Number("counter", "eventlib_entries_dropped_unread", "Entries a group has lost.", _PLACE, _dropped),
    Number(
        "gauge",
        "eventlib_loss_in_seconds",
        "Seconds until the group begins to lose entries, if nothing changes.",
        _PLACE,
        _loss,
        min,
    ),
    Number("gauge", "eventlib_backlog_entries", "What a group has to do.", (*_PLACE, "state"), _backlog_entries),
    _backlog("eventlib_backlog_oldest_seconds", "Age of the oldest of these.", lambda each: each.oldest_age_s or 0.0),
    _backlog("eventlib_dead_letters", "Entries in the dead-letter queue.", lambda each: each.dead),
    Number("gauge", "eventlib_queue_waiting_tasks", "Tasks that may start.", ("queue", "priority"), _waiting_tasks),
    Number(
        "gauge", "eventlib_queue_oldest_seconds", "Age of the oldest of these.", ("queue", "priority"), _oldest_tasks
    ),
    Number("gauge", "eventlib_queue_tasks", "Tasks that run, or may not yet.", ("queue", "state"), _queue_tasks),
    _queue("eventlib_queue_workers", "Workers heard of within a lease.", lambda each: each.workers),
    _queue("eventlib_queue_paused", "1 if an operator lets the queue rest, else 0.", lambda each: each.paused),
    _queue("eventlib_queue_dead_letters", "Tasks that were given up.", lambda each: each.dead),
)

DURATIONS: tuple[Durations, ...] = (
    Durations(
        "eventlib_lag_seconds",
        LAG_ABOUT,
        _PLACE,
        # a task's entry does not say when it was enqueued
        lambda seen: ((place, each.lag) for place, each in seen.counts.items() if not is_queue_stream(place[0])),
    ),
    Durations(
        "eventlib_handling_seconds",
        "One call of a handler.",
        _PLACE,
        lambda seen: ((place, each.handling) for place, each in seen.counts.items()),
    ),
)
