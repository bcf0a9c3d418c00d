"""From an event to its stream: numbered batches, a bound on what is queued, and what happens while Redis is away.

Each stream has a lane, which sends one batch at a time; what comes meanwhile makes the next batch, so a lone publish
never waits for company. Bodies are numbered: the server appends a number once, and a repeat is harmless.
"""

import asyncio
import logging
import math
import random
import re
import secrets
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from eventlib.broker import Broker, Unique
from eventlib.envelope import encode, seal
from eventlib.errors import (
    BrokerError,
    BrokerUnavailable,
    BusClosed,
    EventTooLarge,
    InvalidDeclaration,
    PartlyPublished,
    UnencodableEvent,
    UsageError,
)
from eventlib.policy import Retry
from eventlib.schema import Event, spec_of
from eventlib.spool import Batch, SpoolFile

log = logging.getLogger("eventlib")

# Redis takes 512 MB, but blocks everyone while it copies it, and every group ships every delivery of it again.
EVENT_BYTES_MAX = 16 * 2**20
BATCH_LIMIT = 500  # bodies in one round trip: past this the server gains nothing and others wait longer
BATCH_BYTES = 4 * 2**20  # the same for large ones; a single body may be larger
QUEUED_MAX = 10_000  # bodies queued in one bus before further publishes wait for room...
QUEUED_BYTES_MAX = 64 * 2**20  # ...or bytes
RECONNECT = Retry(wait_s=0.05, wait_s_max=2.0, jitter="equal")  # jittered: programs must not come back in step

_ID = re.compile(r"[!#-\[\]-~]{1,256}")  # printable ASCII; no space, quote or backslash
_WAIT_S_MAX = 7 * 86_400.0
_REMEMBER_S = 3600.0
_REMEMBER_SPOOL_S = 30 * 86_400.0
_RNG = random.Random()


@dataclass(frozen=True, slots=True)
class Wait:
    """While Redis is away, a publish is repeated for `patience_s` seconds since its call, then raises."""

    patience_s: float = 30.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.patience_s <= _WAIT_S_MAX:
            raise InvalidDeclaration("Wait", f"patience_s={self.patience_s}; it must be seconds, at most a week")


@dataclass(frozen=True, slots=True)
class Fail:
    """While Redis is away, a publish raises BrokerUnavailable at once; what was sent may have been appended, once."""


@dataclass(frozen=True, slots=True)
class Spool:
    """While Redis is away, events go to a file and a publish returns once they are on disk (fdatasync).

    A task replays the file in order when the server is back; until it has them all, later events go behind them, so
    that each stream keeps its order. What is there when the bus closes or its process dies stays there, and the next
    `connect` with this path and namespace replays it. Nothing is lost, whenever the process is killed, and nothing is
    doubled as long as a replay comes within 30 days of the event's first try: for so long the server remembers how far
    it got. One path serves one bus at a time, on a local file system; a spool that is full raises SpoolFull.
    """

    path: str | Path
    size_bytes_max: int = 256 * 2**20

    def __post_init__(self) -> None:
        if self.size_bytes_max < 1:
            raise InvalidDeclaration("Spool", f"size_bytes_max={self.size_bytes_max}; it must be above zero")


WhenAway = Wait | Fail | Spool


@asynccontextmanager
async def publishing(broker: Broker, source: str, when_away: WhenAway) -> AsyncIterator["Publisher"]:
    """A Publisher of events from `source`, which is closed at the end of the block.

    Raises:
        SpoolUnusable: the spool's file cannot be used.
    """
    route: _Route
    if isinstance(when_away, Spool):
        path, size_max = Path(when_away.path), when_away.size_bytes_max
        route = _Spooled(broker, await asyncio.to_thread(SpoolFile, path, size_max, broker.keys.namespace))
    else:
        route = _Repeated(broker, when_away.patience_s if isinstance(when_away, Wait) else 0.0)
    publisher = Publisher(broker, source, route)
    try:
        yield publisher
    finally:
        await publisher.close()


class Publisher:
    """Publishes the events of one bus."""

    def __init__(self, broker: Broker, source: str, route: "_Route") -> None:
        self._where = broker.where
        self._source = source
        self._route = route
        self._room = _Room()
        self._lanes: dict[str, _Lane] = {}
        self._closed = False

    async def publish(
        self,
        event: Event,
        id_: str | None,
        unique_for_s: float | None,
        correlation_id: str | None,
        causation_id: str | None,
    ) -> str:
        """See `Bus.publish`."""
        if self._closed:
            raise BusClosed
        stream = spec_of(type(event)).stream
        uniques: Sequence[Unique] = ()
        if unique_for_s is not None:
            uniques = (Unique(0, _id_to_be_unique(id_), _valid_window(unique_for_s)),)
        if not self._room.free:
            await self._room.wait()
        envelope_id, body = self._written(event, id_, correlation_id, causation_id)
        call = _Call()
        self._lane(stream).add(_Slice(call, (body,), uniques, len(body)))
        await call.sent
        return envelope_id

    async def publish_many(
        self,
        events: Sequence[Event],
        ids: Sequence[str] | None,
        unique_for_s: float | None,
        correlation_id: str | None,
        causation_id: str | None,
    ) -> list[str]:
        """See `Bus.publish_many`."""
        if self._closed:
            raise BusClosed
        if ids is not None and len(ids) != len(events):
            raise InvalidDeclaration("publish_many", f"{len(ids)} ids for {len(events)} events; give one for each")
        if unique_for_s is not None:
            _valid_window(unique_for_s)
            _id_to_be_unique(None if ids is None else "")
        written: list[str] = []
        parts: dict[str, _Part] = {}
        for index, event in enumerate(events):
            envelope_id, body = self._written(event, ids[index] if ids else None, correlation_id, causation_id)
            written.append(envelope_id)
            stream = spec_of(type(event)).stream
            part = parts.get(stream)
            if part is None:
                part = parts[stream] = _Part(stream, [], [])
            part.ids.append(envelope_id)
            part.bodies.append(body)
        if len(parts) == 1:
            [part] = parts.values()
            outcomes = [await self._append(part, unique_for_s)]
        else:
            outcomes = await asyncio.gather(*(self._append(part, unique_for_s) for part in parts.values()))
        self._raise_if_any(outcomes, parts.values())
        return written

    async def close(self) -> None:
        """Send what is queued, unless Redis is away for longer than is waited for; refuse the rest."""
        self._closed = True
        self._room.close()
        senders = [lane.sender for lane in self._lanes.values() if lane.sender is not None]
        try:
            if senders:
                await asyncio.wait(senders)
        finally:
            for sender in senders:
                sender.cancel()  # no more than a formality, unless we are cancelled ourselves
            await self._route.close(list(self._lanes))

    def _lane(self, stream: str) -> "_Lane":
        lane = self._lanes.get(stream)
        if lane is None:
            lane = self._lanes[stream] = _Lane(stream, self._route, self._room)
        return lane

    def _written(
        self, event: Event, id_: str | None, correlation_id: str | None, causation_id: str | None
    ) -> tuple[str, bytes]:
        envelope = seal(event, self._source, correlation_id, causation_id)
        if id_ is not None:
            envelope = replace(envelope, id=_valid_id(id_))
        try:
            body = encode(envelope)
        except UsageError:
            raise
        except Exception as error:  # a surrogate, or whatever a serialiser of the class's own may raise
            raise UnencodableEvent(spec_of(type(event)).type, f"{type(error).__name__}: {error}") from error
        if len(body) > EVENT_BYTES_MAX:
            raise EventTooLarge(spec_of(type(event)).type, len(body), EVENT_BYTES_MAX)
        return envelope.id, body

    async def _append(self, part: "_Part", unique_for_s: float | None) -> "_Outcome":
        """Hand over one stream's part of a call, a slice at a time where it is large, and wait for it."""
        lane, call = self._lane(part.stream), _Call()
        try:
            for slice_ in part.sliced(call, unique_for_s):
                if not self._room.free:
                    await self._room.wait()
                if call.sent.done():  # an earlier slice failed: what comes after it must not be appended
                    break
                lane.add(slice_)
            await call.sent
        except Exception as error:
            call.drop()
            return _Outcome(call.appended, error)
        except asyncio.CancelledError:
            call.drop()
            raise
        return _Outcome(call.appended, None)

    def _raise_if_any(self, outcomes: Sequence["_Outcome"], parts: Sequence["_Part"]) -> None:
        errors = [outcome.error for outcome in outcomes if outcome.error is not None]
        if not errors:
            return
        appended = [id_ for outcome, part in zip(outcomes, parts, strict=True) for id_ in part.ids[: outcome.appended]]
        if appended:
            raise PartlyPublished(self._where, str(errors[0]), tuple(appended)) from errors[0]
        raise errors[0]


class _Call:
    """What one caller waits for: all of its slices, or the first that fails."""

    __slots__ = ("appended", "sent", "slices_left")

    def __init__(self) -> None:
        self.slices_left = 0
        self.appended = 0
        self.sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def drop(self) -> None:
        """Nobody waits any more: what is still queued is not sent."""
        if not self.sent.cancel() and not self.sent.cancelled():
            self.sent.exception()  # has been told, or never will be

    def settle(self, count: int, error: BaseException | None) -> None:
        if error is None:
            self.appended += count
            self.slices_left -= 1
        if self.sent.done():
            return
        if error is not None:
            self.sent.set_exception(error)
        elif self.slices_left == 0:
            self.sent.set_result(None)


class _Slice:
    """As much of one call as goes into one batch."""

    __slots__ = ("bodies", "call", "since_s", "size_bytes", "uniques")

    def __init__(self, call: _Call, bodies: Sequence[bytes], uniques: Sequence[Unique], size_bytes: int) -> None:
        self.call = call
        call.slices_left += 1
        self.bodies = bodies
        self.uniques = uniques
        self.size_bytes = size_bytes
        self.since_s = 0.0


@dataclass(slots=True)
class _Part:
    """The events of one call that go to one stream."""

    stream: str
    ids: list[str]
    bodies: list[bytes]

    def sliced(self, call: _Call, unique_for_s: float | None) -> list[_Slice]:
        slices, start, size = list[_Slice](), 0, 0
        for index, body in enumerate(self.bodies):
            if index > start and (index - start == BATCH_LIMIT or size + len(body) > BATCH_BYTES):
                slices.append(self._slice(call, start, index, unique_for_s))
                start, size = index, 0
            size += len(body)
        slices.append(self._slice(call, start, len(self.bodies), unique_for_s))
        return slices

    def _slice(self, call: _Call, start: int, end: int, unique_for_s: float | None) -> _Slice:
        uniques: Sequence[Unique] = ()
        if unique_for_s is not None:
            uniques = [Unique(index, id_, unique_for_s) for index, id_ in enumerate(self.ids[start:end])]
        bodies = self.bodies[start:end]
        return _Slice(call, bodies, uniques, sum(map(len, bodies)))


class _Room:
    """The bound on what one bus has queued. Whoever comes when it is full waits in turn.

    It may be exceeded by one slice: room is asked for before an event is written, when its size is not known.
    """

    def __init__(self) -> None:
        self._count = 0
        self._size_bytes = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._closed = False

    @property
    def free(self) -> bool:
        return not self._waiting and self._has_some()

    def _has_some(self) -> bool:
        return self._count < QUEUED_MAX and self._size_bytes < QUEUED_BYTES_MAX

    async def wait(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn  # keeps its place until it runs, so that nobody slips in before
        finally:
            self._waiting.remove(turn)
            asyncio.get_running_loop().call_soon(self._call_next)  # after we have taken our room, or if we do not

    def take(self, count: int, size_bytes: int) -> None:
        self._count += count
        self._size_bytes += size_bytes

    def give_back(self, count: int, size_bytes: int) -> None:
        self._count -= count
        self._size_bytes -= size_bytes
        if self._waiting:
            self._call_next()

    def _call_next(self) -> None:
        if self._waiting and self._has_some() and not self._waiting[0].done():
            self._waiting[0].set_result(None)

    def close(self) -> None:
        """Whoever still waits, has waited in vain."""
        for turn in self._waiting:
            if not turn.done():
                turn.set_exception(BusClosed())


class _Lane:
    """What is on its way to one stream: one batch at a time, so that the numbers stay in order."""

    def __init__(self, stream: str, route: "_Route", room: _Room) -> None:
        self.sender: asyncio.Task[None] | None = None
        self._stream = stream
        self._route = route
        self._room = room
        self._next = route.first_number
        self._queue: deque[_Slice] = deque()
        self._time = asyncio.get_running_loop().time

    def add(self, slice_: _Slice) -> None:
        slice_.since_s = self._time()
        self._queue.append(slice_)
        self._room.take(len(slice_.bodies), slice_.size_bytes)
        if self.sender is None:
            self.sender = asyncio.create_task(self._send_all())

    async def _send_all(self) -> None:
        try:
            while slices := self._take():
                await self._send(slices)
        finally:
            self.sender = None
            while slices := self._take():  # only where we are cancelled
                self._settle(slices, BusClosed())

    async def _send(self, slices: Sequence[_Slice]) -> None:
        batch = self._batch(slices)
        self._next += len(batch.bodies)
        try:
            await self._route.send(batch, slices[0].since_s)
        except Exception as error:  # whatever it is, those who wait must hear of it
            self._settle(slices, error)
        except BaseException:
            self._settle(slices, BrokerUnavailable(self._stream, "publishing was interrupted"))
            raise
        else:
            self._settle(slices, None)

    def _take(self) -> list[_Slice]:
        """The slices of the next batch. What nobody waits for any more is dropped."""
        slices, count, size = list[_Slice](), 0, 0
        queue = self._queue
        while queue:
            head = queue[0]
            if not head.call.sent.done():
                count += len(head.bodies)
                size += head.size_bytes
                if slices and (count > BATCH_LIMIT or size > BATCH_BYTES):
                    break
                slices.append(head)
            else:
                self._room.give_back(len(head.bodies), head.size_bytes)
            queue.popleft()
        return slices

    def _batch(self, slices: Sequence[_Slice]) -> Batch:
        if len(slices) == 1:
            return Batch(self._stream, self._next, slices[0].bodies, slices[0].uniques)
        bodies: list[bytes] = []
        uniques: list[Unique] = []
        for slice_ in slices:
            if slice_.uniques:
                uniques += [unique._replace(index=len(bodies) + unique.index) for unique in slice_.uniques]
            bodies += slice_.bodies
        return Batch(self._stream, self._next, bodies, uniques)

    def _settle(self, slices: Sequence[_Slice], error: Exception | None) -> None:
        count = size = 0
        for slice_ in slices:
            count += len(slice_.bodies)
            size += slice_.size_bytes
            slice_.call.settle(len(slice_.bodies), error)
        self._room.give_back(count, size)


class _Route(Protocol):
    """How a batch gets to the server, or wherever it is safe."""

    @property
    def first_number(self) -> int: ...

    async def send(self, batch: Batch, since_s: float) -> None: ...

    async def close(self, streams: Sequence[str]) -> None: ...


class _Repeated:
    """Repeats a batch until the server answers or patience ends."""

    first_number = 1

    def __init__(self, broker: Broker, patience_s: float) -> None:
        self._broker = broker
        self._patience_s = patience_s
        self._remember_s = max(_REMEMBER_S, 2.0 * patience_s)  # no repeat may come when the server has forgotten us
        self._producer = secrets.token_hex(8)

    async def send(self, batch: Batch, since_s: float) -> None:
        now_s = asyncio.get_running_loop().time
        give_up_at, failures = since_s + self._patience_s, 0
        while True:
            try:
                await _append(self._broker, self._producer, batch, self._remember_s)
                return
            except BrokerUnavailable as error:
                failures += 1
                delay_s = RECONNECT.delay_s(failures, _RNG)
                if now_s() + delay_s > give_up_at:
                    raise
                if failures == 1:
                    log.warning("publishing to %s waits for the server: %s", batch.stream, error)
                await asyncio.sleep(delay_s)
                if now_s() > give_up_at + _REMEMBER_S / 2.0:  # this process was stopped meanwhile
                    raise

    async def close(self, streams: Sequence[str]) -> None:
        await _forget(self._broker, self._producer, streams)


class _Spooled:
    """Sends a batch where the server is there and the file empty; else keeps it in the file, which a task replays."""

    def __init__(self, broker: Broker, file: SpoolFile) -> None:
        self._broker = broker
        self._file = file
        self._using = asyncio.Lock()
        self._replaying: asyncio.Task[None] | None = None
        self._replay_what_is_there()

    @property
    def first_number(self) -> int:
        return self._file.first_number

    async def send(self, batch: Batch, since_s: float) -> None:
        if self._file.empty and not self._using.locked():
            try:
                await self._send(batch)
                return
            except BrokerUnavailable as error:
                log.warning("publishing to %s goes to %s: %s", batch.stream, self._file.path, error)
        async with self._using:
            await asyncio.to_thread(self._file.append, batch)
        self._replay_what_is_there()

    async def close(self, streams: Sequence[str]) -> None:
        """What is in the file stays there; its repeat is harmless whatever the server has of it."""
        try:
            if self._replaying is not None:
                self._replaying.cancel()
                await asyncio.wait({self._replaying})
            if self._file.empty:
                await _forget(self._broker, self._file.producer, streams)
        finally:
            self._file.close()

    async def _send(self, batch: Batch) -> None:
        await _append(self._broker, self._file.producer, batch, _REMEMBER_SPOOL_S)

    def _replay_what_is_there(self) -> None:
        if self._replaying is None and not self._file.empty:
            self._replaying = asyncio.create_task(self._replay())

    async def _replay(self) -> None:
        log.warning("replaying %d bytes of %s", self._file.size_bytes, self._file.path)
        try:
            while not self._file.empty:
                batches, position = self._file.read(_REPLAY_FRAMES, BATCH_BYTES)
                for batch in _joined(batches):
                    await self._repeat(batch)
                async with self._using:
                    self._file.advance(position)
        finally:
            self._replaying = None

    async def _repeat(self, batch: Batch) -> None:
        """Until the server has it. A refusal may be mended (a password, memory), and nothing may be lost."""
        failures = 0
        while True:
            try:
                await self._send(batch)
                return
            except BrokerError as error:
                failures += 1
                if failures & (failures - 1) == 0:  # the 1st, 2nd, 4th, 8th...
                    log.warning("%s waits for %s, try %d: %s", self._file.path, batch.stream, failures, error)
                await asyncio.sleep(RECONNECT.delay_s(failures, _RNG))


_REPLAY_FRAMES = 2000


def _joined(batches: Sequence[Batch]) -> list[Batch]:
    """As few batches as possible, each stream's in order: a frame may hold a single event."""
    runs: dict[str, list[Batch]] = {}
    for batch in batches:
        run = runs.setdefault(batch.stream, [])
        last = run[-1] if run else None
        if (
            last
            and last.first + len(last.bodies) == batch.first
            and len(last.bodies) + len(batch.bodies) <= BATCH_LIMIT
        ):
            shifted = [unique._replace(index=len(last.bodies) + unique.index) for unique in batch.uniques]
            run[-1] = Batch(batch.stream, last.first, [*last.bodies, *batch.bodies], [*last.uniques, *shifted])
        else:
            run.append(batch)
    return [batch for run in runs.values() for batch in run]


async def _append(broker: Broker, producer: str, batch: Batch, remember_s: float) -> None:
    await broker.publish(batch.stream, producer, batch.first, batch.bodies, batch.uniques, remember_s)


async def _forget(broker: Broker, producer: str, streams: Sequence[str]) -> None:
    """Nothing will be repeated any more, so the server may forget the producer."""
    for stream in streams:
        try:
            await broker.forget_producer(stream, producer)
        except BrokerError:
            log.debug("the key of producer %s will expire by itself", producer)
            return


@dataclass(frozen=True, slots=True)
class _Outcome:
    """How one stream's part of a call ended: how many of its events were appended for sure, and what went wrong."""

    appended: int
    error: Exception | None


def _valid_id(id_: str) -> str:
    if not _ID.fullmatch(id_):
        raise InvalidDeclaration(
            "publish", f"id={id_!r}; use 1 to 256 printable ASCII characters, no space, quote or \\"
        )
    return id_


def _id_to_be_unique(id_: str | None) -> str:
    if id_ is None:
        raise InvalidDeclaration("publish", "unique_for_s= needs an id of your own: one made up here is always new")
    return id_


def _valid_window(for_s: float) -> float:
    if not 0.0 < for_s < math.inf:
        raise InvalidDeclaration("publish", f"unique_for_s={for_s}; it must be a number of seconds above zero")
    return for_s
