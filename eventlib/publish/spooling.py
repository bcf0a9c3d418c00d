"""The route of the policy Spool: a batch goes to a file where Redis does not answer, and a task replays the file."""

import asyncio
import logging
import math
import random
from collections.abc import Generator, Sequence
from typing import Any

from eventlib.broker.publishing import BATCH_BYTES, BATCH_LIMIT, PublishCommands
from eventlib.broker.requests import ScriptCall
from eventlib.errors import BrokerError, BrokerUnavailable
from eventlib.finishing import finished
from eventlib.publish.batches import Callers
from eventlib.publish.spool import SpoolFile
from eventlib.reconnect import until_answered
from eventlib.records import NumberedBatch

log = logging.getLogger("eventlib")

_REPLAY_FRAMES = 2000  # read from the file at a time
_REMEMBER_S = 30 * 86_400.0


class SpoolingRoute:
    """Sends a batch where the server answers and the file is empty. Otherwise the file keeps it until it is replayed.

    The server is never told to forget this producer, whose name lives as long as the file: a try from a connect long
    ago may still reach the server.
    """

    patience_s = math.inf

    def __init__(self, commands: PublishCommands, file: SpoolFile) -> None:
        self._commands = commands
        self._file = file
        self._using_file = asyncio.Lock()
        self._rng = random.Random()  # of its own: after a fork, the global one draws the same in parent and child
        self._replaying: asyncio.Task[None] | None = None
        self._replay_what_is_there()

    @property
    def first_number(self) -> int:
        return self._file.first_number

    @property
    def spooled_bytes(self) -> int:
        return 0 if self._file.empty else self._file.size_bytes

    @property
    def spool_bytes_max(self) -> int:
        return self._file.size_bytes_max

    def send(self, batch: NumberedBatch, callers: Callers) -> "_SpooledBatch":
        direct = self._file.empty and not self._using_file.locked()
        return _SpooledBatch(self, batch, self._publish(batch) if direct else None)

    async def keep(self, batch: NumberedBatch) -> None:
        """Write a batch to the file, and see that it is replayed.

        Raises:
            SpoolFull, SpoolUnusable: the file takes no more.
        """
        await self._append(batch)
        self._replay_what_is_there()

    def note_outage(self, batch: NumberedBatch, error: BrokerUnavailable) -> None:
        """A batch goes to the file because the server did not answer."""
        log.warning("publishing to %s goes to %s: %s", batch.stream, self._file.path, error)

    async def close(self) -> None:
        """Stop replaying. What is in the file stays there; repeating it later does no harm."""
        try:
            if self._replaying is not None:
                self._replaying.cancel()
                await asyncio.wait({self._replaying})
            if not self._file.empty:
                log.warning("%s keeps %d bytes for the next connect with it", self._file.path, self._file.size_bytes)
        finally:
            self._file.close()

    def _publish(self, batch: NumberedBatch, first_try_s: float | None = None) -> ScriptCall:
        return self._commands.append(batch, self._file.producer, _REMEMBER_S, first_try_s=first_try_s)

    async def _append(self, batch: NumberedBatch) -> None:
        """Write in a thread. A thread cannot be cancelled: the file is in use until it has written."""
        async with self._using_file:
            await finished(asyncio.to_thread(self._file.append, batch))

    def _replay_what_is_there(self) -> None:
        if (self._replaying is None or self._replaying.done()) and not self._file.empty:
            self._replaying = asyncio.create_task(self._replay())

    async def _replay(self) -> None:
        log.warning("%s has %d bytes to replay", self._file.path, self._file.size_bytes)
        while not self._file.empty:
            await until_answered(self._replay_some, self._note_unusable, self._rng)
        log.warning("%s is replayed", self._file.path)

    async def _replay_some(self) -> None:
        """Publish the first batches of the file, then note in the file that the server has them.

        If the disk refuses the note, it is repeated, and publishes go to the server meanwhile.
        """
        batches, position = self._file.read(_REPLAY_FRAMES, BATCH_BYTES)
        for batch in _joined(batches):
            await self._publish_until_appended(batch)
        async with self._using_file:
            if batches:
                self._file.advance(position)
            else:  # the disk refused the note that the server has all of it
                self._file.rewind()

    async def _publish_until_appended(self, batch: NumberedBatch) -> None:
        """Repeat after refusals too: a password can be set right, a full server freed, and nothing may be lost."""

        def note(error: BrokerError, failures: int) -> float:
            if failures & (failures - 1) == 0:  # the 1st, 2nd, 4th, 8th...
                log.warning("%s waits for %s, try %d: %s", self._file.path, batch.stream, failures, error)
            return math.inf

        # It may have been tried before it came to the file, by an earlier process too.
        await until_answered(lambda: self._publish(batch, -math.inf), note, self._rng)

    def _note_unusable(self, error: BrokerError, failures: int) -> float:
        if failures & (failures - 1) == 0:
            log.error("%s: the replay waits for the disk, try %d: %s", self._file.path, failures, error)
        return math.inf


class _SpooledBatch:
    """A batch on its way to the server, or to the file where the server does not answer."""

    __slots__ = ("_batch", "_call", "_route")

    def __init__(self, route: SpoolingRoute, batch: NumberedBatch, call: ScriptCall | None) -> None:
        self._route = route
        self._batch = batch
        self._call = call  # None: straight to the file

    def __await__(self) -> Generator[Any, None, None]:
        return self._publish_or_keep().__await__()

    def cancel(self) -> None:
        if self._call is not None:
            self._call.cancel()

    async def _publish_or_keep(self) -> None:
        if self._call is not None:
            try:
                await self._call
                return
            except BrokerUnavailable as error:
                self._route.note_outage(self._batch, error)
        await self._route.keep(self._batch)


def _joined(batches: Sequence[NumberedBatch]) -> list[NumberedBatch]:
    """Join batches whose numbers follow one another, for a frame may hold a single event. Streams keep their order."""
    by_stream: dict[str, list[NumberedBatch]] = {}
    for batch in batches:
        joined = by_stream.setdefault(batch.stream, [])
        last = joined[-1] if joined else None
        if (
            last
            and last.first + len(last.bodies) == batch.first
            and len(last.bodies) + len(batch.bodies) <= BATCH_LIMIT
        ):
            shifted = [unique._replace(place=len(last.bodies) + unique.place) for unique in batch.uniques]
            joined[-1] = NumberedBatch(
                batch.stream, last.first, [*last.bodies, *batch.bodies], [*last.uniques, *shifted]
            )
        else:
            joined.append(batch)
    return [batch for joined in by_stream.values() for batch in joined]
