"""run_live(): the scenario for real. Every consumer is a process of its own on the real eventlib and a real Redis.

A process of its own sends the load, open-loop; where the load is requests, its callers do. What faults do is done to
these processes, with signals. What all of them note becomes the history.
"""

import asyncio
import contextlib
import math
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from eventlib import App, BrokerError, BrokerUnavailable, Bus, Settings, connect, load_settings, private_server
from eventlib.testing import PrivateServer, proxy_url, server_cpu_s
from sim.declare.callers import CALLERS
from sim.declare.order import run_order
from sim.declare.scenario import Progress, Scenario
from sim.environment import machine, now, versions
from sim.errors import InvalidScenario, LiveRunFailed, first_of
from sim.evidence.history import KIND, ROW, History, Left, Rows, Run, sorted_rows
from sim.evidence.recovery import left_over
from sim.progress import shown
from sim.worlds.describing import described
from sim.worlds.injecting import LiveFaults
from sim.worlds.process_pool import PoolProcess, ProcessPool, process_pool
from sim.worlds.sagas import ends_of, left_of
from sim.worlds.scaling import LiveScaling
from sim.worlds.worker import Job

_HEADSTART_S = 0.2  # between the order to go and time 0: by then, all processes have the order
_LOOK_S = 0.025  # how often it is asked whether all is done
_PROXY = "proxy.sock"  # beside what the processes of a run note
_SILENCE_S = 5.0  # longest time that a server may not answer in the middle of a run


async def run_live(
    scenario: Scenario,
    seeds: Iterable[int],
    *,
    repeats: int = 2,
    url: str | None = None,
    progress: Progress | None = None,
) -> History:
    """Run the scenario live, `repeats` times for each seed, one run after another.

    Repeats of one seed have the same arrivals, service times and failures. What differs between them is the noise
    of this machine. `url` defaults to REDIS_URL, and without that to a private server for the length of the call.
    Every run has keys of its own and deletes them. `progress` is called again and again while time passes; a notebook
    shows a bar where there is none.

    Raises:
        InvalidTrace: the load's trace is missing or broken.
        InvalidScenario: there are no seeds, or no repeats, or too many rows would be recorded.
        BrokerError: the server is unreachable, refuses the login or lacks a command.
        LiveRunFailed: a process of the run failed, or what happened could not be written down.
    """
    order = run_order(seeds, repeats)
    plan = scenario.plan(order[0][0])  # a broken trace shows here, before anything is started
    scenario.check_size(len(order), events=plan.arrivals_s.size)
    runs: list[Run] = []
    rows: list[Rows] = []
    with server_at(url) as address, shown(progress, f"running {scenario.name} live") as advance:
        refuse_impossible(scenario, address)
        async with process_pool() as pool:
            with _directory() as directory:
                scenario = await described(scenario, pool, directory)
            for index, (seed, repeat) in enumerate(order):
                with _directory() as directory:
                    live = _LiveRun(scenario, seed, address, pool, directory)
                    server, ended_s, left = await live.run(_share(advance, index, len(order)))
                    runs.append(Run(seed, repeat, ended_s, left))
                    rows.append(live.rows(index))
    about = {"date": now(), **machine(), **versions()}
    return History("live", scenario, server, tuple(runs), np.concatenate(rows), environment=about)


def refuse_impossible(scenario: Scenario, url: str) -> None:
    """Refuse faults that cannot happen at this server.

    Raises:
        InvalidScenario: it has some.
    """
    for fault in scenario.faults:
        if fault.needs == "private server" and PrivateServer.of_this_process(url) is None:
            problem = (
                f"{fault.label}: only a server of the run's own is stopped or filled; leave out REDIS_URL and --url"
            )
            raise InvalidScenario("faults", problem)
        if fault.needs == "proxy" and url.startswith("rediss:"):
            raise InvalidScenario("faults", f"{fault.label}: the proxy passes no TLS on; use a server without it")


async def check_apps(scenario: Scenario) -> None:
    """Import the Apps of a scenario, and see whether they are those that were learned.

    Raises:
        InvalidScenario: an App cannot be used, or its code or its settings have changed since it was learned.
        LiveRunFailed: the processes could not be started.
    """
    async with process_pool() as pool:
        with _directory() as directory:
            await described(scenario, pool, directory)


@contextmanager
def _directory() -> Iterator[Path]:
    """A directory for what the processes of a run note."""
    try:
        directory = tempfile.mkdtemp(prefix="workbench-run-")
    except OSError as error:
        problem = f"there is no directory to write to: {error.strerror or error}; name one by TMPDIR"
        raise LiveRunFailed("evidence", problem) from error
    try:
        yield Path(directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def server_at(url: str | None) -> Iterator[str]:
    """The URL of the Redis that was named, here or as REDIS_URL; or of a private one for the length of the block."""
    if address := url or load_settings().redis.address():
        yield address
    else:
        with private_server() as server:
            yield server.url


async def product_at(url: str) -> str:
    """Product and version of a server, such as `Redis 8.2.3`.

    Raises:
        BrokerError: the server is unreachable, refuses the login or lacks a command.
    """
    async with connect(App("workbench"), url) as bus:
        return str(bus.server)


def _share(progress: Progress, index: int, of: int) -> Progress:
    """The progress of one of several runs."""
    return lambda share: progress((index + min(1.0, share)) / of)


class _LiveRun:
    """One run: its processes, its clock, its keys and the files that its processes write."""

    def __init__(self, scenario: Scenario, seed: int, url: str, pool: ProcessPool, directory: Path) -> None:
        self._scenario = scenario
        self._url = url
        self._pool = pool
        self._directory = directory
        self._files: dict[Path, PoolProcess] = {}
        self._senders: dict[str, PoolProcess] = {}  # those who send the load, by name: the generator, or the callers
        self._talked_to: list[PoolProcess] = []  # the proxy and the dependencies
        self._t0 = float("nan")
        self._ends: list[tuple[float, ...]] = []  # rows of sagas
        self._own_rows: list[tuple[float, int, int, int, float]] = []  # t_s, kind, service, consumer, value
        self._faults = LiveFaults(scenario, pool, self._replace, self._note, PrivateServer.of_this_process(url))
        way = proxy_url(url, directory / _PROXY) if self._through_proxy else url
        self._job = Job(
            "generator", scenario.model_dump_json(by_alias=True), seed, way, f"wb-{secrets.token_hex(6)}", ""
        )

    @property
    def _through_proxy(self) -> bool:
        return any(fault.needs == "proxy" for fault in self._scenario.faults)

    async def run(self, progress: Progress) -> tuple[str, float, dict[str, Left]]:
        """Product and version of the server, when all was settled, and what each service had left."""
        async with connect(App("workbench"), self._url, namespace=self._job.namespace, settings=Settings()) as bus:
            try:
                async with self._faults, asyncio.TaskGroup() as tasks:
                    side = [tasks.create_task(self._pool.fail_with_processes())]
                    await self._start_all()
                    self._faults.inject(tasks, CALLERS)
                    self._scaling(bus).begin()
                    side.append(tasks.create_task(self._sample(bus)))
                    ended_s = await self._until_settled(bus, progress)
                    for task in (*side, *self._faults.tasks):
                        task.cancel()
                    await self._note_server_cpu()
                await self._pool.stop_all(self._talked_to)
                left = {name: await self._left(bus, name) for name in self._scenario.services}
                await self._note_ends_of_sagas(bus, left)
                return str(bus.server), ended_s, left
            except BaseExceptionGroup as failures:
                raise first_of(failures) from None
            finally:
                with contextlib.suppress(LiveRunFailed):  # or what really failed would be hidden
                    await self._pool.kill_all()
                with contextlib.suppress(BrokerError):
                    await bus.delete_all()

    def rows(self, run: int) -> Rows:
        """All that was noted, times relative to time 0."""
        own = np.zeros(len(self._own_rows), ROW)
        own["event"], own["message"], own["intended_s"] = -1, -1, np.nan
        for column, values in zip(
            ("t_s", "kind", "service", "consumer", "value"), zip(*self._own_rows, strict=True), strict=False
        ):
            own[column] = values
        rows = np.concatenate((own, np.array(self._ends, ROW), *(_read(file) for file in self._written())))
        rows["t_s"] -= self._t0
        _number_dispatches(rows)
        rows["run"] = run
        return sorted_rows(rows)

    def _written(self) -> Iterator[Path]:
        """The files of all processes that took part. One that ended while it started may have none."""
        for file, process in self._files.items():
            if process.ready.is_set() or file.exists():
                yield file

    async def _start_all(self) -> None:
        """Start consumers, then those who send the load; set time 0 when all are ready."""
        await self._start_what_others_talk_to()
        processes = [
            self._start(name, index)
            for name, service in self._scenario.services.items()
            for index in range(service.consumers_first)
        ]
        if self._scenario.callers is None:
            processes.append(self._start("generator", -1))
        else:
            processes += [self._start(CALLERS, index) for index in range(self._scenario.callers.processes)]
        await self._pool.ready(processes)
        self._t0 = self._faults.t0 = time.monotonic() + _HEADSTART_S
        for process in (*processes, *self._talked_to):
            self._pool.order(process, {"go": self._t0})
        for name, service in self._scenario.services.items():
            if service.autoscale is not None:
                self._note("scaled", name, -1, float(service.consumers_first), at_s=self._t0)
        await self._note_server_cpu()

    async def _start_what_others_talk_to(self) -> None:
        """Start the proxy and the dependencies, where there are any: they are told to stop when the others have."""
        job = asdict(self._job)
        if self._through_proxy:
            file = self._directory / "proxy.rows"
            own = {"role": "proxy", "url": self._url, "listens": str(self._directory / _PROXY), "records": str(file)}
            self._files[file] = self._faults.proxy = self._pool.start("proxy", job | own)
            self._talked_to.append(self._faults.proxy)
        for number, name in enumerate(self._scenario.dependencies):
            file = self._directory / f"dependency-{number}.rows"
            of_it = {"role": "dependency", "service": name, "consumer": number, "records": str(file)}
            self._files[file] = dependency = self._pool.start(f"dependency {name}", job | of_it)
            self._talked_to.append(dependency)
        await self._pool.ready(self._talked_to)

    def _replace(self, role: str, index: int) -> PoolProcess:
        """Start a process in the place of a dead one."""
        return self._start(role, index, self._t0)

    def _start(self, role: str, index: int, t0: float | None = None) -> PoolProcess:
        """Start a process: a consumer, where `role` is its service; a caller; or the generator."""
        name, file = role if index < 0 else f"{role} {index}", self._directory / f"{self._pool.started}.rows"
        job = asdict(self._job) | {"consumer": index, "t0": t0, "records": str(file)}
        if role in self._scenario.services:
            job |= {"role": "consumer", "service": role}
        elif role == CALLERS:
            job |= {"role": "caller", "earlier": [str(file) for file, one in self._files.items() if one.name == name]}
        process = self._files[file] = self._pool.start(name, job)
        if not job["service"]:
            self._senders[name] = process
        return process

    def _scaling(self, bus: Bus) -> LiveScaling:
        async def backlog(name: str) -> int:
            return left_over(await self._left(bus, name))

        return LiveScaling(self._scenario, self._pool, self._faults, self._replace, self._note, backlog)

    async def _sample(self, bus: Bus) -> None:
        tick, heard_at, every_s = 0, time.monotonic(), self._scenario.sample_every_s
        while True:
            await self._faults.sleep_until(tick * every_s)
            try:
                for name in self._scenario.services:
                    self._note("sampled", name, -1, float(left_over(await self._left(bus, name))))
                heard_at = time.monotonic()
            except BrokerUnavailable:  # then there is no sample; a server that stays away ends the run
                if time.monotonic() - heard_at > _SILENCE_S + self._faults.longest_s:
                    raise
            tick = max(tick + 1, int((time.monotonic() - self._t0) / every_s))

    async def _until_settled(self, bus: Bus, progress: Progress) -> float:
        """Until the load is sent and every group is done, or the drain is over; seconds since time 0."""
        length_s = self._scenario.offered_load.duration_s
        while (now_s := time.monotonic() - self._t0) < length_s + self._scenario.drain_s:
            progress(max(0.0, now_s / (length_s + 0.5)))
            if self._load_is_over() and await self._is_settled(bus):
                return time.monotonic() - self._t0
            await asyncio.sleep(_LOOK_S)
        return now_s

    def _load_is_over(self) -> bool:
        """Whether all is sent, and no caller waits for a reply. A killed one that comes back will wait for some."""
        sent = all(sender.done.is_set() or sender.ended.is_set() for sender in self._senders.values())
        return sent and not self._faults.callers_come_back

    async def _is_settled(self, bus: Bus) -> bool:
        # Upstream first: a service publishes before it acks, so what leaves one backlog is in the next one already.
        try:
            for name in self._scenario.flow.emitted_by:
                if left_over(await self._left(bus, name)):
                    return False
        except BrokerUnavailable:
            return False  # not known; it is asked again until the drain is over
        return True

    async def _left(self, bus: Bus, service: str) -> Left:
        declared = self._scenario.services[service]
        if declared.saga is not None:
            return await left_of(bus, service)
        if declared.queue is not None:
            queue = await bus.queue_health(service)
            waiting = sum(queue.waiting.values()) + queue.blocked
            return Left(waiting, queue.running, 0, queue.delayed, queue.dead)
        stream = declared.wire.stream if declared.wire else declared.consumes
        seen = await bus.backlog(stream, declared.group or service)
        return Left(seen.waiting + seen.parked, seen.pending, seen.retrying, seen.delayed, seen.dead)

    async def _note_ends_of_sagas(self, bus: Bus, left: dict[str, Left]) -> None:
        """Note how each saga has ended: Redis knows, and a worker that was killed just then has not noted it."""
        for name in self._scenario.services:
            if self._scenario.services[name].saga is None:
                continue
            ends = await ends_of(bus, name)
            left[name] = replace(left[name], dead=sum(status == "parked" for _, status, _, _ in ends))
            code = list(self._scenario.services).index(name)
            event = list(self._scenario.flow.paths).index(self._scenario.services[name].consumes)
            for at_s, status, message, intended_s in ends:
                for kind in (status, *(("dead",) if status == "parked" else ("handled", "acked"))):
                    self._ends.append((0, at_s, KIND[kind], code, -1, event, message, 1, intended_s, np.nan))

    async def _note_server_cpu(self) -> None:
        if not math.isnan(used_s := await server_cpu_s(self._url)):
            self._note("server_cpu", "", -1, used_s)

    def _note(
        self, kind: str, service: str, consumer: int, value: float = np.nan, *, at_s: float | None = None
    ) -> None:
        code = list(self._scenario.services).index(service) if service in self._scenario.services else -1
        self._own_rows.append((time.monotonic() if at_s is None else at_s, KIND[kind], code, consumer, value))


def _number_dispatches(rows: Rows) -> None:
    """Number the dispatches of each queue from 0. Until then, `value` has numbers that only put them in order."""
    started = (rows["kind"] == KIND["started"]) & ~np.isnan(rows["value"])
    for service in np.unique(rows["service"][started]):
        of_queue = started & (rows["service"] == service)
        rows["value"][of_queue] = np.unique(rows["value"][of_queue], return_inverse=True)[1]


def _read(file: Path) -> Rows:
    """The whole rows of a file; a process killed in the middle of a write may have left part of one."""
    try:
        written = file.read_bytes()
    except OSError as error:
        raise LiveRunFailed("evidence", f"{file} cannot be read: {error.strerror}; run it again") from error
    return np.frombuffer(written[: len(written) // ROW.itemsize * ROW.itemsize], ROW)
