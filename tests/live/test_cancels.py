"""Tasks that run in another process are cancelled, with hints and without."""

import pytest

from campaigns import cancels


@pytest.mark.parametrize("how", cancels.GOAL_P99_S)
async def test_each_running_task_that_is_cancelled_ends_so_with_or_without_hints(url: str, how: str) -> None:
    """The short form of `python -m campaigns.cancels`."""
    verdict = await cancels.campaign(url, 20, how)
    assert verdict.faults == []
    assert len(verdict.took_s) == 20
