"""Tasks that run in another process are cancelled, with hints and without."""

import asyncio

import pytest

from campaigns.cancels import GOAL_P99_S, campaign


@pytest.mark.parametrize("how", GOAL_P99_S)
def test_each_running_task_that_is_cancelled_ends_so_with_or_without_hints(url: str, how: str) -> None:
    """The short form of `python -m campaigns.cancels`."""
    verdict = asyncio.run(campaign(url, 20, how))
    assert verdict.faults == []
    assert len(verdict.took_s) == 20
