"""What faults do to a live run: to its processes by signals, to its network by the proxy, to its own server."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import asdict
from signal import Signals
from types import TracebackType
from typing import Any, Protocol, Self

from eventlib.finishing import finished
from eventlib.testing import PrivateServer
from sim.declare.faults.worlds import WORKS, Network
from sim.declare.scenario import Scenario
from sim.errors import LiveRunFailed
from sim.worlds.process_pool import PoolProcess, ProcessPool

Start = Callable[[str, int], PoolProcess]  # called with a service and the index of one of its consumers


class Note(Protocol):
    """Writes a row of this kind into the history."""

    def __call__(self, kind: str, service: str, consumer: int, value: float = ...) -> None: ...


class LiveFaults:
    """One live run, as faults meet it: see `sim.declare.faults.worlds.LiveWorld`.

    `t0` is when its load begins, in monotonic seconds. `server` is there where the run has a server of its own, `proxy`
    where its processes reach the server through one. The faults happen within `async with`. At its end, server and
    network work again, also where the run is over before its faults are.
    """

    def __init__(
        self, scenario: Scenario, pool: ProcessPool, start: Start, note: Note, server: PrivateServer | None
    ) -> None:
        self.t0 = float("nan")
        self.proxy: PoolProcess | None = None
        self.tasks: list[asyncio.Task[None]] = []
        self.wanted = {name: service.consumers_first for name, service in scenario.services.items()}
        self._network = WORKS
        self._scenario = scenario
        self._pool = pool
        self._start = start
        self._note = note
        self._server = server
        self._server_stands = self._server_is_full = False
        self._of_callers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self._mend()
        except Exception as error:
            if failure is None:  # else what really failed would be hidden
                problem = f"what a fault did could not be undone: {error}; run it again"
                raise LiveRunFailed("live run", problem) from error

    def inject(self, tasks: asyncio.TaskGroup, callers: str) -> None:
        """Begin to let the scenario's faults happen. `callers` is what they call the callers."""
        self._group = tasks
        for fault in self._scenario.faults:
            if (injection := fault.inject_live(self)) is not None:
                self.begin(injection)
                if self._scenario.callers is not None and fault.hits(callers, self._scenario):
                    self._of_callers.append(self.tasks[-1])

    @property
    def longest_s(self) -> float:
        """The longest time that a fault at the server lasts."""
        at_server = [fault for fault in self._scenario.faults if fault.needs == "private server"]
        return max((fault.until_s - fault.at_s for fault in at_server), default=0.0)

    @property
    def callers_come_back(self) -> bool:
        """Whether a caller that is dead may come back, and then wait for replies."""
        return not all(fault.done() for fault in self._of_callers)

    def consumers(self, service: str) -> range:
        return range(self.wanted[service])

    @property
    def now_s(self) -> float:
        """Seconds since the load began."""
        return time.monotonic() - self.t0

    @property
    def is_cut_off(self) -> bool:
        """Whether a fault at the network keeps everything from the server."""
        return self._network.away or self._network.silent

    async def sleep_until(self, at_s: float) -> None:
        await asyncio.sleep(max(0.0, self.t0 + at_s - time.monotonic()))

    async def kill(self, service: str, *consumers: int) -> None:
        await asyncio.gather(*(self._pool.kill(f"{service} {consumer}") for consumer in consumers))

    async def start(self, service: str, *consumers: int, after_s: float = 0.0) -> None:
        await asyncio.sleep(after_s)
        chosen = consumers or self.consumers(service)
        dead = [one for one in chosen if self._is_wanted(service, one) and not self._pool.runs(f"{service} {one}")]
        await self._pool.ready([self._start(service, consumer) for consumer in dead])

    def _is_wanted(self, service: str, consumer: int) -> bool:
        """Whether a service is to have a consumer of this index. A caller is always wanted."""
        return consumer < self.wanted.get(service, consumer + 1)

    async def signal(self, service: str, signal: Signals, *consumers: int) -> None:
        await asyncio.gather(*(self._pool.signal(f"{service} {consumer}", signal) for consumer in consumers))

    async def death(self, service: str) -> int:
        return await self._pool.death(service)

    def begin(self, what: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(self._group.create_task(what))

    def note(self, kind: str, service: str = "", *consumers: int) -> None:
        for consumer in consumers or (-1,):
            self._note(kind, service, consumer)

    def set_network(self, network: Network, noted: str = "") -> None:
        assert self.proxy is not None, "a fault that needs the proxy says so"
        self._network = network
        self._pool.order(self.proxy, {"network": asdict(network), "noted": noted})

    # A fault is cancelled when the run is over. What it does to the server is finished even then: two calls at once
    # would mix up their answers.

    async def stop_server(self) -> None:
        self._server_stands = True
        await finished(asyncio.to_thread(self._own_server.stop))

    async def start_server(self, *, with_data: bool) -> None:
        if not with_data:
            await finished(asyncio.to_thread(self._own_server.delete_data))
        await finished(asyncio.to_thread(self._own_server.start))
        self._server_stands = False

    async def fill_server(self, *, full: bool) -> None:
        self._server_is_full = True  # until it is known that it is not
        await finished(asyncio.to_thread(self._own_server.set_full, full))
        self._server_is_full = full

    async def _mend(self) -> None:
        """Let server and network work again. Each is tried, even if another one fails."""
        async with AsyncExitStack() as last_first:
            if self._server_is_full:
                last_first.push_async_callback(self.fill_server, full=False)
            if self._server_stands:
                last_first.push_async_callback(self.start_server, with_data=True)
            if self.proxy is not None:
                last_first.callback(self.set_network, WORKS)

    @property
    def _own_server(self) -> PrivateServer:
        assert self._server is not None, "a fault that needs a private server says so"
        return self._server
