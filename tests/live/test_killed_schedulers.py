"""Schedulers whose clocks are wrong are killed: each slot is run or recorded as skipped, once."""

from campaigns import schedules
from eventlib.testing import private_server


async def test_trap_32_no_slot_is_doubled_or_lost_when_schedulers_are_killed() -> None:
    """The short form of the campaign."""
    with private_server() as server:
        outcome = await schedules.run(server.url, slots=80, schedulers=2, kills=2, skew_s=30.0, schedules=10)
    assert outcome.holds, outcome
    assert outcome.slots >= 80 and outcome.ran > 0
