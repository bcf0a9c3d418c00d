"""What a publish does while Redis is away: wait, fail, or go to a file that is replayed later.

Whichever it is, batches are numbered and the server appends a number once, so every repeat is harmless.
"""

import asyncio
import logging
import math
import random
import secrets
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from eventlib.broker.commands import BATCH_BYTES, BATCH_LIMIT, Broker
from eventlib.broker.requests import ScriptCall
from eventlib.errors import BrokerError, BrokerUnavailable, InvalidArgument, InvalidDeclaration
from eventlib.policy import RECONNECT
from eventlib.publish.spool import SpoolFile
from eventlib.records import NumberedBatch

log = logging.getLogger("eventlib")

REPLAY_FRAMES = 2000

_WAIT_S_MAX = 7 * 86_400.0
_REMEMBER_S = 3600.0
_REMEMBER_SPOOL_S = 30 * 86_400.0


@dataclass(frozen=True, slots=True)
class Wait:
    """While Redis is away, a publish is repeated for `patience_s` seconds since its call, then raises.

    A try under way is not cut short: it may last for as long as a server may be silent, about five seconds.
    """

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
    that each stream keeps its order (and a stream that the server keeps refusing holds up what is behind it). What is
    there when the bus closes or its process dies stays there, and the next `connect` with this path and namespace
    replays it. Nothing is lost, whenever the process is killed, and nothing is doubled as long as a replay comes within
    30 days of the event's first try: for so long the server remembers how far it got. One path serves one bus at a
    time, on a local file system; a spool that is full raises SpoolFull.
    """

    path: str | Path
    size_bytes_max: int = 256 * 2**20

    def __post_init__(self) -> None:
        if self.size_bytes_max < 1:
            raise InvalidDeclaration("Spool", f"size_bytes_max={self.size_bytes_max}; it must be above zero")


OutagePolicy = Wait | Fail | Spool


class Callers(Protocol):
    """Those who wait for a batch."""

    def give_up(self, before_s: float, error: BrokerUnavailable) -> float | None:
        """Tell those who called before then, by the loop's clock. When did the first of the others? None: there are
        none.
        """


class Sending(Protocol):
    """A batch on its way."""

    def __await__(self) -> Generator[Any, None, object]:
        """Wait until the batch is safe. Raises what a publish raises."""

    def cancel(self) -> object:
        """Give the batch up. Nothing is repeated or written any more; what was sent may be appended all the same."""


class Route(Protocol):
    """How a batch gets to the server, or to where it is safe."""

    @property
    def patience_s(self) -> float:
        """For how long a call waits for a server that is away."""

    @property
    def first_number(self) -> int:
        """Where a stream's numbers begin."""

    def send(self, batch: NumberedBatch, callers: Callers) -> Sending:
        """Put a batch on its way."""

    async def close(self) -> None:
        """Nothing more will be sent."""


async def route_to(broker: Broker, outage_policy: OutagePolicy) -> Route:
    """The route that the policy asks for.

    Raises:
        SpoolUnusable: the spool's file cannot be used.
        InvalidArgument: it is no policy.
    """
    match outage_policy:
        case Wait(patience_s):
            return _Repeated(broker, patience_s)
        case Fail():
            return _Repeated(broker, 0.0)
        case Spool(path, size_bytes_max):
            return _Spooled(
                broker, await asyncio.to_thread(SpoolFile, Path(path), size_bytes_max, broker.keys.namespace)
            )
        case _:
            raise InvalidArgument("connect", f"outage_policy={outage_policy!r}; give a Wait(), Fail() or Spool(path)")


class _Repeated:
    """Repeats a batch until the server answers or the patience of those who wait ends."""

    first_number = 1

    def __init__(self, broker: Broker, patience_s: float) -> None:
        self.patience_s = patience_s
        self._broker = broker
        self._remember_s = max(_REMEMBER_S, 2.0 * patience_s)  # no repeat may come when the server has forgotten us
        self._producer = secrets.token_hex(8)
        self.rng = random.Random()  # not one for all: a program that forks would step with its children
        self._streams: set[str] = set()
        self.unanswered: set[str] = set()  # a try of theirs may still be on its way

    def send(self, batch: NumberedBatch, callers: Callers) -> "_RepeatedBatch":
        self._streams.add(batch.stream)
        return _RepeatedBatch(self, batch, callers)

    def publish(self, batch: NumberedBatch) -> ScriptCall:
        """Try once."""
        return self._broker.publish(
            batch.stream, self._producer, batch.first, batch.bodies, batch.uniques, self._remember_s
        )

    async def close(self) -> None:
        """Where every try was answered nothing will be repeated: there the server may forget the producer."""
        for stream in self._streams - self.unanswered:
            try:
                await self._broker.forget_producer(stream, self._producer)
            except BrokerError:
                log.debug("the key of producer %s will expire by itself", self._producer)
                return


class _RepeatedBatch:
    """One batch on its way, repeated while one of its callers still waits."""

    __slots__ = ("_batch", "_call", "_callers", "_route")

    def __init__(self, route: _Repeated, batch: NumberedBatch, callers: Callers) -> None:
        self._route = route
        self._batch = batch
        self._callers = callers
        self._call = route.publish(batch)

    def __await__(self) -> Generator[Any, None, None]:
        return self._repeat().__await__()

    def cancel(self) -> None:
        self._call.cancel()

    async def _repeat(self) -> None:
        route, now_s, failures = self._route, asyncio.get_running_loop().time, 0
        while True:
            try:
                await self._call
                return
            except BrokerUnavailable as error:
                failures += 1
                route.unanswered.add(self._batch.stream)
                called_s = self._callers.give_up(now_s() - route.patience_s, error)
                if called_s is None:
                    raise
                give_up_at = called_s + route.patience_s
                if failures == 1:
                    log.warning("publishing to %s waits for the server: %s", self._batch.stream, error)
                await asyncio.sleep(min(RECONNECT.delay_s(failures, route.rng), give_up_at - now_s()))
                if now_s() > give_up_at + _REMEMBER_S / 2.0:  # this process was stopped meanwhile
                    raise
            self._call = route.publish(self._batch)


class _Spooled:
    """Sends a batch where the server is there and the file empty; else keeps it in the file, which a task replays.

    The server is never told to forget its producer, who lives as long as the file: a try of a connect long over may
    still be on its way.
    """

    patience_s = math.inf

    def __init__(self, broker: Broker, file: SpoolFile) -> None:
        self._broker = broker
        self._file = file
        self._using = asyncio.Lock()
        self._rng = random.Random()
        self._replaying: asyncio.Task[None] | None = None
        self._replay_what_is_there()

    @property
    def first_number(self) -> int:
        return self._file.first_number

    def send(self, batch: NumberedBatch, callers: Callers) -> "_SpooledBatch":
        direct = self._file.empty and not self._using.locked()
        return _SpooledBatch(self, batch, self._publish(batch) if direct else None)

    async def keep(self, batch: NumberedBatch, why: BrokerUnavailable | None) -> None:
        """Write a batch to the file."""
        if why is not None:
            log.warning("publishing to %s goes to %s: %s", batch.stream, self._file.path, why)
        await asyncio.sleep(0)  # until here it can be given up without a trace
        await self._append(batch)
        self._replay_what_is_there()

    async def _append(self, batch: NumberedBatch) -> None:
        """In a thread, which nobody can stop: whoever cancels us, the file is in use until it is done."""
        async with self._using:
            appending = asyncio.ensure_future(asyncio.to_thread(self._file.append, batch))
            try:
                await asyncio.shield(appending)
            except asyncio.CancelledError:
                await asyncio.wait({appending})
                if not appending.cancelled():
                    appending.exception()  # nobody waits for it any more
                raise

    async def close(self) -> None:
        """What is in the file stays there; its repeat is harmless whatever the server has of it."""
        try:
            if self._replaying is not None:
                self._replaying.cancel()
                await asyncio.wait({self._replaying})
            if not self._file.empty:
                log.warning("%s keeps %d bytes for the next connect with it", self._file.path, self._file.size_bytes)
        finally:
            self._file.close()

    def _publish(self, batch: NumberedBatch) -> ScriptCall:
        return self._broker.publish(
            batch.stream, self._file.producer, batch.first, batch.bodies, batch.uniques, _REMEMBER_SPOOL_S
        )

    def _replay_what_is_there(self) -> None:
        if self._replaying is None and not self._file.empty:
            self._replaying = asyncio.create_task(self._replay())

    async def _replay(self) -> None:
        log.warning("%s has %d bytes to replay", self._file.path, self._file.size_bytes)
        failures = 0
        try:
            while not self._file.empty:
                try:
                    await self._replay_some()
                except (BrokerError, OSError) as error:  # of the disk: the server's are waited out
                    failures += 1
                    log.error("%s cannot be replayed: %s", self._file.path, error)
                    await asyncio.sleep(RECONNECT.delay_s(failures, self._rng))
            log.warning("%s is replayed", self._file.path)
        finally:
            self._replaying = None

    async def _replay_some(self) -> None:
        batches, position = self._file.read(REPLAY_FRAMES, BATCH_BYTES)
        for batch in _joined(batches):
            await self._repeat(batch)
        async with self._using:
            self._file.advance(position)

    async def _repeat(self, batch: NumberedBatch) -> None:
        """Until the server has it. A refusal may be mended (a password, memory), and nothing may be lost."""
        failures = 0
        while True:
            try:
                await self._publish(batch)
                return
            except BrokerError as error:
                failures += 1
                if failures & (failures - 1) == 0:  # the 1st, 2nd, 4th, 8th...
                    log.warning("%s waits for %s, try %d: %s", self._file.path, batch.stream, failures, error)
                await asyncio.sleep(RECONNECT.delay_s(failures, self._rng))


class _SpooledBatch:
    """One batch on its way to the server, or to the file where the server does not answer."""

    __slots__ = ("_batch", "_call", "_route")

    def __init__(self, route: _Spooled, batch: NumberedBatch, call: ScriptCall | None) -> None:
        self._route = route
        self._batch = batch
        self._call = call

    def __await__(self) -> Generator[Any, None, None]:
        return self._publish_or_keep().__await__()

    def cancel(self) -> None:
        if self._call is not None:
            self._call.cancel()

    async def _publish_or_keep(self) -> None:
        why: BrokerUnavailable | None = None
        if self._call is not None:
            try:
                await self._call
                return
            except BrokerUnavailable as error:
                why = error
        await self._route.keep(self._batch, why)


def _joined(batches: Sequence[NumberedBatch]) -> list[NumberedBatch]:
    """As few batches as possible, each stream's in order: a frame may hold a single event."""
    runs: dict[str, list[NumberedBatch]] = {}
    for batch in batches:
        run = runs.setdefault(batch.stream, [])
        last = run[-1] if run else None
        if (
            last
            and last.first + len(last.bodies) == batch.first
            and len(last.bodies) + len(batch.bodies) <= BATCH_LIMIT
        ):
            shifted = [unique._replace(place=len(last.bodies) + unique.place) for unique in batch.uniques]
            run[-1] = NumberedBatch(batch.stream, last.first, [*last.bodies, *batch.bodies], [*last.uniques, *shifted])
        else:
            run.append(batch)
    return [batch for run in runs.values() for batch in run]
