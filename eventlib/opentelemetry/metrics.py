"""Metrics for OpenTelemetry: the instruments of its messaging conventions, and all numbers of `/metrics`.

The conventions are those of https://opentelemetry.io/docs/specs/semconv/messaging/messaging-metrics/ (version 1.43, in
development). What a program counts anyway is read when a reader collects, in its thread. Durations have to be recorded
one by one, which costs some 10 us each: so of very many, a fair part is recorded.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from eventlib import measuring
from eventlib.counts import HANDLING_S, LAG_S
from eventlib.extras import needs_extra
from eventlib.health import probes
from eventlib.health.numbers import LAG_ABOUT, NUMBERS, Number, Sample, Seen
from eventlib.health.verdicts import Limits, ready
from eventlib.health.watch import LOOK_AGAIN_S, Look, Parts, Watch, snapshot_of
from eventlib.opentelemetry.spans import error_type
from eventlib.records import queue_stream

with needs_extra("opentelemetry", "eventlib.opentelemetry"):
    from opentelemetry.metrics import CallbackOptions, Histogram, Meter, Observation

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
        self._handled: dict[tuple[str, str, str], _Series] = {}
        self._asked: dict[tuple[str, str, str, str], _Series] = {}
        self._late: dict[tuple[str, str], _Series] = {}
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
            LAG_ABOUT,
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

    def handled(self, stream: str, group: str, took_s: float, error: BaseException | None, stands_for: int) -> bool:
        """See `measuring.Meter`."""
        place = stream, group, "" if error is None else self._error_type(error)
        if (series := self._handled.get(place)) is None:
            series = self._handled[place] = _Series(self._handling, _about("process", *place))
        return series.add(took_s, stands_for)

    def late(self, stream: str, group: str, lag_s: float, stands_for: int) -> None:
        """See `measuring.Meter`."""
        place = stream, group
        if (series := self._late.get(place)) is None:
            series = self._late[place] = _Series(self._lag, {"stream": stream, "group": group})
        series.add(lag_s, stands_for)

    def asked(self, operation: str, stream: str, group: str, took_s: float, error: BaseException | None) -> None:
        """See `measuring.Meter`."""
        place = operation, stream, group, "" if error is None else self._error_type(error)
        if (series := self._asked.get(place)) is None:
            series = self._asked[place] = _Series(self._asking, _about(*place))
        series.add(took_s, 1)

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
        seen = Seen.of(parts, snapshot_of(parts, 0.0), Look(problem="it has closed"), ready=False)
        for number in NUMBERS:
            if number.kind == "counter":
                _add(self._kept.setdefault(number.name, {}), number, number.samples(seen))

    def _observed(self, number: Number, _: CallbackOptions) -> list[Observation]:
        return [
            Observation(value, dict(zip(number.labels, labels, strict=True)))
            for labels, value in self._together(number).items()
        ]

    def _sent(self, _: CallbackOptions) -> Iterator[Observation]:
        for number, stream_of, failed in _SENT:
            for (name,), value in self._together(number).items():
                if value or not failed:
                    yield Observation(value, _about("publish", stream_of(name), "", failed, typed=False))

    def _consumed(self, _: CallbackOptions) -> Iterator[Observation]:
        handled, failed = self._together(_HANDLED), self._together(_FAILED)
        for stream, group in sorted({*handled, *failed}):
            value = handled.get((stream, group), 0.0) + failed.get((stream, group), 0.0)
            yield Observation(value, _about("process", stream, group, "", typed=False))

    def _together(self, number: Number) -> Values:
        """A number of all buses, those that have closed included where it is a counter."""
        if measuring.active is not self:  # a provider goes on asking after another one is installed
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
        return Seen.of(watch.parts, watch.snapshot, look, is_ready)


class _Series:
    """The durations of one place in a histogram. Its attributes are made once: that costs more than a call."""

    __slots__ = ("_attributes", "_record", "_thinned")

    def __init__(self, histogram: Histogram, attributes: dict[str, str]) -> None:
        self._record, self._attributes, self._thinned = histogram.record, attributes, _Thinned()

    def add(self, value_s: float, stands_for: int) -> bool:
        """Take note of a duration that stands for so many. Returns whether there are few, so that all are recorded."""
        for _ in range(self._thinned.times(stands_for)):
            self._record(value_s, self._attributes)
        return self._thinned.every == 1


class _Thinned:
    """Lets every n-th duration of one place through, so that about `RECORDS_PER_S` of them are recorded.

    It counts calls and not time, so that slow calls are as likely as fast ones. What is not let through costs a
    subtraction. One of few is always let through.
    """

    __slots__ = ("_began_s", "_left", "_taken", "every")

    def __init__(self) -> None:
        self.every = self._left = 1  # how many calls there are until the next one that is let through
        self._taken = 0
        self._began_s = time.monotonic()

    def times(self, stands_for: int = 1) -> int:
        """How often a duration is to be recorded that stands for so many calls."""
        self._left -= stands_for
        return 0 if self._left > 0 else self._let_through()

    def _let_through(self) -> int:
        times = 1 + -self._left // self.every
        self._left += times * self.every
        self._taken += times
        passed_s = time.monotonic() - self._began_s
        if passed_s >= 1.0 or self._taken >= RECORDS_PER_S:
            wanted = round(self._taken * self.every / max(passed_s, 1e-9) / RECORDS_PER_S)
            self.every = max(1, min(wanted, _STEP * self.every))  # step by step: a burst is soon over
            self._left, self._taken, self._began_s = self.every, 0, self._began_s + passed_s
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
_SENT: tuple[tuple[Number, Callable[[str], str], str], ...] = (
    (_NAMED["eventlib_events_published"], str, ""),
    (_NAMED["eventlib_events_unpublished"], str, _OTHER),
    (_NAMED["eventlib_tasks_enqueued"], queue_stream, ""),
    (_NAMED["eventlib_tasks_unenqueued"], queue_stream, _OTHER),
)
_HANDLED, _FAILED = _NAMED["eventlib_deliveries_handled"], _NAMED["eventlib_deliveries_failed"]
