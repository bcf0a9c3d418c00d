"""run_live(): the scenario for real. Every consumer is a process of its own on the real eventlib and a real Redis.

The load is sent open-loop by its own process. A kill is SIGKILL. What the processes note becomes the history.
"""

import asyncio
import contextlib
import json
import os
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from signal import Signals
from typing import Any, cast

import numpy as np

from eventlib import App, Backlog, BrokerError, BrokerUnavailable, Bus, connect, private_server
from sim.declare.scenario import Progress, Scenario
from sim.errors import InvalidScenario, LiveRunFailed
from sim.evidence.history import KIND, ROW, SAMPLE_EVERY_S, History, Left, Rows, Run, sorted_rows
from sim.worlds.fork_server import first_of
from sim.worlds.worker import Job

_HEADSTART_S = 0.2  # between the order to go and time 0: all have heard it by then
_START_S = 30.0  # longest wait for the processes to be ready
_SILENCE_S = 5.0  # longest time a server may not answer in the middle of a run
_STOP_S = 10.0  # longest wait for them to end when told to


async def run_live(
    scenario: Scenario,
    seeds: Iterable[int],
    *,
    repeats: int = 2,
    url: str | None = None,
    progress: Progress | None = None,
) -> History:
    """Run the scenario live, `repeats` times for each seed, one run after another.

    Repeats of one seed have the same arrivals, service times and failures: what differs between them is the noise
    floor of this machine. `url` defaults to REDIS_URL, and without that to a private server for the length of the
    call. Every run has keys of its own and deletes them. `progress` is called as time goes by.

    Raises:
        InvalidTrace: the load's trace is missing or broken.
        InvalidScenario: there are no seeds, or no repeats.
        BrokerError: the server is unreachable, refuses us or lacks a command.
        LiveRunFailed: a process of the run failed.
    """
    seeds = list(seeds)
    order = [(seed, repeat) for repeat in range(repeats) for seed in seeds]
    if not order:
        raise InvalidScenario("seeds", "there are none; give at least one, such as range(3), and repeats=1 or more")
    scenario.plan(order[0][0])  # a broken trace shows here, before anything is started
    runs: list[Run] = []
    rows: list[Rows] = []
    with server_at(url) as address:
        async with _crew() as crew:
            for index, (seed, repeat) in enumerate(order):
                with tempfile.TemporaryDirectory(prefix="workbench-run-") as directory:
                    live = _LiveRun(scenario, seed, address, crew, Path(directory))
                    server, ended_s, left = await live.run(_share(progress, index, len(order)))
                    runs.append(Run(seed, repeat, ended_s, left))
                    rows.append(live.rows(index))
    return History("live", scenario, server, tuple(runs), np.concatenate(rows))


@contextmanager
def server_at(url: str | None) -> Iterator[str]:
    """The URL of the Redis that was named, here or as REDIS_URL; or of a private one for the length of the block."""
    if address := url or os.environ.get("REDIS_URL"):
        yield address
    else:
        with private_server() as server:
            yield server.url


def _share(progress: Progress | None, index: int, of: int) -> Progress:
    """The progress of one of several runs."""
    return lambda share: progress((index + min(1.0, share)) / of) if progress else None


class _LiveRun:
    """One run: its processes, its clock, its keys and the files that its processes write."""

    def __init__(self, scenario: Scenario, seed: int, url: str, crew: "_Crew", directory: Path) -> None:
        self._scenario = scenario
        self._crew = crew
        self._directory = directory
        self._t0 = float("nan")
        self._own_rows: list[tuple[float, int, int, int, float]] = []  # t_s, kind, service, consumer, value
        self._job = Job(
            "generator", scenario.model_dump_json(by_alias=True), seed, url, f"wb-{secrets.token_hex(6)}", ""
        )

    async def run(self, progress: Progress) -> tuple[str, float, dict[str, Left]]:
        """Product and version of the server, when all was settled, and what each service had left."""
        async with connect(App("workbench"), self._job.url, namespace=self._job.namespace) as bus:
            try:
                async with asyncio.TaskGroup() as tasks:
                    side = [tasks.create_task(self._crew.fail_with_members())]
                    generator = await self._start_all()
                    strikes = (fault.strike_live(self) for fault in self._scenario.faults)
                    side += [tasks.create_task(strike) for strike in strikes if strike is not None]
                    side.append(tasks.create_task(self._sample(bus)))
                    ended_s = await self._until_settled(bus, generator, progress)
                    for task in side:
                        task.cancel()
                await self._crew.stop_all()
                left = {name: await self._left(bus, name) for name in self._scenario.services}
                return str(bus.server), ended_s, left
            except BaseExceptionGroup as failures:
                raise first_of(failures) from None
            finally:
                await self._crew.kill_all()
                with contextlib.suppress(BrokerError):  # or what really failed would be hidden
                    await bus.delete_all()

    async def _start_all(self) -> "_Member":
        """Start consumers, then the generator; set time 0 when all are ready."""
        members = [
            self._start(f"{name} {index}", service=name, consumer=index)
            for name, service in self._scenario.services.items()
            for index in range(service.consumers)
        ]
        members.append(generator := self._start("generator"))
        try:
            async with asyncio.timeout(_START_S):
                for member in members:
                    await member.ready.wait()
        except TimeoutError:
            raise LiveRunFailed("live run", f"its processes were not ready after {_START_S:.0f} s") from None
        self._t0 = time.monotonic() + _HEADSTART_S
        for member in members:
            self._crew.order(member, {"go": self._t0})
        return generator

    def _start(self, name: str, *, service: str = "", consumer: int = -1, t0: float | None = None) -> "_Member":
        job = asdict(self._job) | {"service": service, "consumer": consumer, "t0": t0}
        job["role"] = "consumer" if service else "generator"
        job["records"] = str(self._directory / f"{len(self._crew.members)}.rows")
        return self._crew.start(name, job)

    # What a fault may do: `sim.declare.faults.worlds.LiveWorld`

    async def sleep_until(self, at_s: float) -> None:
        await asyncio.sleep(max(0.0, self._t0 + at_s - time.monotonic()))

    async def kill(self, service: str, consumer: int) -> None:
        await self._crew.kill(f"{service} {consumer}")

    async def start(self, service: str, consumer: int) -> None:
        member = self._start(f"{service} {consumer}", service=service, consumer=consumer, t0=self._t0)
        await member.ready.wait()

    async def signal(self, service: str, consumer: int, signal: Signals) -> None:
        await self._crew.signal(f"{service} {consumer}", signal)

    def note(self, kind: str, service: str, consumer: int) -> None:
        self._note(kind, service, consumer)

    async def _sample(self, bus: Bus) -> None:
        tick, heard_at = 0, time.monotonic()
        while True:
            await self.sleep_until(tick * SAMPLE_EVERY_S)
            try:
                for name in self._scenario.services:
                    self._note("sampled", name, -1, float((await self._backlog(bus, name)).total))
                heard_at = time.monotonic()
            except BrokerUnavailable:  # no sample, then; but a server that stays away ends the run
                if time.monotonic() - heard_at > _SILENCE_S:
                    raise
            tick = max(tick + 1, int((time.monotonic() - self._t0) / SAMPLE_EVERY_S))

    async def _until_settled(self, bus: Bus, generator: "_Member", progress: Progress) -> float:
        """Until the load is sent and every group is done, or the drain is over; seconds since time 0."""
        length_s = self._scenario.offered_load.duration_s
        while (now_s := time.monotonic() - self._t0) < length_s + self._scenario.drain_s:
            progress(max(0.0, now_s / (length_s + 0.5)))
            if generator.done.is_set() and await self._is_settled(bus):
                return time.monotonic() - self._t0
            await asyncio.sleep(SAMPLE_EVERY_S / 4)
        return now_s

    async def _is_settled(self, bus: Bus) -> bool:
        # Upstream first: a service publishes before it acks, so what leaves one backlog is in the next one already.
        try:
            for name in self._scenario.flow.offsets:
                if (await self._backlog(bus, name)).total:
                    return False
        except BrokerUnavailable:
            return False  # nobody knows; the drain's end bounds the asking
        return True

    async def _left(self, bus: Bus, service: str) -> Left:
        seen = await self._backlog(bus, service)
        return Left(seen.waiting, seen.pending, seen.retrying, seen.delayed, seen.dead)

    async def _backlog(self, bus: Bus, service: str) -> Backlog:
        return await bus.backlog(self._scenario.services[service].consumes, service)

    def _note(self, kind: str, service: str, consumer: int, value: float = np.nan) -> None:
        code = list(self._scenario.services).index(service)
        self._own_rows.append((time.monotonic(), KIND[kind], code, consumer, value))

    def rows(self, run: int) -> Rows:
        """All that was noted, times relative to time 0."""
        own = np.zeros(len(self._own_rows), ROW)
        own["event"], own["message"], own["intended_s"] = -1, -1, np.nan
        for column, values in zip(
            ("t_s", "kind", "service", "consumer", "value"), zip(*self._own_rows, strict=True), strict=False
        ):
            own[column] = values
        rows = np.concatenate((own, *(_read(file) for file in sorted(self._directory.glob("*.rows")))))
        rows["t_s"] -= self._t0
        rows["run"] = run
        return sorted_rows(rows)


def _read(file: Path) -> Rows:
    """The whole rows of a file; a process killed in the middle of a write may have left part of one."""
    written = file.read_bytes()
    return np.frombuffer(written[: len(written) // ROW.itemsize * ROW.itemsize], ROW)


@dataclass(eq=False)
class _Member:
    """One process of a run, as its owner sees it."""

    name: str
    pid: int | None = None
    expected_to_end: bool = False
    started: asyncio.Event = field(default_factory=asyncio.Event)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    done: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def _crew() -> AsyncIterator["_Crew"]:
    """A crew process, and its end."""
    with tempfile.TemporaryFile() as words:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sim.worlds.fork_server"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=words,
            start_new_session=True,  # Ctrl-C reaches the owner alone, who ends the run in order
        )
        crew = _Crew(process)
        listening = asyncio.create_task(crew.listen())
        try:
            yield crew
        finally:
            cast(asyncio.StreamWriter, process.stdin).close()
            await process.wait()
            await listening


class _Crew:
    """The owner's side of a crew process: who is there, and what they said."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._failure: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._current: dict[str, _Member] = {}
        self.members: list[_Member] = []
        self._gone = False

    def start(self, name: str, job: Mapping[str, Any]) -> _Member:
        member = _Member(f"{name}#{len(self.members)}")
        self.members.append(member)
        self._current[name] = member
        if self._gone:
            member.started.set()
            member.ended.set()
        self._send({"start": member.name, "job": job})
        return member

    def order(self, member: _Member, order: Mapping[str, Any]) -> None:
        self._send({"to": member.name, "order": order})

    def _send(self, message: Mapping[str, Any]) -> None:
        stdin = cast(asyncio.StreamWriter, self._process.stdin)
        if not stdin.is_closing():
            stdin.write(json.dumps(message).encode() + b"\n")

    async def listen(self) -> None:
        """Until the crew ends."""
        stdout = cast(asyncio.StreamReader, self._process.stdout)
        while line := await stdout.readline():
            report = json.loads(line)
            member = next(member for member in self.members if member.name == report["name"])
            if "started" in report:
                member.pid = report["started"]
                member.started.set()
            elif "failed" in report:
                self._fail(f"{member.name.partition('#')[0]} failed: {report['failed']}")
            elif "ended" in report:
                member.ended.set()
                if not member.expected_to_end:
                    self._fail(f"{member.name.partition('#')[0]} ended unasked with status {report['ended']}")
            else:
                (member.ready if "ready" in report else member.done).set()
        self._gone = True
        self._fail("the crew ended unasked")
        for member in self.members:
            member.started.set()
            member.ended.set()

    def _fail(self, why: str) -> None:
        if not self._failure.done():
            self._failure.set_result(why)

    async def fail_with_members(self) -> None:
        """Raise as soon as a process fails, or ends that nobody ended."""
        raise LiveRunFailed("live run", await asyncio.shield(self._failure))

    async def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to the process of this name."""
        member = self._current[name]
        await member.started.wait()
        if not member.ended.is_set() and member.pid is not None:
            os.kill(member.pid, number)

    async def kill(self, name: str) -> None:
        """SIGKILL, and wait for the end."""
        member = self._current[name]
        await member.started.wait()
        member.expected_to_end = True
        if not member.ended.is_set() and member.pid is not None:
            os.kill(member.pid, signal.SIGKILL)
        await member.ended.wait()

    async def stop_all(self) -> None:
        """Tell every process to finish and end; raises where one does not, or fails doing so."""
        running = [member for member in self.members if not member.ended.is_set()]
        for member in running:
            member.expected_to_end = True
            self.order(member, {"stop": True})
        try:
            async with asyncio.timeout(_STOP_S):
                for member in running:
                    await member.ended.wait()
        except TimeoutError:
            late = [member.name.partition("#")[0] for member in running if not member.ended.is_set()]
            problem = f"{', '.join(late)} did not end when told to; is the server still writable?"
            raise LiveRunFailed("live run", problem) from None
        if self._failure.done():
            raise LiveRunFailed("live run", self._failure.result())

    async def kill_all(self) -> None:
        for name in list(self._current):
            await self.kill(name)
        self._current.clear()
