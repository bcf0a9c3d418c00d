"""A program's numbers in the format of Prometheus. They are read when they are asked for; between, nothing is done.

Names and units follow https://prometheus.io/docs/practices/naming/: base units, `_total` for what only grows. Labels
are `stream`, `group`, `queue` and `priority`, which a program declares, and the few states of a backlog. So the number
of series depends on declarations alone, and none is left of a process that ended. `instance` is Prometheus' own label.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate

from eventlib.counts import ConsumerCounts, Histogram, PublishCounts
from eventlib.extras import needs_extra
from eventlib.health.verdicts import Verdict
from eventlib.health.watch import Look, Watch
from eventlib.operate.serving import Answer
from eventlib.records import is_queue_stream

with needs_extra("metrics", "/metrics"):
    from prometheus_client import CollectorRegistry, ProcessCollector
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
    from prometheus_client.exposition import choose_encoder
    from prometheus_client.registry import Collector

_PLACE = ["stream", "group"]
_PROCESS = CollectorRegistry()
ProcessCollector(registry=_PROCESS)

_DELIVERIES: list[tuple[str, str, Callable[[ConsumerCounts], int]]] = [
    ("eventlib_deliveries_handled", "Deliveries that a handler has handled.", lambda counts: counts.handled),
    ("eventlib_deliveries_failed", "Attempts of handlers that failed.", lambda counts: counts.failed),
    ("eventlib_deliveries_retried", "Deliveries that go back for another attempt.", lambda counts: counts.retried),
    ("eventlib_deliveries_dead", "Deliveries moved to the dead-letter queue.", lambda counts: counts.dead),
    (
        "eventlib_deliveries_taken_over",
        "Entries taken over from consumers that fell silent: these may be handled twice.",
        lambda counts: counts.taken_over,
    ),
    ("eventlib_circuit_opened", "How often a circuit breaker has opened.", lambda counts: counts.opened),
    ("eventlib_leases_lost", "Entries that another consumer took over from this program.", lambda counts: counts.lost),
]
_PUBLISHES: list[tuple[str, str, Callable[[PublishCounts], int]]] = [
    ("eventlib_events_published", "Events that the server or the spool has.", lambda counts: counts.published),
    (
        "eventlib_events_duplicate",
        "Published events that the stream had already, by number or unique id.",
        lambda counts: counts.duplicates,
    ),
    ("eventlib_events_unpublished", "Events whose publish failed.", lambda counts: counts.failed),
]


def exposition(watch: Watch, look: Look, ready: Verdict, accept: str) -> Answer:
    """All metrics, in the text format that the scraper accepts."""
    encode, content_type = choose_encoder(accept)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Metrics(watch, look, ready))
    return Answer(200, content_type, encode(registry))


class _Metrics(Collector):
    """The metrics of one scrape."""

    def __init__(self, watch: Watch, look: Look, ready: Verdict) -> None:
        self._watch = watch
        self._look = look
        self._ready = ready

    def collect(self) -> Iterable[Metric]:
        """Every metric, with its samples."""
        yield from _PROCESS.collect()
        yield from self._of_program()
        yield from _of_deliveries(self._watch.counts())
        published = self._watch.parts.publisher.counts()
        for name, about, value in _PUBLISHES:
            family = CounterMetricFamily(name, about, labels=["stream"])
            for stream, counts in published.items():
                family.add_metric([stream], value(counts))
            yield family
        yield from _of_server(self._look)

    def _of_program(self) -> Iterator[Metric]:
        seen, broker = self._watch.snapshot, self._watch.parts.broker
        yield GaugeMetricFamily("eventlib_ready", "1 if /readyz says so, else 0.", self._ready.good)
        yield GaugeMetricFamily("eventlib_server_silent_seconds", "Since the server last answered.", seen.silent_s)
        yield CounterMetricFamily("eventlib_reconnects", "Connections to Redis made again.", broker.reconnects)
        yield GaugeMetricFamily("eventlib_publishes_queued", "Events not on the server yet.", seen.load.queued)
        about = "For how long the first caller of a publish has waited."
        yield GaugeMetricFamily("eventlib_publish_waiting_seconds", about, seen.load.waiting_s)
        about = "Events in the spool's file, for when Redis answers."
        yield GaugeMetricFamily("eventlib_spool_bytes", about, seen.load.spooled_bytes)
        about = "Size that the spool's file may have; 0 where there is none."
        yield GaugeMetricFamily("eventlib_spool_limit_bytes", about, seen.load.spool_bytes_max)
        about = "Requests and other waits for an event."
        yield GaugeMetricFamily("eventlib_waits_outstanding", about, seen.outstanding)
        held = GaugeMetricFamily("eventlib_deliveries_in_hand", "Entries that consumers hold.", labels=_PLACE)
        silent = GaugeMetricFamily("eventlib_consumer_silent_seconds", "An answer to a read is due.", labels=_PLACE)
        full = GaugeMetricFamily("eventlib_consumer_full_seconds", "There is no room for more.", labels=_PLACE)
        for place in sorted({(consumer.stream, consumer.group) for consumer in seen.consumers}):
            own = [consumer for consumer in seen.consumers if (consumer.stream, consumer.group) == place]
            held.add_metric(place, sum(consumer.in_hand for consumer in own))
            silent.add_metric(place, max(consumer.silent_s for consumer in own))
            full.add_metric(place, max(consumer.full_s for consumer in own))
        yield from (held, silent, full)


def _of_deliveries(counts: dict[tuple[str, str], ConsumerCounts]) -> Iterator[Metric]:
    for name, about, value in _DELIVERIES:
        family = CounterMetricFamily(name, about, labels=_PLACE)
        for place, each in counts.items():
            family.add_metric(place, value(each))
        yield family
    about = "From when an event was appended to its stream until it was handled, retries included."
    lag = HistogramMetricFamily("eventlib_lag_seconds", about, labels=_PLACE)
    handling = HistogramMetricFamily("eventlib_handling_seconds", "One call of a handler.", labels=_PLACE)
    for place, each in counts.items():
        if not is_queue_stream(place[0]):  # a task's entry does not say when it was enqueued
            lag.add_metric(place, *_buckets(each.lag))
        handling.add_metric(place, *_buckets(each.handling))
    yield from (lag, handling)


def _buckets(histogram: Histogram) -> tuple[list[tuple[str, float]], float]:
    counts = list(accumulate(list(histogram.counts)))  # a copy: the loop adds meanwhile
    bounds = [*(str(bound) for bound in histogram.bounds), "+Inf"]
    return list(zip(bounds, map(float, counts), strict=True)), histogram.total


def _of_server(look: Look) -> Iterator[Metric]:
    """What the server told. Where it did not, these have no samples: an old number would look like a new one."""
    fresh = look.problem is None
    yield GaugeMetricFamily("eventlib_look_success", "1 if the server told how all stands, else 0.", fresh)
    length = GaugeMetricFamily("eventlib_stream_entries", "Entries that the stream has.", labels=["stream"])
    dropped = CounterMetricFamily("eventlib_entries_dropped_unread", "Entries a group has lost.", labels=_PLACE)
    about = "Seconds until the group begins to lose entries, if nothing changes."
    loss = GaugeMetricFamily("eventlib_loss_in_seconds", about, labels=_PLACE)
    backlog = GaugeMetricFamily("eventlib_backlog_entries", "What a group has to do.", labels=[*_PLACE, "state"])
    oldest = GaugeMetricFamily("eventlib_backlog_oldest_seconds", "Age of the oldest of these.", labels=_PLACE)
    dead = GaugeMetricFamily("eventlib_dead_letters", "Entries in the dead-letter queue.", labels=_PLACE)
    if fresh:
        for stream in look.streams:
            length.add_metric([stream.stream], stream.entries)
            for group in stream.groups:
                if (stream.stream, group.group) in look.backlogs:  # the program's own: strangers have any number
                    dropped.add_metric([stream.stream, group.group], group.dropped)
                    if group.loss_in_s is not None:
                        loss.add_metric([stream.stream, group.group], group.loss_in_s)
        for place, each in look.backlogs.items():
            for state in ("waiting", "pending", "retrying", "delayed", "parked"):
                backlog.add_metric([*place, state], getattr(each, state))
            oldest.add_metric(place, each.oldest_age_s or 0.0)
            dead.add_metric(place, each.dead)
    yield from (length, dropped, loss, backlog, oldest, dead)
    yield from _of_queues(look if fresh else Look())


def _of_queues(look: Look) -> Iterator[Metric]:
    labels = ["queue", "priority"]
    waiting = GaugeMetricFamily("eventlib_queue_waiting_tasks", "Tasks that may start.", labels=labels)
    oldest = GaugeMetricFamily("eventlib_queue_oldest_seconds", "Age of the oldest of these.", labels=labels)
    tasks = GaugeMetricFamily("eventlib_queue_tasks", "Tasks that run, or may not yet.", labels=["queue", "state"])
    workers = GaugeMetricFamily("eventlib_queue_workers", "Workers heard of within a lease.", labels=["queue"])
    dead = GaugeMetricFamily("eventlib_queue_dead_letters", "Tasks that were given up.", labels=["queue"])
    for name, queue in look.queues.items():
        for priority, count in queue.waiting.items():
            waiting.add_metric([name, priority], count)
            oldest.add_metric([name, priority], queue.oldest_age_s[priority] or 0.0)
        for state in ("running", "delayed", "blocked"):
            tasks.add_metric([name, state], getattr(queue, state))
        workers.add_metric([name], queue.workers)
        dead.add_metric([name], queue.dead)
    yield from (waiting, oldest, tasks, workers, dead)
