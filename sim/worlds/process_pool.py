"""The processes of live runs, as their owner sees them: started, told, killed and stopped through a fork server."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from signal import Signals
from typing import Any, cast

import eventlib
from sim.errors import LiveRunFailed

_START_S = 30.0  # longest wait for processes to be ready
_STOP_S = 10.0  # longest wait for processes to start or end when told to
_LAST_WORDS_S = 1.0  # longest wait for what a dead process has printed
_WORDS_MAX = 4096  # bytes of it that are kept
_SHOWN_MAX = 600  # letters of it that are shown
_PROGRAM = Path(__file__).with_name("start_fork_server.py")
_NO_START = "its processes could not be started"
# A process that forks should have no threads, and numerical libraries start one for each core.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_LOOK_S = 0.1  # how often the owner looks whether the fork server still runs


@dataclass(eq=False)
class PoolProcess:
    """One process of a run. Its events are set when it has started, is ready, is done and has ended."""

    name: str
    number: int  # of all that the pool has started; no two processes have one
    pid: int | None = None
    expected_to_end: bool = False
    dies: bool = False  # a poison message ends it
    failure: str | None = None  # what it failed with, in its own words
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
    """A pool with a fork server of its own, for the length of the block.

    Raises:
        LiveRunFailed: the fork server could not be started.
    """
    try:
        ours, theirs = socket.socketpair()
    except OSError as error:
        raise LiveRunFailed("live run", f"{_NO_START}: {error.strerror}") from error
    with ours, theirs:
        reader, writer = await asyncio.open_connection(sock=ours)
        try:
            server = await _start_server(theirs.fileno())
            theirs.close()
            pool = ProcessPool(server, reader, writer)
            async with _attended(server, pool):
                yield pool
        finally:
            writer.transport.abort()  # nothing that is still to be sent matters


@asynccontextmanager
async def _attended(server: asyncio.subprocess.Process, pool: "ProcessPool") -> AsyncIterator[None]:
    """Hear what the fork server says and does. At the end of the block it and its children end."""
    sides = [asyncio.create_task(side) for side in (pool.hear(), pool.listen(), pool.wake_at_end())]
    try:
        yield
    finally:
        pool.close()
        if not await _done({asyncio.ensure_future(server.wait())}):
            server.kill()  # it hangs; its children end with it
        if not await _done(set(sides)):
            pool.send_all(signal.SIGKILL)


async def _done(tasks: set[asyncio.Future[Any]]) -> bool:
    """Wait for tasks, but not for ever; whether all are done. What is not is cancelled."""
    _, late = await asyncio.wait(tasks, timeout=_STOP_S)
    for task in late:
        task.cancel()
    return not late


async def _start_server(channel: int) -> asyncio.subprocess.Process:
    """A fork server at the other end of the channel."""
    try:
        return await asyncio.create_subprocess_exec(
            *_command(channel),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            pass_fds=(channel,),
            cwd=None if _has_directory() else "/",
            env=os.environ | dict.fromkeys(_THREADS, "1"),
            start_new_session=True,  # Ctrl-C reaches the owner alone, who ends the run in order
        )
    except OSError as error:
        raise LiveRunFailed("live run", f"{_NO_START}: {error.strerror}") from error


def _command(channel: int) -> list[str]:
    """How to start a fork server that imports what this process does, and not what lies about where it runs."""
    if _has_directory():
        folders = {os.getcwd()} | ({os.path.abspath(sys.path[0])} if sys.path and not sys.flags.safe_path else set())
        path = [place for place in map(os.path.abspath, sys.path) if place not in folders]
    else:
        path = [place for place in sys.path if os.path.isabs(place)]
    packages = {"eventlib": str(eventlib.__file__), "sim": str(Path(__file__).parents[1] / "__init__.py")}
    options = ["-I", *(["-B"] if sys.dont_write_bytecode else [])]
    if sys.pycache_prefix:
        options += ["-X", f"pycache_prefix={sys.pycache_prefix}"]
    return [sys.executable, *options, str(_PROGRAM), json.dumps([channel, path, packages])]


def _has_directory() -> bool:
    """Whether the current directory is still there."""
    try:
        os.getcwd()
    except OSError:
        return False
    return True


class ProcessPool:
    """Starts processes and knows which of them run. A process takes the place of an earlier one of the same name."""

    def __init__(
        self, server: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer
        self._processes: list[PoolProcess] = []
        self._current: dict[str, PoolProcess] = {}
        self._deaths: dict[str, asyncio.Queue[int]] = defaultdict(asyncio.Queue)  # by role: what follows in the name
        self._failure: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._closed = False
        self._heard = b""  # the last that the processes printed
        self._silent = asyncio.Event()  # nothing more will be printed

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

    def close(self) -> None:
        """Tell the fork server that nothing follows: it kills what still runs, and ends."""
        self._closed = True
        with contextlib.suppress(OSError):  # it has ended already
            self._writer.write_eof()

    def order(self, process: PoolProcess, order: Mapping[str, Any]) -> None:
        """Tell a process something."""
        self._send({"to": process.number, "order": order})

    async def fail_with_processes(self) -> None:
        """Wait for ever; raise LiveRunFailed as soon as a process fails, or ends although it was not told to."""
        raise LiveRunFailed("live run", await asyncio.shield(self._failure))

    async def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to the process of this name, once it has started.

        Raises:
            LiveRunFailed: it does not start in time.
        """
        process = self._current[name]
        await self._within(_STOP_S, {process: process.started}, f"was not started within {_STOP_S:.0f} s")
        process.send(number)

    def runs(self, name: str) -> bool:
        """Whether the process of this name was started and has not ended."""
        return name in self._current and not self._current[name].ended.is_set()

    async def death(self, role: str) -> int:
        """Wait until a process named `role INDEX` has been killed by what it worked on; returns the index."""
        return await self._deaths[role].get()

    async def kill(self, name: str) -> None:
        """Kill the process of this name with SIGKILL; returns when it has ended.

        Raises:
            LiveRunFailed: it does not start, or end, in time.
        """
        process = self._current[name]
        await self._within(_STOP_S, {process: process.started}, f"was not started within {_STOP_S:.0f} s")
        process.expected_to_end = True
        process.send(signal.SIGKILL)
        await self._within(_STOP_S, {process: process.ended}, f"did not end within {_STOP_S:.0f} s of being killed")

    async def stop(self, name: str) -> None:
        """Tell the process of this name to finish; returns when it has ended.

        Raises:
            LiveRunFailed: it does not start, or end, in time.
        """
        process = self._current[name]
        await self._within(_STOP_S, {process: process.started}, f"was not started within {_STOP_S:.0f} s")
        await self._stop([process])

    async def kill_all(self) -> None:
        """Kill whatever runs; returns when all have ended.

        Raises:
            LiveRunFailed: the fork server does not answer any more, so it was killed.
        """
        try:
            for name in list(self._current):
                await self.kill(name)
        except LiveRunFailed:
            self.send_all(signal.SIGKILL)
            if self._server.returncode is None:
                self._server.kill()
            raise
        finally:
            self._current.clear()
            self._deaths.clear()

    async def ready(self, processes: Sequence[PoolProcess]) -> None:
        """Wait until all of these are ready.

        Raises:
            LiveRunFailed: one of them is not ready in time.
        """
        awaited = {process: process.ready for process in processes}
        await self._within(_START_S, awaited, f"was not ready after {_START_S:.0f} s")

    async def _within(self, limit_s: float, awaited: Mapping[PoolProcess, asyncio.Event], problem: str) -> None:
        """Wait for an event of each process. `problem` is what is said of those whose event is late."""
        try:
            async with asyncio.timeout(limit_s):
                for event in awaited.values():
                    await event.wait()
        except TimeoutError:
            late = ", ".join(process.name for process, event in awaited.items() if not event.is_set())
            raise LiveRunFailed("live run", self._said(f"{late} {problem}")) from None

    def send_all(self, number: Signals) -> None:
        """Send a signal to every process that has not ended."""
        for process in self._processes:
            process.send(number)

    async def stop_all(self, last: Sequence[PoolProcess] = ()) -> None:
        """Tell every process to finish, and those of `last` when the others have ended; returns when all have.

        Raises:
            LiveRunFailed: one of them does not end in time, or has failed.
        """
        running = [process for process in self._processes if not process.ended.is_set()]
        await self._stop([process for process in running if process not in last])
        await self._stop([process for process in running if process in last])
        if self._failure.done():
            raise LiveRunFailed("live run", self._failure.result())

    async def _stop(self, running: Sequence[PoolProcess]) -> None:
        for process in running:
            process.expected_to_end = True
            process.send(signal.SIGCONT)  # a suspended process would not hear the order
            self.order(process, {"stop": True})
        awaited = {process: process.ended for process in running}
        await self._within(
            _STOP_S, awaited, "did not end when told to; does a handler block its event loop, or is the server full?"
        )

    async def wake_at_end(self) -> None:
        """Wait for the end of the fork server, then wake its children: a suspended one would not see the end."""
        while self._server.returncode is None:  # noqa: ASYNC110 - Process.wait() waits for the children's output too
            await asyncio.sleep(_LOOK_S)
        self.send_all(signal.SIGCONT)

    async def hear(self) -> None:
        """Read what the processes print, and remember the last of it."""
        stdout = cast(asyncio.StreamReader, self._server.stdout)
        try:
            while chunk := await stdout.read(4096):
                self._heard = (self._heard + chunk)[-_WORDS_MAX:]
        finally:
            self._silent.set()

    async def listen(self) -> None:
        """Take the fork server's reports until it and all of its children have ended."""
        try:
            with contextlib.suppress(ConnectionError):
                while line := await self._reader.readline():
                    report = json.loads(line)
                    self._take(self._processes[report["process"]], report)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._silent.wait(), _LAST_WORDS_S)
        except asyncio.CancelledError:
            self.send_all(signal.SIGKILL)
            raise
        finally:  # also where it is cancelled: no report comes any more, so that nothing may wait for one
            self._closed = True
            self._fail(self._said("the fork server ended although it was not told to"))
            for process in self._processes:
                process.started.set()
                process.ended.set()

    def _said(self, problem: str) -> str:
        """The problem, and the last lines that the processes printed."""
        lines = self._heard.decode(errors="replace").split("\n")
        words = " | ".join(line.strip() for line in lines if line.strip())[-_SHOWN_MAX:]
        return f"{problem}; the last words of its processes: {words}" if words else problem

    def _take(self, process: PoolProcess, report: Mapping[str, Any]) -> None:
        if "started" in report:
            process.pid = report["started"]
            process.started.set()
        elif "failed" in report:
            process.failure = report["failed"]
            self._fail(f"{process.name} failed: {report['failed']}")
        elif "ended" in report:
            process.ended.set()
            if process.dies:
                role, _, index = process.name.rpartition(" ")
                self._deaths[role].put_nowait(int(index))
            if not process.expected_to_end:
                problem = f"{process.name} ended although it was not told to, with status {report['ended']}"
                self._fail(self._said(problem))
        elif "dies" in report:
            process.dies = process.expected_to_end = True
        else:
            (process.ready if "ready" in report else process.done).set()

    def _send(self, message: Mapping[str, Any]) -> None:
        if not self._closed:
            self._writer.write(json.dumps(message).encode() + b"\n")

    def _fail(self, why: str) -> None:
        if not self._failure.done():
            self._failure.set_result(why)
