"""Is an event lost, or handled twice, while a new version of a service replaces the old one under load?

Starts consumer processes of the old version (`workbench run`) and publishes at a constant rate. Then one process after
the other is replaced: a new one is started, and when it is ready, an old one gets SIGTERM, or SIGKILL. Half-way the
publisher changes to a new version of the event, which old consumers cannot read. At the end all that was published is
compared with what was handled. Lag counts from when an event was meant to be published.
"""

import asyncio
import json
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import eventlib as ev
from campaigns import command
from campaigns.rolling_service import GROUP, LEASE_S, STREAM, OrderPlacedV1, OrderPlacedV2
from eventlib.testing import eventually

NAMESPACE = "campaign"
GRACE_S = 30.0
_TOP = Path(__file__).parents[1]
_DRAIN_S = 30.0


@dataclass(frozen=True, slots=True)
class Plan:
    """`consumers` are replaced one by one; the first `kills` of them by SIGKILL. Before and after, it is steady."""

    consumers: int = 4
    rate_per_s: float = 200.0
    steady_s: float = 10.0
    kills: int = 0
    lease_s: float = LEASE_S  # a consumer that stands still for longer loses its events: they are handled twice


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found. A duplicate is explained if a process that was killed had begun that event."""

    published: int
    of_new_version: int
    put_aside: int  # times that an old consumer left an event to newer ones
    lost: int
    dead: int
    duplicates_explained: int
    duplicates_unexplained: int
    kills: int
    drained_s_max: float  # from SIGTERM to the end, of those that were not killed
    statuses: tuple[int, ...]  # exit statuses of those that got SIGTERM
    roll_s: float
    late_s_max: float  # of the publisher itself
    steady_lag_s: tuple[float, float]  # p50 and p99 of what was due outside of the roll
    roll_lag_s: tuple[float, float]  # of what was due during the roll

    @property
    def holds(self) -> bool:
        """Whether nothing was lost, given up or doubled without a reason, and all ended as they should."""
        broken = self.lost or self.dead or self.duplicates_unexplained or any(self.statuses)
        return not broken


class _Line(NamedTuple):
    what: str
    number: int
    pid: int
    lag_s: float


class _Consumer:
    """A process of `workbench run`."""

    def __init__(self, process: asyncio.subprocess.Process, report: Path) -> None:
        self.process = process
        self.report = report
        self.said = ""
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, plan: Plan, version: str, url: str, folder: Path, number: int) -> "_Consumer":
        report = folder / f"{version}-{number}.json"
        arguments = ["run", f"campaigns.rolling_service:{version}", "--url", url, "--namespace", NAMESPACE]
        options = ["--health-port", "0", "--grace", str(GRACE_S), "--json", str(report), "--log-level", "warning"]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "workbench", *arguments, *options),
            cwd=_TOP,
            env={
                **os.environ,
                "ROLLING_LOG": str(folder / "log"),
                "ROLLING_LEASE_S": str(plan.lease_s),
                "PYTHONPATH": str(_TOP),
            },
            stderr=asyncio.subprocess.PIPE,
        )
        return cls(process, report)

    async def ready(self) -> None:
        """Wait until /readyz says so."""
        [url] = await eventually(lambda: re.findall(r"Health: (\S+)$", self.said, re.MULTILINE), 30.0)
        host, _, port = url.removeprefix("http://").removesuffix("/readyz").partition(":")
        await eventually(lambda: _is_ready(host, int(port)), 30.0)

    async def end(self, how: signal.Signals) -> float:
        """Send the signal and wait. Returns for how many seconds."""
        begun_s = time.monotonic()
        self.process.send_signal(how)
        await self.process.wait()
        await self._reading
        return time.monotonic() - begun_s

    async def _read(self) -> None:
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            self.said += line.decode()


async def _is_ready(host: str, port: int) -> bool:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
        return b" 200 " in await reader.readline()
    finally:
        writer.close()


class _Load:
    """Publishes at a constant rate until it is stopped, the old version of the event first."""

    def __init__(self, bus: ev.Bus, rate_per_s: float) -> None:
        self.published = 0
        self.late_s_max = 0.0
        self.first_new: int | None = None
        self._bus = bus
        self._gap_s = 1.0 / rate_per_s
        self._sending = set[asyncio.Task[str]]()
        self._task = asyncio.create_task(self._run())

    def change_version(self) -> None:
        """From now on, publish the new version."""
        self.first_new = self.published

    async def stop(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        await asyncio.gather(*self._sending)

    async def _run(self) -> None:
        begun_s = time.time()
        while True:
            number, due_s = self.published, begun_s + self.published * self._gap_s
            await asyncio.sleep(max(0.0, due_s - time.time()))
            self.late_s_max = max(self.late_s_max, time.time() - due_s)
            event: OrderPlacedV1 | OrderPlacedV2
            if self.first_new is None:
                event = OrderPlacedV1(number=number, due_s=due_s, cents=number)
            else:
                event = OrderPlacedV2(number=number, due_s=due_s, total_cents=number, currency="EUR")
            self.published += 1
            sending = asyncio.create_task(self._bus.publish(event))
            self._sending.add(sending)
            sending.add_done_callback(self._sending.discard)


async def campaign(url: str, plan: Plan) -> Verdict:
    """Run the campaign on the server at `url`, which it has for itself."""
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        (folder / "log").touch()
        alive = await asyncio.gather(*(_Consumer.start(plan, "old", url, folder, n) for n in range(plan.consumers)))
        ended = list[_Consumer]()
        try:
            await asyncio.gather(*(each.ready() for each in alive))
            async with ev.connect(ev.App("rolling"), url, namespace=NAMESPACE) as bus:
                load = _Load(bus, plan.rate_per_s)
                await asyncio.sleep(plan.steady_s)
                first, begun_s = load.published, time.monotonic()
                drained_s = await _roll(plan, url, folder, alive, ended, load)
                last, roll_s = load.published, time.monotonic() - begun_s
                await asyncio.sleep(plan.steady_s)
                await load.stop()
                with suppress(AssertionError):  # what is lost shows below
                    await eventually(lambda: _nothing_left(bus), _DRAIN_S)
                dead = (await bus.backlog(STREAM, GROUP)).dead
            for each in alive:
                await each.end(signal.SIGTERM)
            return _judge(plan, folder, alive, ended, load, range(first, last), drained_s, roll_s, dead)
        finally:
            for each in alive:
                if each.process.returncode is None:
                    await each.end(signal.SIGKILL)
            async with ev.connect(ev.App("rolling"), url, namespace=NAMESPACE) as bus:
                await bus.delete_all()


async def _roll(
    plan: Plan, url: str, folder: Path, alive: list[_Consumer], ended: list[_Consumer], load: _Load
) -> list[float]:
    """Replace each consumer. Returns for how long those that were not killed drained, in seconds."""
    drained_s = list[float]()
    for number in range(plan.consumers):
        fresh = await _Consumer.start(plan, "new", url, folder, number)
        alive.append(fresh)
        await fresh.ready()
        if number == (plan.consumers - 1) // 2:
            load.change_version()
        how = signal.SIGKILL if number < plan.kills else signal.SIGTERM
        taken_s = await alive[0].end(how)
        ended.append(alive.pop(0))
        if how is signal.SIGTERM:
            drained_s.append(taken_s)
    return drained_s


async def _nothing_left(bus: ev.Bus) -> bool:
    return (await bus.backlog(STREAM, GROUP)).total == 0


def _judge(
    plan: Plan,
    folder: Path,
    alive: Sequence[_Consumer],
    ended: Sequence[_Consumer],
    load: _Load,
    rolled: Collection[int],
    drained_s: Sequence[float],
    roll_s: float,
    dead: int,
) -> Verdict:
    lines = [_parsed(line) for line in (folder / "log").read_text().splitlines()]
    killed = {each.process.pid for each in ended if each.process.returncode == -signal.SIGKILL}
    begun = dict[int, list[int]]()
    for line in lines:
        if line.what == "begun":
            begun.setdefault(line.number, []).append(line.pid)
    handled = {line.number: line.lag_s for line in reversed(lines) if line.what == "handled"}  # the first one counts
    doubled = {number: pids for number, pids in begun.items() if len(pids) > 1}
    explained = sum(1 for pids in doubled.values() if len(pids) - 1 <= sum(pid in killed for pid in pids))
    stopped = [each for each in (*ended, *alive) if each.process.pid not in killed]
    reports = [json.loads(each.report.read_text()) for each in stopped]
    return Verdict(
        published=load.published,
        of_new_version=load.published - (load.published if load.first_new is None else load.first_new),
        put_aside=sum(group["retried"] for report in reports for group in report["groups"]),
        lost=sum(number not in handled for number in range(load.published)),
        dead=dead,
        duplicates_explained=explained,
        duplicates_unexplained=len(doubled) - explained,
        kills=len(killed),
        drained_s_max=max(drained_s, default=0.0),
        statuses=tuple(each.process.returncode or 0 for each in stopped),
        roll_s=roll_s,
        late_s_max=load.late_s_max,
        steady_lag_s=_quantiles([lag_s for number, lag_s in handled.items() if number not in rolled]),
        roll_lag_s=_quantiles([lag_s for number, lag_s in handled.items() if number in rolled]),
    )


def _parsed(line: str) -> _Line:
    what, number, pid, lag_s = line.split()
    return _Line(what, int(number), int(pid), float(lag_s))


def _quantiles(lags_s: list[float]) -> tuple[float, float]:
    """Median and 99th percentile."""
    ordered = sorted(lags_s) or [float("nan")]
    return ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]


def main() -> None:
    """Run the campaign, print what was found, and fail if something was lost or doubled."""
    parser = command.parser("rolling", __doc__, "--consumers 4 --rate 200 --kills 1")
    parser.add_argument("--consumers", type=int, default=4, help="consumer processes (4)")
    parser.add_argument("--rate", type=float, default=200.0, help="events a second (200)")
    parser.add_argument("--steady-s", type=float, default=10.0, help="seconds before the roll, and after it (10)")
    parser.add_argument("--kills", type=int, default=0, help="how many get SIGKILL instead of SIGTERM (0)")
    options = parser.parse_args()
    plan = Plan(options.consumers, options.rate, options.steady_s, options.kills)
    sys.stderr.write(f"About {2 * plan.steady_s + 2 * plan.consumers:.0f} s.\n")
    with ev.private_server() as server:
        verdict = asyncio.run(campaign(server.url, plan))
    found = asdict(verdict) | {"holds": verdict.holds, "consumers": plan.consumers, "rate_per_s": plan.rate_per_s}
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    command.write_json(options.json, found)
    sys.exit(0 if verdict.holds else 1)


if __name__ == "__main__":
    main()
