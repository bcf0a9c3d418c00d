"""A test that hangs fails, whether it waits in an event loop or not."""

import asyncio
import threading

import pytest

from tests.deadlines import ends_within
from tests.shop import for_ever


def test_what_blocks_is_ended() -> None:
    with pytest.raises(pytest.fail.Exception, match=r"not over after 0\.05 s"), ends_within(0.05):
        threading.Event().wait(30.0)


def test_an_event_loop_that_waits_is_ended() -> None:
    with pytest.raises(pytest.fail.Exception, match="not over after"), ends_within(0.05):
        asyncio.run(for_ever())


def test_the_test_around_what_is_over_in_time_still_has_its_end() -> None:
    def inner() -> None:
        with ends_within(20.0):
            pass
        threading.Event().wait(30.0)

    with pytest.raises(pytest.fail.Exception, match=r"not over after 0\.2 s"), ends_within(0.2):
        inner()
