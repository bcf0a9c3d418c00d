"""Entries that come back: silent consumers held them, or their wait for another attempt is over."""

import asyncio

from eventlib.consume.calls import Fetch
from eventlib.consume.intake import Intake
from eventlib.consume.session import Session
from eventlib.consume.settlement import Settler

PROMOTE_S = 0.5  # longest wait between two looks at the delayed entries, as dead consumers may have scheduled some
PROMOTE_LIMIT = 100
FIRST_TAKEN_OVER = 10  # few entries at first: if the reply comes too late, each still counts as delivered


class Takeover:
    """Takes over, for one consumer, entries of consumers that were silent for a lease."""

    def __init__(self, session: Session, intake: Intake) -> None:
        self._lease = session.settings.lease
        self._commands = session.commands
        self._calls = session.calls
        self._in_hand = session.in_hand
        self._rng = session.rng
        self._intake = intake
        self._fetch = Fetch(session.calls, FIRST_TAKEN_OVER)
        self._stopping = False

    def stop(self) -> None:
        """Take over nothing more."""
        self._stopping = True

    async def run(self) -> None:
        """Offer to sweep, about twice a lease, until cancelled."""
        while True:
            await asyncio.sleep(self._lease.sweep_wait_s(self._rng))
            await self._calls.until_answered(self._commands.free_key_queues)  # the group may have been ordered before
            while await self._sweep():
                pass

    async def _sweep(self) -> bool:
        """Sweep once. True if there may be more to take over at once."""
        capacity = await self._in_hand.some_capacity()
        if self._stopping:
            return False
        with self._in_hand.noting_settled() as settled:
            more, found = await self._fetch(
                lambda count: self._commands.sweep(self._lease.duration_s, count, self._lease.sweep_every_s), capacity
            )
        self._fetch.came(found)
        # The sweep may take over an expired entry of this same consumer. The entry may be settled after the sweep, and
        # yet the reply to the settlement may arrive first.
        taken = [entry for entry in found if entry.place not in settled]
        self._in_hand.use_capacity(len(taken))
        self._intake.accept(taken)
        return more or bool(found)


class Promoter:
    """Brings delayed entries of one group back when they are due."""

    def __init__(self, session: Session, settler: Settler) -> None:
        self._commands = session.commands
        self._calls = session.calls
        self._retry_scheduled = settler.retry_scheduled

    async def run(self) -> None:
        """Promote until cancelled."""
        while True:
            self._retry_scheduled.clear()
            moved, next_s = await self._calls.until_answered(lambda: self._commands.promote(PROMOTE_LIMIT))
            if moved == PROMOTE_LIMIT:
                continue
            wait_s = PROMOTE_S if next_s is None else min(next_s, PROMOTE_S)
            try:
                async with asyncio.timeout(wait_s):
                    await self._retry_scheduled.wait()
            except TimeoutError:
                pass
