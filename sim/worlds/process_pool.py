"""The processes of live runs, as their owner sees them: started, told, killed and stopped through a fork server."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from sim.errors import LiveRunFailed

_STOP_S = 10.0  # longest wait for processes to end when told to
_LOOK_S = 0.1  # how often the owner looks whether the fork server still runs


@dataclass(eq=False)
class PoolProcess:
    """One process of a run. Its events are set when it has started, is ready, is done and has ended."""

    name: str
    number: int  # of all that the pool has started; no two processes have one
    pid: int | None = None
    expected_to_end: bool = False
    started: asyncio.Event = field(default_factory=asyncio.Event)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    done: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to it, unless it has ended."""
        if self.pid is not None and not self.ended.is_set():
            with contextlib.suppress(ProcessLookupError):  # it has ended, which is not reported yet
                os.kill(self.pid, number)


@asynccontextmanager
async def process_pool() -> AsyncIterator["ProcessPool"]:
    """A pool with a fork server of its own, for the length of the block."""
    with tempfile.TemporaryFile() as words:
        server = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sim.worlds.fork_server"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=words,
            start_new_session=True,  # Ctrl-C reaches the owner alone, who ends the run in order
        )
        pool = ProcessPool(server)
        sides = asyncio.create_task(pool.listen()), asyncio.create_task(pool.wake_at_end())
        try:
            yield pool
        finally:
            cast(asyncio.StreamWriter, server.stdin).close()
            await server.wait()
            await asyncio.gather(*sides)


class ProcessPool:
    """Starts processes and knows which of them run. A process takes the place of an earlier one of the same name."""

    def __init__(self, server: asyncio.subprocess.Process) -> None:
        self._server = server
        self._processes: list[PoolProcess] = []
        self._current: dict[str, PoolProcess] = {}
        self._failure: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._closed = False

    @property
    def started(self) -> int:
        """How many processes were started so far."""
        return len(self._processes)

    def start(self, name: str, job: Mapping[str, Any]) -> PoolProcess:
        """Start a process that does this job."""
        process = PoolProcess(name, len(self._processes))
        self._processes.append(process)
        self._current[name] = process
        if self._closed:
            process.started.set()
            process.ended.set()
        self._send({"start": process.number, "job": job})
        return process

    def order(self, process: PoolProcess, order: Mapping[str, Any]) -> None:
        """Tell a process something."""
        self._send({"to": process.number, "order": order})

    async def fail_with_processes(self) -> None:
        """Wait for ever; raise LiveRunFailed as soon as a process fails, or ends although it was not told to."""
        raise LiveRunFailed("live run", await asyncio.shield(self._failure))

    async def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to the process of this name, once it has started."""
        process = self._current[name]
        await process.started.wait()
        process.send(number)

    async def kill(self, name: str) -> None:
        """Kill the process of this name with SIGKILL; returns when it has ended."""
        process = self._current[name]
        await process.started.wait()
        process.expected_to_end = True
        process.send(signal.SIGKILL)
        await process.ended.wait()

    async def kill_all(self) -> None:
        """Kill whatever runs; returns when all have ended."""
        for name in list(self._current):
            await self.kill(name)
        self._current.clear()

    async def stop_all(self) -> None:
        """Tell every process to finish; returns when all have ended.

        Raises:
            LiveRunFailed: one of them does not end in time, or has failed.
        """
        running = [process for process in self._processes if not process.ended.is_set()]
        for process in running:
            process.expected_to_end = True
            process.send(signal.SIGCONT)  # a suspended process would not hear the order
            self.order(process, {"stop": True})
        try:
            async with asyncio.timeout(_STOP_S):
                for process in running:
                    await process.ended.wait()
        except TimeoutError:
            late = ", ".join(process.name for process in running if not process.ended.is_set())
            problem = f"{late} did not end when told to; is the server still writable?"
            raise LiveRunFailed("live run", problem) from None
        if self._failure.done():
            raise LiveRunFailed("live run", self._failure.result())

    async def wake_at_end(self) -> None:
        """Wait for the end of the fork server, then wake its children: a suspended one would not see the end."""
        stdin = cast(asyncio.StreamWriter, self._server.stdin)
        while not stdin.is_closing():  # noqa: ASYNC110 - a cancelled wait_closed() breaks the transport
            await asyncio.sleep(_LOOK_S)
        for process in self._processes:
            process.send(signal.SIGCONT)

    async def listen(self) -> None:
        """Take the fork server's reports until it and all of its children have ended."""
        stdout = cast(asyncio.StreamReader, self._server.stdout)
        try:
            while line := await stdout.readline():
                report = json.loads(line)
                self._take(self._processes[report["process"]], report)
        except asyncio.CancelledError:
            for process in self._processes:
                process.send(signal.SIGKILL)
            raise
        finally:  # also where it is cancelled: no report comes any more, so that nothing may wait for one
            self._closed = True
            self._fail("the fork server ended although it was not told to")
            for process in self._processes:
                process.started.set()
                process.ended.set()

    def _take(self, process: PoolProcess, report: Mapping[str, Any]) -> None:
        if "started" in report:
            process.pid = report["started"]
            process.started.set()
        elif "failed" in report:
            self._fail(f"{process.name} failed: {report['failed']}")
        elif "ended" in report:
            process.ended.set()
            if not process.expected_to_end:
                self._fail(f"{process.name} ended although it was not told to, with status {report['ended']}")
        else:
            (process.ready if "ready" in report else process.done).set()

    def _send(self, message: Mapping[str, Any]) -> None:
        stdin = cast(asyncio.StreamWriter, self._server.stdin)
        if not stdin.is_closing():
            stdin.write(json.dumps(message).encode() + b"\n")

    def _fail(self, why: str) -> None:
        if not self._failure.done():
            self._failure.set_result(why)
