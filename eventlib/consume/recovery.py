"""Entries that come back: silent consumers held them, or their wait for another attempt is over."""

import asyncio
import logging
from collections.abc import Awaitable
from contextlib import suppress

from eventlib.broker.consuming import Promoted
from eventlib.consume.calls import Fetch
from eventlib.consume.intake import Intake
from eventlib.consume.leases import Leases
from eventlib.consume.session import Session
from eventlib.consume.settlement import Settler
from eventlib.steady import steady_s

log = logging.getLogger("eventlib")

PROMOTE_S = 0.5  # longest wait between two looks at the delayed entries, as dead consumers may have scheduled some
PROMOTE_LIMIT = 100
FIRST_TAKEN_OVER = 10  # few entries at first: if the reply comes too late, each still counts as delivered


class Takeover:
    """Takes over, for one consumer, entries of consumers that were silent for a lease."""

    def __init__(self, session: Session, intake: Intake, leases: Leases) -> None:
        self._lease = session.settings.lease
        self._leases = leases
        self._attempts = session.attempts
        self._commands = session.commands
        self._calls = session.calls
        self._clock = session.clock
        self._in_hand = session.in_hand
        self._rng = session.rng
        self._intake = intake
        self._fetch = Fetch(session.calls, FIRST_TAKEN_OVER)
        self._suspects_left = False
        self._stopping = False

    def stop(self) -> None:
        """Take over nothing more."""
        self._stopping = True

    async def run(self) -> None:
        """Offer to sweep, about twice a lease, until cancelled."""
        while True:
            await self._until_next()
            await self._calls.until_answered(self._commands.free_stuck)  # the group may have been ordered before
            while await self._sweep():
                pass

    async def _until_next(self) -> None:
        """Wait for the time of the next sweep. If suspects are left, it is when nothing taken over is in hand."""
        wait_s = self._lease.sweep_wait_s(self._rng)
        if self._suspects_left:
            await _at_most(wait_s, self._in_hand.taken_over_gone())
        else:
            await asyncio.sleep(wait_s)

    async def _sweep(self) -> bool:
        """Sweep once. True if there may be more to take over at once."""
        capacity = await self._in_hand.some_capacity()
        # By a clock that jumped, leases seem to have ended. And what is taken over could end this consumer beside a
        # suspect, for which it may be the last attempt.
        if self._stopping or not self._clock.known or self._in_hand.holds_suspect:
            return False
        if self._leases.overdue:  # what this consumer holds itself would look like a dead one's, or like a suspect
            await self._leases.renew_all()
        with self._in_hand.noting_settled() as settled:
            more, found, left = await self._fetch(
                lambda count: self._commands.sweep(
                    *(self._lease.duration_s, count, self._lease.sweep_every_s),
                    attempts=self._attempts,
                    may_take_suspect=not self._in_hand.holds_taken_over,
                    expected=self._clock.expected(),
                ),
                capacity,
            )
        self._fetch.came(found)
        # The sweep may take over an expired entry of this same consumer. The entry may be settled after the sweep, and
        # yet the reply to the settlement may arrive first.
        taken = [entry for entry in found if entry.place not in settled]
        self._in_hand.use_capacity(len(taken))
        self._intake.accept(taken)
        self._suspects_left = left > 0
        return more or len(found) > 0 or (left > 0 and not self._in_hand.holds_taken_over)


class Promoter:
    """Brings delayed entries of one group back when they are due, and notices what changes on the server meanwhile.

    That is a jump of the server's clock, and an operator who pauses the group.
    """

    def __init__(self, session: Session, settler: Settler) -> None:
        self._place = session.place
        self._commands = session.commands
        self._calls = session.calls
        self._clock = session.clock
        self._retry_scheduled = settler.retry_scheduled
        self._obey = session.obey

    async def run(self) -> None:
        """Promote until cancelled."""
        while True:
            self._retry_scheduled.clear()
            only_looked = not self._clock.known
            promoted = await self._calls.until_answered(self._promote)
            if promoted.unexpected_ms or promoted.moved == PROMOTE_LIMIT or (only_looked and self._clock.known):
                continue
            wait_s = PROMOTE_S if promoted.next_s is None or only_looked else min(promoted.next_s, PROMOTE_S)
            await _at_most(wait_s, self._retry_scheduled.wait())

    async def _promote(self) -> Promoted:
        sent_s = steady_s()
        limit = PROMOTE_LIMIT if self._clock.known else 0
        promoted = await self._commands.promote(limit, self._clock.expected())
        self._obey(promoted.paused)
        jump_ms = promoted.unexpected_ms and self._clock.jump_ms(promoted.group_ms, sent_s)
        if jump_ms is None:  # the group remembers a later time than the server's clock shows
            jump_ms = promoted.unexpected_ms
        if jump_ms:
            await self._put_clock_right(promoted.offset_ms, jump_ms)
        else:
            self._clock.note(promoted.group_ms, sent_s, promoted.seen_ms, promoted.offset_ms)
        return promoted

    async def _put_clock_right(self, offset_ms: float, jump_ms: float) -> None:
        """What is expected stays: it tells on the next look whether the time is right now, also if no reply came."""
        done = await self._commands.put_clock_right(offset_ms, jump_ms, self._clock.expected())
        if done is None:
            self._clock.forget()
        elif done:
            problem = "%s: the server's clock jumped by %+.1f s; due times and leases go on as if it had not"
            log.warning(problem, self._place, jump_ms / 1000.0)


async def _at_most(wait_s: float, waiting: Awaitable[object]) -> None:
    """Wait for something, and no longer than `wait_s` seconds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(wait_s):
            await waiting
