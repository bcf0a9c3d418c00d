"""Live autoscaling, with processes and a clock that only pretend."""

import asyncio
import contextlib
import itertools
from collections.abc import Coroutine, Iterable
from typing import Any, cast

import pytest

from sim.worlds.injecting import LiveFaults
from sim.worlds.process_pool import ProcessPool
from sim.worlds.scaling import LiveScaling
from tests.model.small import fault, scenario, service, steady


class FakeProcesses:
    """Processes by name, and how often each was started."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.running = {"desk 0"}

    def start(self, service: str, index: int) -> Any:
        self.started.append(f"{service} {index}")
        self.running.add(f"{service} {index}")

    def runs(self, name: str) -> bool:
        return name in self.running

    async def stop(self, name: str) -> None:
        self.running.remove(name)


class FakeFaults:
    """A clock that jumps. When it comes to `until_s`, an outage brings back all that are wanted.

    Each wait is over late by the next of `late_s`, again from the first after the last.
    """

    def __init__(
        self, processes: FakeProcesses, until_s: float, end_s: float, late_s: Iterable[float] = (0.0,)
    ) -> None:
        self.wanted = {"desk": 1}
        self.is_cut_off = False
        self.now_s = 0.0
        self._processes, self._until_s, self._end_s = processes, until_s, end_s
        self._late_s = itertools.cycle(late_s)

    def begin(self, stopping: Coroutine[Any, Any, None]) -> None:
        stopping.close()

    async def sleep_until(self, at_s: float) -> None:
        if self.now_s < self._until_s <= at_s:
            for index in range(self.wanted["desk"]):
                self._processes.start("desk", index)
        self.now_s = at_s + next(self._late_s)
        if at_s > self._end_s:
            raise asyncio.CancelledError


async def test_no_consumer_is_started_twice_where_an_outage_has_brought_it_back() -> None:
    rule = {"min": 1, "max": 3, "backlog_per_consumer": 1, "every_s": 0.5}
    out = fault("outage", service="desk", at_s=0.2, back_after_s=1.6)
    declared = scenario(steady(10.0, 4.0), out, desk=service(0.1, autoscale=rule))
    processes = FakeProcesses()
    faults = FakeFaults(processes, out.until_s, end_s=4.0)
    processes.running.clear()  # the outage has

    async def backlog(_: str) -> int:
        return 3

    pool = cast(ProcessPool, processes)
    scaling = LiveScaling(declared, pool, cast(LiveFaults, faults), processes.start, lambda *_: None, backlog)
    with contextlib.suppress(asyncio.CancelledError):
        await scaling._scale("desk")
    assert sorted(processes.started) == ["desk 0", "desk 1", "desk 2"]


@pytest.mark.parametrize("late_s", [(0.0,), (0.0, 0.02, 0.0, 0.0), (0.02, 0.0)])
async def test_a_look_that_is_a_little_late_decides_as_one_in_time(late_s: tuple[float, ...]) -> None:
    """A window of three looks has three, also where the first of four was later than the last."""
    rule = {"min": 1, "max": 3, "backlog_per_consumer": 1, "every_s": 1.0, "down_after_s": 3.0}
    declared = scenario(steady(10.0, 4.0), desk=service(0.1, autoscale=rule))
    processes, backlogs = FakeProcesses(), itertools.chain([3, 3], itertools.repeat(0))
    faults, scaled = FakeFaults(processes, float("inf"), 9.0, late_s), list[tuple[float, float]]()

    async def backlog(_: str) -> int:
        return next(backlogs)

    def note(kind: str, service: str, consumer: int, value: float = 0.0) -> None:
        scaled.append((round(faults.now_s), value))

    pool = cast(ProcessPool, processes)
    scaling = LiveScaling(declared, pool, cast(LiveFaults, faults), processes.start, note, backlog)
    with contextlib.suppress(asyncio.CancelledError):
        await scaling._scale("desk")
    assert scaled == [(1, 3.0), (5, 1.0)], "the looks of seconds 3, 4 and 5 call for one"
