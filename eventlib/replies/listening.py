"""Reads one stream for all who wait on it: from the first of them on, and for some seconds after the last one.

One blocking read waits for entries, and many callers wait for that read. It begins behind a position that is taken
before they go on, and each read begins where the one before ended, after an outage too: nothing is missed.
"""

import asyncio
import logging
import math
import random
from functools import partial

from eventlib.broker.listening import Heard, ListeningCommands
from eventlib.consume.fetch_size import FetchSize
from eventlib.errors import BrokerError, BrokerUnavailable
from eventlib.operate.selection import id_parts
from eventlib.reconnect import until_answered
from eventlib.replies.history import History
from eventlib.replies.waiters import Waiters

log = logging.getLogger("eventlib")

BLOCK_S = 1.0  # longest blocking read; a dead connection is noticed after this time and the time for a reply
LINGER_S = 10.0  # reading goes on for so long after the last waiter: the next one need not wait for a position
_BEGINNING = "0-0"  # of every stream
_FIRST_FETCH = 100  # entries in the first request, while their size is not known


class Listener:
    """Listens to one stream. It ends when no caller has waited for some seconds, or when waiting does not help.

    With `patient=False`, an outage at its beginning is such an end.
    """

    def __init__(self, commands: ListeningCommands, stream: str, waiters: Waiters, *, patient: bool) -> None:
        loop = asyncio.get_running_loop()
        self.began: asyncio.Future[None] = loop.create_future()  # done when nothing is missed from now on
        self.problem: BrokerError | None = None  # the last error, if no answer has come since
        self.ended = False
        self.history = History(commands, lambda: self._position, partial(waiters.hear, stream, earlier=True))
        self._commands = commands
        self._stream = stream
        self._waiters = waiters
        self._patient = patient
        self._position = ""
        self._size = FetchSize(_FIRST_FETCH)
        self._rng = random.Random()
        self._attending = 0
        self._alone_since_s = 0.0
        self._now = loop.time
        self._task = asyncio.create_task(self._run())

    def attend(self) -> None:
        """A caller begins to wait. It calls `leave` in the end."""
        self._attending += 1

    def leave(self) -> None:
        self._attending -= 1
        self._alone_since_s = self._now()

    async def close(self) -> None:
        """Stop at once."""
        self.ended = True
        self._task.cancel()
        await self.history.close()
        await asyncio.wait({self._task})

    async def _run(self) -> None:
        try:
            self._position = (await until_answered(self._commands.last_id, self._failed, self._rng)).value
            self.problem = None
            self.began.set_result(None)
            while self._attending or self._now() < self._alone_since_s + LINGER_S:
                await until_answered(self._read, self._failed, self._rng)
        except BrokerError as error:
            self.ended = True  # first, because a caller that is told of the error may wait again
            if not self.began.done():
                self.began.cancel()
            self._waiters.fail(self._stream, error)
        finally:
            self.ended = True
            await self._commands.close()

    async def _read(self) -> None:
        asked = self._size.count
        try:
            if self.problem is not None:
                await self._return_to_the_stream()
            await self._commands.read(self._position, asked, BLOCK_S, partial(self._came, asked))
        except BrokerUnavailable:
            self._size.failed()
            raise
        self.problem = None

    async def _return_to_the_stream(self) -> None:
        """After an outage, the stream may be another one, or an older copy of it, whose next ids are lower.

        Then all of it is read: what came meanwhile must not be missed.
        """
        last = await self._commands.last_id()
        if id_parts(last) < id_parts(self._position):
            self._position = _BEGINNING

    def _came(self, asked: int, entries: list[Heard]) -> None:
        self._size.came(asked, [len(event) for _, event in entries])
        for id_, event in entries:
            self._position = id_
            self._waiters.hear(self._stream, event)

    def _failed(self, error: BrokerError, failures: int) -> float:
        self.problem = error
        if not isinstance(error, BrokerUnavailable) or not self._attending:
            raise error
        if not (self._patient or self.began.done()):
            raise error
        if failures == 1:
            log.warning("listening to %s waits for the server: %s", self._stream, error)
        return math.inf
