"""A new version of a service replaces the old one under load, with another version of its event: nothing is lost."""

import asyncio

from campaigns.rolling import Plan, campaign


def test_a_rolling_deploy_with_a_schema_change_loses_and_doubles_nothing(url: str) -> None:
    """The short form of `python -m campaigns.rolling`. One of the consumers is killed, the other one drains."""
    verdict = asyncio.run(campaign(url, Plan(consumers=2, rate_per_s=100.0, steady_s=0.3, kills=1, lease_s=3.0)))
    assert verdict.holds, verdict
    assert verdict.kills == 1 and verdict.statuses == (0, 0, 0)
    assert 0 < verdict.of_new_version < verdict.published
    assert verdict.put_aside > 0, "an old consumer left events of the new version to newer ones"
