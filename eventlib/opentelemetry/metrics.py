"""Metrics for OpenTelemetry: the instruments of its messaging conventions, and all numbers of `/metrics`.

The conventions are those of https://opentelemetry.io/docs/specs/semconv/messaging/messaging-metrics/ (version 1.43, in
development). What a program counts anyway is read when a reader collects, in its thread. Durations have to be recorded
one by one, which costs some 10 us each: so of very many, a fair part is recorded.
"""

import time
from collections.abc import Iterable, Iterator
from functools import partial

from eventlib import measuring
from eventlib.counts import HANDLING_S, LAG_S
from eventlib.extras import needs_extra
from eventlib.health import probes
from eventlib.health.numbers import NUMBERS, Number, Sample, Seen
from eventlib.health.verdicts import Limits, ready
from eventlib.health.watch import LOOK_AGAIN_S, Look, Parts, Watch, snapshot_of
from eventlib.opentelemetry.spans import error_type

with needs_extra("opentelemetry", "eventlib.opentelemetry"):
    from opentelemetry.metrics import CallbackOptions, Meter, Observation

Values = dict[tuple[str, ...], float]

RECORDS_PER_S = 100  # of one duration in one place: more of them are thinned out
_STEP = 4  # by which fewer are let through at once
_ERROR_TYPES_MAX = 20  # that are told apart in one process
_OTHER = "_OTHER"  # the name that the conventions give to all others
_UNITS = {"seconds": "s", "bytes": "By"}
_TYPES = {"publish": "send", "ack": "settle", "retry": "settle", "dead_letter": "settle", "process": "process"}
_LIMITS = Limits()


class OpenTelemetryMeter:
    """The instruments of one process. It sees every bus that is open, while it is the active meter."""

    def __init__(self, meter: Meter) -> None:
        self._kept: dict[str, Values] = {}  # counters of buses that have closed: what is counted never falls
        self._looks: dict[Watch, tuple[float, Look, bool]] = {}
        self._error_types = set[str]()
        self._thinned: dict[tuple[str, ...], _Thinned] = {}
        self._handling = meter.create_histogram(
            "messaging.process.duration",
            "s",
            "Duration of processing operation.",
            explicit_bucket_boundaries_advisory=HANDLING_S,
        )
        self._asking = meter.create_histogram(
            "messaging.client.operation.duration",
            "s",
            "Duration of messaging operation initiated by a producer or consumer client.",
            explicit_bucket_boundaries_advisory=HANDLING_S,
        )
        self._lag = meter.create_histogram(
            "eventlib.lag",
            "s",
            "From when an event was appended to its stream until it was handled, retries included.",
            explicit_bucket_boundaries_advisory=LAG_S,
        )
        meter.create_observable_counter(
            "messaging.client.sent.messages",
            [self._sent],
            "{message}",
            "Number of messages producer attempted to send to the broker.",
        )
        meter.create_observable_counter(
            "messaging.client.consumed.messages",
            [self._consumed],
            "{message}",
            "Number of messages that were delivered to the application.",
        )
        for number in NUMBERS:
            name, unit = _as_opentelemetry(number.name)
            create = meter.create_observable_counter if number.kind == "counter" else meter.create_observable_gauge
            create(name, [partial(self._observed, number)], unit, number.about)

    # Durations, in the event loop

    def handled(self, stream: str, group: str, took_s: float, error: BaseException | None) -> None:
        """See `measuring.Meter`."""
        failed = "" if error is None else self._error_type(error)
        if self._times(("process", stream, group, failed), 1):
            self._handling.record(took_s, _about("process", stream, group, failed))

    def late(self, stream: str, group: str, lag_s: float, stands_for: int) -> None:
        """See `measuring.Meter`."""
        for _ in range(self._times(("lag", stream, group), stands_for)):
            self._lag.record(lag_s, {"stream": stream, "group": group})

    def asked(self, operation: str, stream: str, group: str, took_s: float, error: BaseException | None) -> None:
        """See `measuring.Meter`."""
        failed = "" if error is None else self._error_type(error)
        if self._times((operation, stream, group, failed), 1):
            self._asking.record(took_s, _about(operation, stream, group, failed))

    def _times(self, what: tuple[str, ...], stands_for: int) -> int:
        thinned = self._thinned.get(what)
        if thinned is None:
            thinned = self._thinned[what] = _Thinned()
        return thinned.times(stands_for)

    def _error_type(self, error: BaseException) -> str:
        """Classes that are made while the program runs have any number of names."""
        name = error_type(error)
        if name in self._error_types or len(self._error_types) < _ERROR_TYPES_MAX:
            self._error_types.add(name)
            return name
        return _OTHER

    # What is counted, in the thread of a reader

    def keep(self, parts: Parts) -> None:
        """A bus closes: what it has counted stays. No collection reads meanwhile."""
        counts, published, closed = parts.running.counts(), parts.publisher.counts(), Look(problem="it has closed")
        seen = Seen(counts, published, snapshot_of(parts, 0.0), parts.broker.reconnects, closed, False)
        for number in NUMBERS:
            if number.kind == "counter":
                _add(self._kept.setdefault(number.name, {}), number, number.samples(seen))

    def _observed(self, number: Number, _: CallbackOptions) -> list[Observation]:
        return [
            Observation(value, dict(zip(number.labels, labels, strict=True)))
            for labels, value in self._together(number).items()
        ]

    def _sent(self, _: CallbackOptions) -> Iterator[Observation]:
        for number, failed in ((_PUBLISHED, ""), (_UNPUBLISHED, _OTHER)):
            for (stream,), value in self._together(number).items():
                if value or not failed:
                    yield Observation(value, _about("publish", stream, "", failed, typed=False))

    def _consumed(self, _: CallbackOptions) -> Iterator[Observation]:
        handled, failed = self._together(_HANDLED), self._together(_FAILED)
        for stream, group in sorted({*handled, *failed}):
            value = handled.get((stream, group), 0.0) + failed.get((stream, group), 0.0)
            yield Observation(value, _about("process", stream, group, "", typed=False))

    def _together(self, number: Number) -> Values:
        """A number of all buses, those that have closed included where it is a counter."""
        if measuring.active is not self:  # a provider goes on asking, whoever took this one's place
            return {}
        probes.start_watches()
        with probes.changing:
            values, watches = dict(self._kept.get(number.name, {})), probes.open_watches()
        self._looks = {watch: look for watch, look in self._looks.items() if watch in watches}
        for watch in watches:
            _add(values, number, number.samples(self._seen(watch)))
        return values

    def _seen(self, watch: Watch) -> Seen:
        asked_s, look, is_ready = self._looks.get(watch, (0.0, Look(), False))
        if (
            watch.in_own_thread or time.monotonic() - asked_s > LOOK_AGAIN_S
        ):  # once for all instruments, also where there is no answer
            look = watch.look_from_thread()
            is_ready = ready(watch.snapshot, watch.loop_silent_s(), _LIMITS).good
            if not watch.in_own_thread:  # a reader's thread can wait for a better one
                self._looks[watch] = time.monotonic(), look, is_ready
        return Seen.of(watch, look, is_ready)


class _Thinned:
    """Lets every n-th duration of one place through, so that about `RECORDS_PER_S` of them are recorded.

    It counts calls and not time, so that slow calls are as likely as fast ones. What is not let through costs a
    subtraction. One of few is always let through.
    """

    __slots__ = ("_began_s", "_every", "_left", "_taken")

    def __init__(self) -> None:
        self._every = self._left = 1  # how many calls there are until the next one that is let through
        self._taken = 0
        self._began_s = time.monotonic()

    def times(self, stands_for: int = 1) -> int:
        """How often a duration is to be recorded that stands for so many calls."""
        self._left -= stands_for
        return 0 if self._left > 0 else self._let_through()

    def _let_through(self) -> int:
        times = 1 + -self._left // self._every
        self._left += times * self._every
        self._taken += times
        passed_s = time.monotonic() - self._began_s
        if passed_s >= 1.0 or self._taken >= RECORDS_PER_S:
            wanted = round(self._taken * self._every / max(passed_s, 1e-9) / RECORDS_PER_S)
            self._every = max(1, min(wanted, _STEP * self._every))  # step by step: a burst is soon over
            self._left, self._taken, self._began_s = self._every, 0, self._began_s + passed_s
        return min(times, RECORDS_PER_S)


def _add(values: Values, number: Number, samples: Iterable[Sample]) -> None:
    for labels, value in samples:
        values[labels] = number.together(values[labels], value) if labels in values else value


def _about(operation: str, stream: str, group: str, failed: str, *, typed: bool = True) -> dict[str, str]:
    found = {
        "messaging.system": "redis",
        "messaging.operation.name": operation,
        "messaging.destination.name": stream,
    }
    if typed:
        found["messaging.operation.type"] = _TYPES[operation]
    if group:
        found["messaging.consumer.group.name"] = group
    if failed:
        found["error.type"] = failed
    return found


def _as_opentelemetry(name: str) -> tuple[str, str]:
    """The name and the unit of an instrument. Written back for Prometheus, they are the names of `/metrics`."""
    own, _, unit = name.removeprefix("eventlib_").rpartition("_")
    return (f"eventlib.{own}", _UNITS[unit]) if unit in _UNITS else (f"eventlib.{name.removeprefix('eventlib_')}", "")


_NAMED = {number.name: number for number in NUMBERS}
_PUBLISHED, _UNPUBLISHED = _NAMED["eventlib_events_published"], _NAMED["eventlib_events_unpublished"]
_HANDLED, _FAILED = _NAMED["eventlib_deliveries_handled"], _NAMED["eventlib_deliveries_failed"]
