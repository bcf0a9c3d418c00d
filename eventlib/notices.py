"""Waiting for tasks or sagas to end, without asking again and again: one blocking read serves all who wait."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress

from eventlib.broker.notices import Watch
from eventlib.errors import BusClosed
from eventlib.reconnect import unless_denied, until_answered

_BLOCK_S = 1.0
LOOK_S = 5.0  # a look at what is waited for, should its notice have been missed


class Notices:
    """Tells those who wait that something has happened to what they wait for: a task of one queue, a saga of one name.

    `watch` makes a watch on the stream of its notices.
    """

    def __init__(self, watch: Callable[[], Watch]) -> None:
        self._watch = watch
        self._waiters: dict[str, set[asyncio.Future[None]]] = {}
        self._reading: asyncio.Task[None] | None = None
        self._listening: asyncio.Future[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()  # the one that reads, and those that close their connection
        self._rng = random.Random()

    async def wait_until(self, ended: Callable[[], Awaitable[bool]], id_: str) -> None:
        """Wait until `ended()` is true. It is asked when a notice of this id comes, and every few seconds.

        Raises:
            AccessDenied: waiting would not help.
            BusClosed: the bus was closed meanwhile.
        """
        while True:
            notice = asyncio.get_running_loop().create_future()
            self._waiters.setdefault(id_, set()).add(notice)
            try:
                await self._listen()
                if await ended():  # after listening began, so that no end is missed
                    return
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await notice
            finally:
                waiters = self._waiters[id_]
                waiters.discard(notice)
                if not waiters:
                    del self._waiters[id_]

    async def close(self) -> None:
        """End all waits."""
        for waiters in self._waiters.values():
            for notice in waiters:
                if not notice.done():
                    notice.set_exception(BusClosed())
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _listen(self) -> None:
        if self._reading is None or self._reading.done():
            self._listening = asyncio.get_running_loop().create_future()
            self._reading = asyncio.create_task(self._read(self._listening))
            self._tasks.add(self._reading)
            self._reading.add_done_callback(self._tasks.discard)
        reading = self._reading
        if self._listening is not None:
            await asyncio.wait({self._listening, reading}, return_when=asyncio.FIRST_COMPLETED)
            if reading.done() and not reading.cancelled() and (error := reading.exception()):
                raise error

    async def _read(self, listening: "asyncio.Future[None]") -> None:
        watch = self._watch()
        try:
            await until_answered(watch.begin, unless_denied, self._rng)
            listening.set_result(None)
            while self._waiters:  # there is no await between this look and the end, so that no waiter comes too late
                for id_ in (await until_answered(lambda: watch.next(_BLOCK_S), unless_denied, self._rng)).value:
                    for notice in self._waiters.get(id_, ()):
                        if not notice.done():
                            notice.set_result(None)
        finally:
            if self._reading is asyncio.current_task():
                self._reading = None
            await watch.close()
