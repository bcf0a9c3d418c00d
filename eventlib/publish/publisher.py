"""From an event to its stream: what the bus calls to publish.

Each stream has a sender. It numbers the events: the server appends a number once, so a repeat is harmless.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from eventlib import tracing
from eventlib.broker.connections import Broker
from eventlib.counts import PublishCounts
from eventlib.errors import (
    BrokerUnavailable,
    BusClosed,
    InvalidArgument,
    PartlyPublished,
    SpoolFull,
    SpoolUnusable,
    shown,
)
from eventlib.events.envelope import write
from eventlib.events.schema import Event, spec_of
from eventlib.publish.batches import Slice, sliced
from eventlib.publish.capacity import CapacityLimit
from eventlib.publish.outage import OutagePolicy
from eventlib.publish.routes import Route, route_for
from eventlib.publish.sender import Sender
from eventlib.records import is_queue_stream

# Correlation, causation, traceparent, tracestate. `publish` takes them one by one: a tuple is a hundredth of its time.
Context = tuple[str | None, str | None, str | None, str | None]

_UNSURE = (BrokerUnavailable, SpoolFull, SpoolUnusable)  # after these, an event may have been appended all the same
_UNIQUE_S_MAX = 366 * 86_400.0
_ID = re.compile(r"[!#-\[\]-~]{1,256}")  # printable ASCII; no space, quote or backslash


@asynccontextmanager
async def publishing(broker: Broker, source: str, outage_policy: OutagePolicy) -> AsyncIterator["Publisher"]:
    """A Publisher of events from `source`, which is closed at the end of the block.

    Raises:
        SpoolUnusable: the spool's file cannot be used.
    """
    publisher = Publisher(broker, source, await route_for(broker, outage_policy))
    try:
        yield publisher
    finally:
        await publisher.close()


@dataclass(frozen=True, slots=True)
class PublishLoad:
    """How many events of a bus are not on the server yet, for how long the first caller has waited, and what a file
    keeps, of at most `spool_bytes_max` (0: there is no file).
    """

    queued: int
    waiting_s: float
    spooled_bytes: int
    spool_bytes_max: int = 0


class Publisher:
    """Publishes the events of one bus."""

    def __init__(self, broker: Broker, source: str, route: Route) -> None:
        self.capacity = CapacityLimit()
        self._where = broker.where
        self._source = source
        self._route = route
        self._senders: dict[str, Sender] = {}  # by stream
        self._sender_of: dict[type[Event], Sender] = {}  # the same senders, by event class
        self._closed = False

    def publish(
        self,
        event: Event,
        id_: str | None,
        unique_for_s: float | None,
        correlation_id: str | None,
        causation_id: str | None,
        traceparent: str | None,
        tracestate: str | None,
    ) -> "tuple[str, asyncio.Future[None]]":
        """Queue one event. Returns its id, and what to await. See `Bus.publish`, which waits for `capacity` before."""
        if self._closed:
            raise BusClosed
        if unique_for_s is not None:
            _check_window(unique_for_s, has_ids=id_ is not None)
        if id_ is not None:
            _check_id(id_)
        sender = self._sender_of.get(type(event)) or self._find_sender(type(event))
        if tracing.active is not None:
            context = (correlation_id, causation_id, traceparent, tracestate)
            return self._traced(tracing.active, sender, event, id_, unique_for_s, context)
        envelope_id, body = write(event, self._source, correlation_id, causation_id, traceparent, tracestate, id_)
        return envelope_id, sender.add_single(body, envelope_id, unique_for_s)

    def _traced(
        self,
        tracer: tracing.Tracer,
        sender: Sender,
        event: Event,
        id_: str | None,
        unique_for_s: float | None,
        context: Context,
    ) -> "tuple[str, asyncio.Future[None]]":
        with tracer.writing(spec_of(type(event)).stream, 1, context[2:]) as sending:
            envelope_id, body = write(event, self._source, *context, id_)
            sending.is_about(envelope_id)
            sent = sender.add_single(body, envelope_id, unique_for_s)

        def ended(_: object) -> None:
            sending.end(asyncio.CancelledError() if sent.cancelled() else sent.exception())

        sent.add_done_callback(ended)
        return envelope_id, sent

    async def publish_written(self, stream: str, id_: str, body: bytes, unique_for_s: float) -> None:
        """Append an event whose envelope was written before, unless the stream remembers its id.

        Raises what `Bus.publish` raises.
        """
        if not self.capacity.available:
            await self.capacity.wait_until_available()
        if self._closed:
            raise BusClosed
        await self._sender_to(stream).add_single(body, id_, unique_for_s)

    async def publish_many(
        self, events: Sequence[Event], ids: Sequence[str] | None, unique_for_s: float | None, context: Context
    ) -> list[str]:
        """See `Bus.publish_many`."""
        given: object = events  # of any type, where no checker looked
        if tracing.active is None or not events or isinstance(given, Event):
            return await self._publish_many(events, ids, unique_for_s, context)
        events = [*events]  # those of a generator come once
        streams = {spec_of(type(event)).stream for event in events}
        stream = streams.pop() if len(streams) == 1 else None
        with tracing.active.writing(stream, len(events), context[2:]) as sending:
            written = await self._publish_many(events, ids, unique_for_s, context)
        sending.end()
        return written

    async def _publish_many(
        self, events: Sequence[Event], ids: Sequence[str] | None, unique_for_s: float | None, context: Context
    ) -> list[str]:
        if self._closed:
            raise BusClosed
        given: object = events  # of any type, where no checker looked
        if isinstance(given, Event):
            raise InvalidArgument("publish_many", "give a list of events; `publish` takes one")
        if ids is not None and len(ids) != len(events):
            raise InvalidArgument("publish_many", f"{len(ids)} ids for {len(events)} events; give one for each")
        if unique_for_s is not None:
            _check_window(unique_for_s, has_ids=ids is not None)
        for id_ in ids or ():
            _check_id(id_)
        written, parts = self._write(events, ids, context)
        for part in parts:
            part.cut(unique_for_s)
        try:
            for part in parts:  # before anything is awaited, so that calls made in turn keep their order
                part.add_without_waiting()
            outcomes = [await parts[0].send()] if len(parts) == 1 else await _gather(parts)
        finally:
            for part in parts:
                part.drop()
        self._raise_if_any_failed(outcomes)
        return written

    def load(self) -> PublishLoad:
        """What is on its way to the server."""
        since_s = [s.waiting_since_s for s in self._senders.values() if s.waiting_since_s is not None]
        waiting_s = max(0.0, asyncio.get_running_loop().time() - min(since_s)) if since_s else 0.0
        return PublishLoad(self.capacity.count, waiting_s, self._route.spooled_bytes, self._route.spool_bytes_max)

    def counts(self) -> dict[str, PublishCounts]:
        """What became of the events so far, by stream."""
        return {stream: sender.counts for stream, sender in self._senders.copy().items()}

    async def close(self) -> None:
        """Send what is queued. Where Redis does not answer, this takes as long as the callers wait."""
        self._closed = True
        self.capacity.close()
        for sender in self._senders.values():
            sender.start()
        tasks = [sender.task for sender in self._senders.values() if sender.task is not None]
        try:
            if tasks:
                await asyncio.wait(tasks)
        finally:
            for sender in self._senders.values():
                sender.close()
            await self._route.close()

    def _find_sender(self, event_class: type[Event]) -> Sender:
        sender = self._sender_of[event_class] = self._sender_to(spec_of(event_class).stream)
        return sender

    def _sender_to(self, stream: str) -> Sender:
        if is_queue_stream(stream):
            raise InvalidArgument("publish", f"stream {stream!r} is a task queue; call bus.enqueue")
        if stream not in self._senders:
            self._senders[stream] = Sender(self._where, stream, self._route, self.capacity)
        return self._senders[stream]

    def _write(
        self, events: Sequence[Event], ids: Sequence[str] | None, context: Context
    ) -> "tuple[list[str], list[_StreamPart]]":
        """Write the events of one call: their ids, and the part for each stream."""
        written: list[str] = []
        parts: dict[str, _StreamPart] = {}
        for index, event in enumerate(events):
            envelope_id, body = write(event, self._source, *context, ids[index] if ids else None)
            written.append(envelope_id)
            stream = spec_of(type(event)).stream
            part = parts.get(stream)
            if part is None:
                part = parts[stream] = _StreamPart(self._sender_to(stream), self.capacity)
            part.ids.append(envelope_id)
            part.bodies.append(body)
        return written, list(parts.values())

    def _raise_if_any_failed(self, outcomes: "Sequence[_Outcome]") -> None:
        errors = [outcome.error for outcome in outcomes if outcome.error is not None]
        if not errors:
            return
        appended = [id_ for outcome in outcomes for id_ in outcome.appended]
        if appended:
            raise PartlyPublished(self._where, str(errors[0]), tuple(appended)) from errors[0]
        raise next((error for error in errors if isinstance(error, _UNSURE)), errors[0])


@dataclass(frozen=True, slots=True)
class _Outcome:
    """How one stream's part of a call ended: the ids that were appended for sure, and what went wrong."""

    appended: Sequence[str]
    error: Exception | None


class _StreamPart:
    """The events of one call that go to one stream."""

    def __init__(self, sender: Sender, capacity: CapacityLimit) -> None:
        self.ids: list[str] = []
        self.bodies: list[bytes] = []
        self._sender = sender
        self._capacity = capacity
        self._slices: list[Slice] = []
        self._added = 0  # slices that were handed to the sender

    def cut(self, unique_for_s: float | None) -> None:
        """Cut what was written into slices."""
        self._slices = sliced(self.ids, self.bodies, unique_for_s)

    def add_without_waiting(self) -> None:
        """Hand over as many slices as there is capacity for now."""
        while self._added < len(self._slices) and self._capacity.available:
            self._add_next()

    async def send(self) -> _Outcome:
        """Hand over the other slices as capacity becomes available, and wait for all that were handed over."""
        error: Exception | None = None
        try:
            while self._added < len(self._slices):
                if not self._capacity.available:
                    await self._capacity.wait_until_available()
                if not self._slices[self._added].wanted:  # one before it failed
                    break
                self._add_next()
        except BusClosed as closed:  # what was handed over before is sent all the same
            error = closed
        try:
            for slice_ in self._slices[: self._added]:
                await slice_.sent
        except Exception as failed:
            error = failed
        appended = sum(len(slice_.bodies) for slice_ in self._slices if slice_.arrived)
        return _Outcome(self.ids[:appended], error)

    def drop(self) -> None:
        """The caller does not wait any more: what is still queued is not sent."""
        for slice_ in self._slices:
            slice_.drop()

    def _add_next(self) -> None:
        self._sender.add(self._slices[self._added])
        self._added += 1


async def _gather(parts: Iterable[_StreamPart]) -> list[_Outcome]:
    return await asyncio.gather(*(part.send() for part in parts))


def _check_id(id_: object) -> None:
    if not isinstance(id_, str) or not _ID.fullmatch(id_):
        problem = f"id={shown(id_)}; use 1 to 256 printable ASCII characters, no space, quote or \\"
        raise InvalidArgument("publish", problem)


def _check_window(for_s: object, *, has_ids: bool) -> None:
    if not has_ids:
        raise InvalidArgument("publish", "unique_for_s= needs an id of your own: one made up here is always new")
    if not isinstance(for_s, int | float) or not 0.0 < for_s <= _UNIQUE_S_MAX:
        raise InvalidArgument("publish", f"unique_for_s={shown(for_s)}; it must be seconds above zero, at most a year")
