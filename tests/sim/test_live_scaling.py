"""Live autoscaling, with processes and a clock that only pretend."""

import asyncio
import contextlib
from typing import Any, cast

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
    """A clock that jumps. When it comes to `until_s`, an outage brings back all that are wanted."""

    def __init__(self, processes: FakeProcesses, until_s: float, end_s: float) -> None:
        self.wanted = {"desk": 1}
        self.is_cut_off = False
        self.now_s = 0.0
        self._processes, self._until_s, self._end_s = processes, until_s, end_s

    async def sleep_until(self, at_s: float) -> None:
        if self.now_s < self._until_s <= at_s:
            for index in range(self.wanted["desk"]):
                self._processes.start("desk", index)
        self.now_s = at_s
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
