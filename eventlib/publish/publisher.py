"""From an event to its stream: numbered batches, and a bound on what is queued.

Each stream has a sender, which sends one batch at a time; what comes in the same turn of the event loop, or while a
batch is on its way, goes together. A lone publish waits for nothing else. Bodies are numbered: the server appends a
number once, and a repeat is harmless.
"""

import asyncio
import math
import re
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from eventlib.broker.commands import BATCH_BYTES, BATCH_LIMIT, Broker
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
from eventlib.publish.outage import OutagePolicy, Route, Sending, route_to
from eventlib.records import NumberedBatch, Unique

QUEUED_MAX = 10_000  # bodies queued in one bus before further publishes wait for room...
QUEUED_BYTES_MAX = 64 * 2**20  # ...or bytes

_UnderWay = tuple["_Callers", Sending]
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
    publisher = Publisher(broker, source, await route_to(broker, outage_policy))
    try:
        yield publisher
    finally:
        await publisher.close()


class Publisher:
    """Publishes the events of one bus."""

    def __init__(self, broker: Broker, source: str, route: Route) -> None:
        self._where = broker.where
        self._source = source
        self._route = route
        self.room = CapacityLimit()
        self._senders: dict[str, _Sender] = {}  # by stream
        self._sender_of: dict[type[Event], _Sender] = {}  # the same ones, by event class
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
        """Queue one event, for which there is `room`; its id, and what to await. See `Bus.publish`."""
        if self._closed:
            raise BusClosed
        if unique_for_s is not None:
            if id_ is None:
                raise _made_up()
            _check_window(unique_for_s)
        if id_ is not None:
            _check_id(id_)
        sender = self._sender_of.get(type(event)) or self._find_sender(type(event))
        envelope_id, body = write(event, self._source, correlation_id, causation_id, traceparent, tracestate, id_)
        return envelope_id, sender.add_single(body, envelope_id, unique_for_s)

    async def publish_many(
        self,
        events: Sequence[Event],
        ids: Sequence[str] | None,
        unique_for_s: float | None,
        about: Context,
    ) -> list[str]:
        """See `Bus.publish_many`."""
        if self._closed:
            raise BusClosed
        if ids is not None and len(ids) != len(events):
            raise InvalidArgument("publish_many", f"{len(ids)} ids for {len(events)} events; give one for each")
        if unique_for_s is not None:
            _check_window(unique_for_s)
            if ids is None:
                raise _made_up()
        for id_ in ids or ():
            _check_id(id_)
        written: list[str] = []
        parts: dict[str, _Part] = {}
        for index, event in enumerate(events):
            envelope_id, body = write(event, self._source, *about, ids[index] if ids else None)
            written.append(envelope_id)
            stream = spec_of(type(event)).stream
            part = parts.get(stream)
            if part is None:
                part = parts[stream] = _Part(stream, [], [])
            part.ids.append(envelope_id)
            part.bodies.append(body)
        slices_to = {self._sender_to(part.stream): part.sliced(unique_for_s) for part in parts.values()}
        try:
            added = [self._add_at_once(sender, slices) for sender, slices in slices_to.items()]
            rest = [self._append(*of, count) for of, count in zip(slices_to.items(), added, strict=True)]
            outcomes = [await rest[0]] if len(rest) == 1 else await asyncio.gather(*rest)
        finally:
            for slices in slices_to.values():
                for slice_ in slices:
                    slice_.drop()
        self._raise_if_any(outcomes, list(parts.values()))
        return written

    async def close(self) -> None:
        """Send what is queued, unless Redis is away for longer than is waited for; refuse the rest."""
        self._closed = True
        self.room.close()
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

    def _find_sender(self, event_class: type[Event]) -> "_Sender":
        sender = self._sender_of[event_class] = self._sender_to(spec_of(event_class).stream)
        return sender

    def _sender_to(self, stream: str) -> "_Sender":
        if stream not in self._senders:
            self._senders[stream] = _Sender(self._where, stream, self._route, self.room)
        return self._senders[stream]

    def _add_at_once(self, sender: "_Sender", slices: Sequence["_Slice"]) -> int:
        """Hand over as many as there is room for. Before anything is awaited, to keep the order of the calls."""
        for count, slice_ in enumerate(slices):
            if not self.room.free:
                return count
            sender.add(slice_)
        return len(slices)

    async def _append(self, sender: "_Sender", slices: Sequence["_Slice"], added: int) -> "_Outcome":
        """Hand over the rest of one stream's part of a call, and wait for what was handed over."""
        error: Exception | None = None
        try:
            while added < len(slices):
                if not self.room.free:
                    await self.room.wait()
                if not slices[added].wanted:  # one before it failed
                    break
                sender.add(slices[added])
                added += 1
        except BusClosed as closed:  # while it waited for room: what was handed over is sent all the same
            error = closed
        try:
            for slice_ in slices[:added]:
                await slice_.sent
        except Exception as failed:
            error = failed
        return _Outcome(sum(len(slice_.bodies) for slice_ in slices if slice_.arrived), error)

    def _raise_if_any(self, outcomes: Sequence["_Outcome"], parts: Sequence["_Part"]) -> None:
        errors = [outcome.error for outcome in outcomes if outcome.error is not None]
        if not errors:
            return
        appended = [id_ for outcome, part in zip(outcomes, parts, strict=True) for id_ in part.ids[: outcome.appended]]
        if appended:
            raise PartlyPublished(self._where, str(errors[0]), tuple(appended)) from errors[0]
        raise next((error for error in errors if isinstance(error, _UNSURE)), errors[0])


class _Slice:
    """As much of one `publish_many` as goes into one batch, and what its caller waits for."""

    __slots__ = ("after", "bodies", "sent", "since_s", "size_bytes", "uniques")

    def __init__(
        self,
        bodies: Sequence[bytes],
        uniques: Sequence[Unique],
        size_bytes: int,
        sent: "asyncio.Future[None]",
        after: "_Slice | None" = None,
    ) -> None:
        self.bodies = bodies
        self.uniques = uniques
        self.size_bytes = size_bytes
        self.after = after  # the slice of the same call that must have arrived before
        self.since_s = 0.0
        self.sent = sent

    @property
    def arrived(self) -> bool:
        return self.sent.done() and not self.sent.cancelled() and self.sent.exception() is None

    @property
    def wanted(self) -> bool:
        """Whether it is still to be sent: its caller waits, and nothing failed that comes before it."""
        if self.sent.done():
            return False
        before = self.after
        while before is not None and not before.sent.done():
            before = before.after
        return before is None or before.arrived

    @property
    def waiting(self) -> bool:
        """Whether its caller has not heard yet."""
        return not self.sent.done()

    def leave_out(self) -> tuple[int, int]:
        """Leave out what is not wanted any more; returns how many bodies and bytes that were."""
        if self.wanted:
            return 0, 0
        self.drop()
        left_out = len(self.bodies), self.size_bytes
        self.bodies, self.size_bytes = (), 0
        return left_out

    def drop(self) -> None:
        """Nobody waits any more: what is still queued is not sent."""
        if not self.sent.cancel() and not self.sent.cancelled():
            self.sent.exception()  # is known, or follows from the first one

    def settle(self, error: Exception | None) -> None:
        """Tell whoever waits."""
        if self.sent.done():  # its caller was cancelled, or has heard
            return
        if error is None:
            self.sent.set_result(None)
        else:
            self.sent.set_exception(error)


class _Singles:
    """The single publishes of one turn of the loop, as far as they go into one batch, and what their callers wait for.

    One object for all of them: with one for each, a thousand at once take a tenth longer.
    """

    __slots__ = ("bodies", "callers", "since_s", "size_bytes", "uniques")

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.callers: list[asyncio.Future[None]] = []  # one for each body
        self.uniques: list[Unique] = []
        self.size_bytes = 0
        self.since_s = math.inf  # until there will be no more of them

    @property
    def waiting(self) -> bool:
        """Whether one of the callers has not heard yet."""
        return not all(map(asyncio.Future.done, self.callers))

    def leave_out(self) -> tuple[int, int]:
        """Leave out those whose callers were cancelled; returns how many bodies and bytes that were."""
        if not any(map(asyncio.Future.done, self.callers)):
            return 0, 0
        count, size_bytes = len(self.bodies), self.size_bytes
        kept = [place for place, sent in enumerate(self.callers) if not sent.done()]
        now_at = {place: index for index, place in enumerate(kept)}
        self.uniques = [each._replace(place=now_at[each.place]) for each in self.uniques if each.place in now_at]
        self.bodies = [self.bodies[place] for place in kept]
        self.callers = [self.callers[place] for place in kept]
        self.size_bytes = sum(map(len, self.bodies))
        return count - len(kept), size_bytes - self.size_bytes

    def settle(self, error: Exception | None) -> None:
        """Tell whoever waits."""
        for sent in self.callers:
            if not sent.done():
                if error is None:
                    sent.set_result(None)
                else:
                    sent.set_exception(error)


_Queued = _Slice | _Singles


class _Callers:
    """Those who wait for a batch, in the order of their calls."""

    def __init__(self, queued: Iterable[_Queued]) -> None:
        self.queued = queued

    def give_up(self, before_s: float, error: BrokerUnavailable) -> float | None:
        for each in self.queued:
            if each.waiting:
                if each.since_s > before_s:
                    return each.since_s
                each.settle(error)
        return None


@dataclass(slots=True)
class _Part:
    """The events of one call that go to one stream."""

    stream: str
    ids: list[str]
    bodies: list[bytes]

    def sliced(self, unique_for_s: float | None) -> list[_Slice]:
        slices, start, size = list[_Slice](), 0, 0
        for index, body in enumerate(self.bodies):
            if index > start and (index - start == BATCH_LIMIT or size + len(body) > BATCH_BYTES):
                slices.append(self._slice(start, index, size, unique_for_s, slices))
                start, size = index, 0
            size += len(body)
        slices.append(self._slice(start, len(self.bodies), size, unique_for_s, slices))
        return slices

    def _slice(
        self, start: int, end: int, size_bytes: int, unique_for_s: float | None, before: Sequence[_Slice]
    ) -> _Slice:
        uniques: Sequence[Unique] = ()
        if unique_for_s is not None:
            uniques = [Unique(place, id_, unique_for_s) for place, id_ in enumerate(self.ids[start:end])]
        sent = asyncio.get_running_loop().create_future()
        return _Slice(self.bodies[start:end], uniques, size_bytes, sent, before[-1] if before else None)


class CapacityLimit:
    """The bound on what one bus has queued. Whoever comes when it is full waits in turn.

    It may be exceeded by one event or slice: room is asked for before an event is written, when its size is not known.
    """

    def __init__(self) -> None:
        self.free = True  # who finds it so need not wait
        self._count = 0
        self._size_bytes = 0
        self._waiting = OrderedDict[asyncio.Future[None], None]()
        self._closed = False

    def _has_some(self) -> bool:
        return self._count < QUEUED_MAX and self._size_bytes < QUEUED_BYTES_MAX

    async def wait(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[turn] = None
        self.free = False
        try:
            await turn  # keeps its place until it runs, so that nobody slips in before
            if self._closed:
                raise BusClosed
        finally:
            del self._waiting[turn]
            self.free = not self._waiting and self._has_some()
            asyncio.get_running_loop().call_soon(self._call_next)  # after we have taken our room, or if we do not

    def take(self, count: int, size_bytes: int) -> None:
        self._count += count
        self._size_bytes += size_bytes
        if self._count >= QUEUED_MAX or self._size_bytes >= QUEUED_BYTES_MAX:
            self.free = False

    def give_back(self, count: int, size_bytes: int) -> None:
        self._count -= count
        self._size_bytes -= size_bytes
        if self._waiting:
            self._call_next()
        else:
            self.free = self._has_some()

    def _call_next(self) -> None:
        if self._waiting and self._has_some() and not (first := next(iter(self._waiting))).done():
            first.set_result(None)

    def close(self) -> None:
        """Whoever still waits, has waited in vain."""
        self._closed = True
        for turn in self._waiting:
            if not turn.done():
                turn.set_exception(BusClosed())


class _Sender:
    """What is on its way to one stream: one batch at a time, so that the numbers stay in order."""

    def __init__(self, where: str, stream: str, route: Route, room: CapacityLimit) -> None:
        loop = asyncio.get_running_loop()
        self.task: asyncio.Task[None] | None = None
        self._where = where
        self._stream = stream
        self._route = route
        self._room = room
        self._next = route.first_number
        self._queue: deque[_Queued] = deque()
        self._count = 0  # bodies in it
        self._singles: _Singles | None = None  # its last, where that takes more
        self._begun: _UnderWay | None = None  # on its way before the task came to it
        self._starting = False  # it will send when this turn of the loop is over
        self._make_future, self._time, self._call_soon = loop.create_future, loop.time, loop.call_soon

    def add(self, slice_: _Slice) -> None:
        slice_.since_s = self._time()
        self._append(slice_)
        self._count += len(slice_.bodies)
        self._room.take(len(slice_.bodies), slice_.size_bytes)
        if self._count >= BATCH_LIMIT:
            self._begin_early()

    def add_single(self, body: bytes, id_: str, unique_for_s: float | None) -> "asyncio.Future[None]":
        """Queue one body with those of the same turn; returns what its caller awaits."""
        singles, size_bytes = self._singles, len(body)
        if singles is None or singles.size_bytes + size_bytes > BATCH_BYTES:
            singles = _Singles()
            self._append(singles)
            self._singles = singles
        if unique_for_s is not None:
            singles.uniques.append(Unique(len(singles.bodies), id_, unique_for_s))
        sent = self._make_future()
        singles.bodies.append(body)
        singles.callers.append(sent)
        singles.size_bytes += size_bytes
        self._count += 1
        self._room.take(1, size_bytes)
        if self._count >= BATCH_LIMIT:
            if len(singles.bodies) >= BATCH_LIMIT:
                self._close_singles()
            self._begin_early()
        return sent

    def _append(self, queued: _Queued) -> None:
        self._close_singles()
        self._queue.append(queued)
        if not self._starting:
            self._starting = True
            self._call_soon(self.start)

    def _begin_early(self) -> None:
        """A batch is full: the server works on it while others add more."""
        if self._begun is None and self.task is None:
            self._begun = self._begin()

    def _close_singles(self) -> None:
        if self._singles is not None:
            self._singles.since_s = self._time()
            self._singles = None

    def start(self) -> None:
        """Send what is queued. The batch is on its way before there is a task for it, which takes as long to make."""
        if not self._starting:  # it was started, or closed, before the turn was over
            return
        self._starting = False
        self._close_singles()
        if self.task is not None:  # which comes to it
            return
        if self._begun is None:
            self._begun = self._begin()
        if self._begun is not None:
            self.task = asyncio.create_task(self._send_all())
            self.task.add_done_callback(self._ended)

    async def _send_all(self) -> None:
        try:
            while self._begun is not None:
                callers, sending = self._begun
                self._begun = None
                self._begun = await self._send(callers, sending)
        finally:
            self.task = None
            self._refuse()

    def close(self) -> None:
        """Send nothing more. Something is left only where the publisher's own close was cancelled."""
        self._starting = False
        if self.task is not None:
            self.task.cancel()
        self._refuse()

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if task is self.task:  # it was cancelled before it began
            self.task = None
            self._refuse()

    def _refuse(self) -> None:
        if self._begun is not None:
            callers, sending = self._begun
            self._begun = None
            sending.cancel()
            self._settle(callers.queued, BrokerUnavailable(self._where, "publishing was interrupted"))
        while taken := self._take():
            self._settle(taken, BusClosed())

    def _begin(self) -> "_UnderWay | None":
        """Put the next batch on its way, if there is one. None may be under way."""
        while taken := self._take():
            callers = _Callers(taken)
            try:
                batch = self._batch(taken)
                self._next += len(batch.bodies)
                return callers, self._route.send(batch, callers)
            except Exception as error:  # whatever it is, those who wait must hear of it
                self._settle(taken, error)
        return None

    async def _send(self, callers: _Callers, sending: Sending) -> "_UnderWay | None":
        """Await one batch. Returns the next: it is on its way before those who waited for this one hear, so that the
        server works meanwhile.
        """
        try:
            await sending
        except Exception as error:  # whatever it is, those who wait must hear of it
            self._settle(callers.queued, error)  # first: what follows it in the same call is not sent
            if isinstance(error, BrokerUnavailable):  # those behind it have waited for the same server
                _Callers(self._queue).give_up(self._time() - self._route.patience_s, error)
            return self._begin()
        except BaseException:
            self._settle(callers.queued, BrokerUnavailable(self._where, "publishing was interrupted"))
            raise
        try:
            return self._begin()
        finally:
            self._settle(callers.queued, None)

    def _take(self) -> list[_Queued]:
        """What goes into the next batch. What nobody waits for any more is left out."""
        self._close_singles()  # whoever comes now is too late for it
        taken, count, size_bytes = list[_Queued](), 0, 0
        queue = self._queue
        while queue:
            head = queue[0]
            left_out, left_out_bytes = head.leave_out()
            if left_out:
                self._count -= left_out
                self._room.give_back(left_out, left_out_bytes)
            count += len(head.bodies)
            size_bytes += head.size_bytes
            if taken and (count > BATCH_LIMIT or size_bytes > BATCH_BYTES):
                break
            if head.bodies:
                taken.append(head)
            self._count -= len(head.bodies)
            queue.popleft()
        return taken

    def _batch(self, taken: Sequence[_Queued]) -> NumberedBatch:
        if len(taken) == 1:
            return NumberedBatch(self._stream, self._next, taken[0].bodies, taken[0].uniques)
        bodies: list[bytes] = []
        uniques: list[Unique] = []
        for each in taken:
            if each.uniques:
                uniques += [unique._replace(place=len(bodies) + unique.place) for unique in each.uniques]
            bodies += each.bodies
        return NumberedBatch(self._stream, self._next, bodies, uniques)

    def _settle(self, taken: Iterable[_Queued], error: Exception | None) -> None:
        count = size_bytes = 0
        for each in taken:
            count += len(each.bodies)
            size_bytes += each.size_bytes
            each.settle(error)
        self._room.give_back(count, size_bytes)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """How one stream's part of a call ended: how many of its events were appended for sure, and what went wrong."""

    appended: int
    error: Exception | None


def _check_id(id_: object) -> None:
    if not isinstance(id_, str) or not _ID.fullmatch(id_):
        problem = f"id={shown(id_)}; use 1 to 256 printable ASCII characters, no space, quote or \\"
        raise InvalidArgument("publish", problem)


def _made_up() -> InvalidArgument:
    return InvalidArgument("publish", "unique_for_s= needs an id of your own: one made up here is always new")


def _check_window(for_s: object) -> None:
    if not isinstance(for_s, int | float) or not 0.0 < for_s <= _UNIQUE_S_MAX:
        raise InvalidArgument("publish", f"unique_for_s={shown(for_s)}; it must be seconds above zero, at most a year")
