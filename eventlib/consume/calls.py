"""A consumer's calls to the server: repeated until answered, with a fetch size learned from earlier replies."""

import logging
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from eventlib.broker.consuming import ConsumerCommands
from eventlib.consume.fetch_size import FetchSize
from eventlib.consume.liveness import Liveness
from eventlib.errors import AccessDenied, BrokerError, BrokerUnavailable, MissingGroup
from eventlib.policy import Uniform
from eventlib.reconnect import Answer, until_answered
from eventlib.records import Entry

log = logging.getLogger("eventlib")

T = TypeVar("T")

WARN_EVERY_S = 60.0  # while the server does not answer


class Calls:
    """Repeats the calls of one consumer until Redis answers, or until the consumer is abandoned.

    All calls that go through here are safe to repeat. `place` names the consumer's stream and group in the log.
    """

    def __init__(self, commands: ConsumerCommands, liveness: Liveness, place: str, rng: Uniform) -> None:
        self.abandoned = False
        self.when_abandoned: Callable[[], None] = lambda: None
        self._commands = commands
        self._liveness = liveness
        self._place = place
        self._rng = rng
        self._group_missing = False
        self._warn_again_at = -math.inf
        self._warned_of = set[type[BrokerError]]()

    def abandon(self) -> None:
        """Repeat no call from now on."""
        self.abandoned = True
        self.when_abandoned()

    async def until_answered(self, call: Callable[[], Awaitable[T]]) -> T:
        """Repeat the call until it is answered.

        Raises:
            AccessDenied: waiting would not help.
            BrokerError: the consumer is abandoned, and the call failed.
        """
        return (await self._repeat(call)).value

    async def settled(self, settle: Callable[[], Awaitable[bool]]) -> bool:
        """Repeat a call that settles an entry until it is answered. True if this consumer settled the entry.

        After a lost reply, the repeat may find that the first try has settled it. That counts as true.
        """
        answer = await self._repeat(settle)
        return answer.value or answer.repeated

    async def _repeat(self, call: Callable[[], Awaitable[T]]) -> Answer[T]:
        async def once() -> T:
            if self._group_missing:
                await self._commands.ensure_group()
                self._group_missing = False
            return await call()

        return await until_answered(once, self._failed, self._rng)

    def _failed(self, error: BrokerError, _: int) -> float:
        if isinstance(error, AccessDenied):
            self.abandon()
            raise error
        self._liveness.fails(error)
        if self.abandoned:
            raise error
        if isinstance(error, MissingGroup):
            self._group_missing = True
        self._warn(error)
        return math.inf

    def _warn(self, error: BrokerError) -> None:
        """Say that the server is waited for: once a minute and a kind of trouble, not once for each call that waits."""
        now_s = time.monotonic()
        if now_s >= self._warn_again_at:
            self._warn_again_at = now_s + WARN_EVERY_S
            self._warned_of.clear()
        if type(error) not in self._warned_of:
            self._warned_of.add(type(error))
            log.warning("%s waits for the server: %s", self._place, error)


class Fetch:
    """Asks for entries: no more than there is capacity for, and no more than the fetch size."""

    def __init__(self, calls: Calls, first: int) -> None:
        self._calls = calls
        self._size = FetchSize(first)
        self._asked = 0

    async def __call__(self, ask: Callable[[int], Awaitable[T]], capacity: int) -> T:
        """Await `ask(count)` until it is answered."""

        async def once() -> T:
            self._asked = min(capacity, self._size.count)
            try:
                return await ask(self._asked)
            except BrokerUnavailable:
                self._size.failed()
                raise

        return await self._calls.until_answered(once)

    def came(self, entries: Sequence[Entry]) -> None:
        """Learn from the entries that the last call brought."""
        self._size.came(self._asked, [len(entry.event or b"") for entry in entries])
