"""What faults do to a server is finished and undone, however the run ends."""

import asyncio
import threading
from typing import Any, cast

import pytest

from eventlib.testing import PrivateServer
from sim.errors import LiveRunFailed
from sim.worlds.injecting import LiveFaults, Note
from sim.worlds.process_pool import ProcessPool
from tests.model.small import scenario, service, steady


class FakeServer:
    """Says what is done to it. `set_full` takes until `may_go_on` is set."""

    def __init__(self, *, mends: bool = True) -> None:
        self.done: list[str] = []
        self.begun, self.may_go_on = threading.Event(), threading.Event()
        self._mends = mends

    def stop(self) -> None:
        self.done.append("stopped")

    def start(self) -> None:
        if not self._mends:
            raise OSError("it does not start")
        self.done.append("started")

    def set_full(self, full: bool) -> None:
        self.begun.set()
        assert self.may_go_on.wait(10.0)
        self.done.append("filled" if full else "emptied")


def faults_at(server: FakeServer) -> LiveFaults:
    def unused(*_: Any, **__: Any) -> Any:
        raise AssertionError("no process is started")

    small = scenario(steady(10.0, 1.0), desk=service(0.01))
    return LiveFaults(small, cast(ProcessPool, None), unused, cast(Note, unused), cast(PrivateServer, server))


async def test_a_cancelled_fault_finishes_its_call_before_another_one_is_made() -> None:
    server = FakeServer()
    faults = faults_at(server)
    async with faults:
        filling = asyncio.create_task(faults.fill_server(full=True))
        await asyncio.to_thread(server.begun.wait, 10.0)
        filling.cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        assert not filling.done()
        server.may_go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await filling
        assert server.done == ["filled"]
    assert server.done == ["filled", "emptied"]


async def test_what_really_failed_is_told_and_all_is_tried_that_can_be_undone() -> None:
    server = FakeServer(mends=False)
    server.may_go_on.set()
    faults = faults_at(server)

    async def fails_in_faults() -> None:
        async with faults:
            await faults.fill_server(full=True)
            await faults.stop_server()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fails_in_faults()
    assert server.done == ["filled", "stopped", "emptied"]


async def test_what_cannot_be_undone_is_told() -> None:
    faults = faults_at(FakeServer(mends=False))
    await faults.stop_server()
    with pytest.raises(LiveRunFailed, match="could not be undone: it does not start"):
        async with faults:
            pass
