"""Looks for events that came to a stream before a caller began to wait: for a caller that was away.

One pass over the stream, newest first, serves the callers that began to wait before it. Later callers wait for the next
pass.
"""

import asyncio
import math
import random
from collections.abc import Callable, Sequence
from functools import partial

from eventlib.broker.listening import ListeningCommands
from eventlib.errors import BrokerError, BrokerUnavailable
from eventlib.reconnect import until_answered
from eventlib.replies.waiters import Waiter

_Search = tuple[Waiter, int]  # who looks back, and up to which time in ms


class History:
    """The past of one stream. `position` says up to which id it is past; `hear` takes each event."""

    def __init__(self, commands: ListeningCommands, position: Callable[[], str], hear: Callable[[bytes], None]) -> None:
        self._commands = commands
        self._position = position
        self._hear = hear
        self._rng = random.Random()
        self._next: list[_Search] = []  # who the next pass is for
        self._task: asyncio.Task[None] | None = None

    def look(self, waiter: Waiter, oldest_ms: int) -> None:
        """Look for what the waiter awaits, in all that came since `oldest_ms` by the server's clock."""
        self._next.append((waiter, oldest_ms))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Look no further."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _run(self) -> None:
        while self._next:
            searches, self._next = self._next, []
            try:
                await self._pass(searches)
            except BrokerError as error:
                for waiter, _ in searches:
                    waiter.fail(error)

    async def _pass(self, searches: Sequence[_Search]) -> None:
        newest: str | None = self._position()
        oldest = f"{min(oldest_ms for _, oldest_ms in searches)}-0"

        def failed(error: BrokerError, _: int) -> float:
            if not isinstance(error, BrokerUnavailable) or not _any_waits(searches):
                raise error
            return math.inf

        while newest is not None and _any_waits(searches):
            answer = await until_answered(partial(self._commands.read_back, newest, oldest), failed, self._rng)
            events, newest = answer.value
            for event in events:
                self._hear(event)


def _any_waits(searches: Sequence[_Search]) -> bool:
    return not all(waiter.event.done() for waiter, _ in searches)
