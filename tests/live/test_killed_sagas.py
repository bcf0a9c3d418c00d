"""Workers are killed at every boundary of an act: each saga ends, or is parked, and what was done agrees with that."""

import asyncio

from campaigns.saga_worker import BOUNDARIES
from campaigns.sagas import Plan, campaign


def test_trap_40_workers_killed_at_every_boundary_leave_no_saga_half_done(url: str) -> None:
    """The short form of `python -m campaigns.sagas`."""
    verdict = asyncio.run(campaign(url, Plan(sagas=120, kills=len(BOUNDARIES), workers=2)))
    assert verdict.faults == []
    assert set(verdict.by_status) <= {"completed", "compensated", "parked"} and verdict.by_status.total() == 120
    assert verdict.by_status["completed"] > 0 < verdict.by_status["compensated"]
    assert set(verdict.kills) == set(BOUNDARIES)
