"""Schedulers whose clocks are wrong are killed: each slot is run or recorded as skipped, once."""

import asyncio

from campaigns import schedules
from eventlib.testing import private_server

LIMIT_S = 90.0  # on a busy machine, starting the processes alone takes long


def test_trap_32_no_slot_is_doubled_or_lost_when_schedulers_are_killed() -> None:
    """The short form of the campaign."""

    async def run(url: str) -> schedules.Outcome:
        async with asyncio.timeout(LIMIT_S):
            return await schedules.run(url, slots=40, schedulers=2, kills=2, skew_s=30.0, schedules=10)

    with private_server() as server:
        outcome = asyncio.run(run(server.url))
    assert outcome.holds, outcome
    assert outcome.slots >= 40 and outcome.ran > 0
