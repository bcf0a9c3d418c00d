"""Timers of the processes of a live run: none waits for a whole millisecond, and none burns a core."""

import asyncio
import socket
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from sim.worlds.exact_loop import exact_loop

Main = Callable[[], Coroutine[Any, Any, Any]]


def run(main: Main) -> Any:
    with asyncio.Runner(loop_factory=exact_loop) as runner:
        return runner.run(main())


def test_trap_50_a_timer_of_a_third_of_a_millisecond_does_not_wait_for_a_whole_one() -> None:
    async def taken_s() -> list[float]:
        taken = []
        for _ in range(200):
            began_s = time.monotonic()
            await asyncio.sleep(0.0003)
            taken.append(time.monotonic() - began_s)
        return sorted(taken)

    taken = run(taken_s)
    assert taken[0] >= 0.0003, "none is early"
    # asyncio's own selector rounds up: there, not even the quickest takes less than a millisecond.
    assert taken[20] < 0.001, "a busy machine makes some late, but not nine in ten"


def test_a_process_that_waits_uses_no_processor_time() -> None:
    async def used_s() -> float:
        before_s, rung = time.process_time(), asyncio.Event()
        asyncio.get_running_loop().call_later(0.3, rung.set)
        await rung.wait()
        return time.process_time() - before_s

    assert run(used_s) < 0.1


def test_what_comes_wakes_the_loop_before_its_timer() -> None:
    async def woken_by() -> str:
        here, there = socket.socketpair()
        with here, there:
            heard = asyncio.Event()
            asyncio.get_running_loop().add_reader(here, heard.set)
            asyncio.get_running_loop().call_later(0.05, there.send, b"x")
            async with asyncio.timeout(30.0):
                await heard.wait()
            asyncio.get_running_loop().remove_reader(here)
            return "the message"

    assert run(woken_by) == "the message"


def test_a_descriptor_beyond_select_still_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sim.worlds.exact_loop._SELECT_MAX", 0)

    async def sleep() -> str:
        await asyncio.sleep(0.001)
        return "slept"

    assert run(sleep) == "slept"
