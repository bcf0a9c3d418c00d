"""Workers that are killed: every task ends in its way, and takes its slots and its unique key with it."""

import asyncio

from campaigns.tasks import Plan, campaign


def test_trap_35_killed_workers_take_no_task_no_slot_and_no_unique_key_with_them(url: str) -> None:
    """The short form of `python -m campaigns.tasks`. How long what was held is for that: it depends on the machine."""
    verdict = asyncio.run(campaign(url, Plan(kills=4, workers=3)))
    assert verdict.faults == []
    assert verdict.kills == 4 and verdict.orphaned_s
    ends = {end for ended in verdict.ends.values() for end in ended}
    assert ends == {"succeeded", "failed", "cancelled"}
