"""Run thousands of sagas while their workers are killed at every boundary, and judge what is left of each.

Each saga has to end completed, compensated or parked, and what its steps did has to agree with that: all of it is done,
or all that was done is undone. Each event that a step emitted is in its stream once.
"""

import asyncio
import json
import random
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any, get_args

import redis.asyncio as redis
from rich.console import Console
from rich.progress import TaskID
from rich.table import Table

import eventlib as ev
from campaigns import command
from campaigns.forks import Forks
from campaigns.saga_worker import BOUNDARIES, NAMES, Order, Worker, work
from eventlib.broker.keys import Keys
from eventlib.saga_policy import SagaStatus
from eventlib.sagas.messages import GROUP, saga_stream

AT_ONCE = 200  # sagas under way at once
_LOOK_S = 0.05
_STILL_S = 60.0  # if no saga ends for so long, the campaign gives up
_UNKNOWN = ("act about to happen", "act has happened")  # a worker killed then told no outcome


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is run."""

    sagas: int
    kills: int
    workers: int = 3
    seed: int = 1


@dataclass(slots=True)
class Verdict:
    """What was left. `faults` says what must not be, a line each."""

    plan: Plan
    seconds: float = 0.0
    by_status: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)  # by boundary
    killed_sagas: dict[str, Counter[str]] = field(default_factory=dict)  # boundary -> status in the end
    faults: list[str] = field(default_factory=list)


class Workers(Forks):
    """The worker processes. One that was killed is replaced, and the next boundary is armed."""

    def __init__(self, url: str, namespace: str, folder: Path, plan: Plan) -> None:
        self._armed = folder / "armed"
        self._armed.mkdir()
        self._killed = folder / "killed"
        self._plan = plan
        self._boundaries = cycle(BOUNDARIES)
        self._asked = 0
        self._arm()
        super().__init__(work, url, namespace, folder, number=plan.workers)

    def look(self) -> int:
        """Arm the next boundary, then replace who is gone. Returns how many were killed so far."""
        armed = self._arm()
        for process in [each for each in self.processes if not each.is_alive()]:
            self.replace(process)
        return self._asked - len(armed)

    def _arm(self) -> set[str]:
        """Let each worker that lives have a boundary ahead: without one it would soon be done with all sagas."""
        armed = {file.name for file in self._armed.iterdir()}
        while self._asked < self._plan.kills and len(armed) < self._plan.workers:
            boundary = next(self._boundaries)
            if boundary not in armed:
                (self._armed / boundary).touch()
                self._asked += 1
                armed.add(boundary)
        return armed

    def kills(self) -> list[tuple[str, str, str]]:
        """At which boundary, with which saga in hand and in which step each worker was killed."""
        lines = self._killed.read_text().splitlines() if self._killed.exists() else []
        return [tuple(json.loads(line)) for line in lines]


def inputs(plan: Plan) -> Iterator[tuple[str, Order, bool]]:
    """The sagas: the name, the input, and whether it is cancelled at some time."""
    rng = random.Random(plan.seed)
    for number in range(plan.sagas):
        name = rng.choices(list(NAMES), (2, 1, 1))[0]
        fails = rng.choices(("", "charge", "ship"), (6, 1, 2))[0]
        stumbles = rng.choices(("", "reserve", "charge", "ship"), (6, 1, 1, 1))[0]
        yield name, Order(number=number, fails=fails, stumbles=stumbles), rng.random() < 0.05


async def campaign(url: str, plan: Plan, tell: Any = lambda _ended, _killed: None) -> Verdict:
    """Run it. `tell` is called with how many sagas have ended and how many workers were killed."""
    namespace, begun_at = f"campaign-{secrets.token_hex(4)}", time.monotonic()
    with tempfile.TemporaryDirectory(prefix="campaign-") as folder_name:
        folder = Path(folder_name)
        app = Worker(folder).app()
        async with ev.connect(app, url, namespace=namespace) as bus:
            try:
                with Workers(url, namespace, folder, plan) as workers:
                    await _run(bus, plan, workers, tell)
                    verdict = await _judge(bus, plan, workers, folder, url, namespace)
            finally:
                await bus.delete_all()
    verdict.seconds = time.monotonic() - begun_at
    return verdict


async def _run(bus: ev.Bus, plan: Plan, workers: Workers, tell: Any) -> None:
    """Start all sagas, a limited number at once, and wait until each has ended or is parked."""
    under_way: dict[str, str] = {}
    waiting, rng = iter(inputs(plan)), random.Random(plan.seed + 1)
    ended, moved_at = 0, time.monotonic()
    more = True
    while under_way or more:
        while more and len(under_way) < AT_ONCE:
            if (drawn := next(waiting, None)) is None:
                more = False
                break
            name, order, cancel = drawn
            saga_id = await bus.start(bus.app.sagas[name, 1], order, key=f"{name}-{order.number}")
            under_way[saga_id] = name
            if cancel:
                asyncio.get_running_loop().call_later(rng.random(), _cancel_later, bus, name, saga_id)
        tell(ended, workers.look())
        for saga_id, name in list(under_way.items()):
            if (await bus.sagas(name).get(saga_id)).status in ("completed", "compensated", "parked"):
                del under_way[saga_id]
                ended, moved_at = ended + 1, time.monotonic()
        if time.monotonic() - moved_at > _STILL_S:
            return
        await asyncio.sleep(_LOOK_S)
    tell(ended, workers.look())
    for name in NAMES:
        await asyncio.wait_for(_drained(bus, name, workers), _STILL_S)


_cancelling = set[asyncio.Task[object]]()


def _cancel_later(bus: ev.Bus, name: str, saga_id: str) -> None:
    task: asyncio.Task[object] = asyncio.ensure_future(bus.sagas(name).cancel(saga_id))
    _cancelling.add(task)
    task.add_done_callback(_cancelling.discard)


async def _drained(bus: ev.Bus, name: str, workers: Workers) -> None:
    while _at_work(await bus.backlog(saga_stream(name), GROUP)):
        workers.look()
        await asyncio.sleep(_LOOK_S)


def _at_work(backlog: ev.Backlog) -> int:
    """Messages that are being handled. The alarms of parked sagas wait on."""
    return backlog.pending + backlog.retrying


# Judging


async def _judge(bus: ev.Bus, plan: Plan, workers: Workers, folder: Path, url: str, namespace: str) -> Verdict:
    verdict = Verdict(plan)
    done, undone = _effects(folder / "effects")
    emitted = await _emitted(url, namespace)
    status_of = dict[str, str]()
    for name, order, _ in inputs(plan):
        saga_id = f"{name}-{order.number}"
        record = await bus.sagas(name).get(saga_id)
        status_of[saga_id] = record.status
        verdict.by_status[record.status] += 1
        verdict.faults += _faults(record, done.get(saga_id, {}), undone.get(saga_id, {}), emitted[saga_id])
    for boundary, saga_id, step in workers.kills():
        in_doubt = boundary in _UNKNOWN and step == "charge" and not saga_id.startswith("order")
        if in_doubt and status_of[saga_id] == "completed":
            verdict.faults.append(f"{saga_id} is completed, though the outcome of its charge was unknown")
        verdict.kills[boundary] += 1
        verdict.killed_sagas.setdefault(boundary, Counter())[status_of[saga_id]] += 1
    for name in NAMES:
        if dead := await bus.dead_letters(saga_stream(name), GROUP).size():
            verdict.faults.append(f"{dead} dead letters of {name}")
        if _at_work(backlog := await bus.backlog(saga_stream(name), GROUP)):
            verdict.faults.append(f"messages of {name} are left: {backlog}")
    return verdict


def _faults(record: ev.SagaRecord, done: Mapping[str, int], undone: Mapping[str, int], emitted: int) -> Iterator[str]:
    """`done` and `undone` say in which line of the effects a step was last done and undone."""
    if record.status == "parked":
        if not record.why:
            yield f"{record.id} is parked and does not say why"
    elif record.status == "completed":
        if set(done) != {step.name for step in record.steps} or undone:
            yield f"{record.id} is completed; done were {sorted(done)}, undone {sorted(undone)}"
        if emitted != 1:
            yield f"{record.id} is completed and its event is there {emitted} times"
    elif record.status == "compensated":
        for step, line in done.items():
            if undone.get(step, -1) < line:
                yield f"{record.id} is compensated, and what step {step} did is not undone"
        if emitted > 1:
            yield f"{record.id} emitted its event {emitted} times"
    else:
        yield f"{record.id} is half done and silent: {record.status}, {record.act} {record.step}"


def _effects(path: Path) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, int]]]:
    found: dict[str, dict[str, dict[str, int]]] = {"do": {}, "undo": {}}
    for number, line in enumerate(path.read_text().splitlines() if path.exists() else ()):
        saga_id, act, step = json.loads(line)
        found[act].setdefault(saga_id, {})[step] = number
    return found["do"], found["undo"]


async def _emitted(url: str, namespace: str) -> Counter[str]:
    async with redis.Redis.from_url(url) as client:
        rows: Any = await client.xrange(Keys(namespace).stream("shipped"))
        return Counter(json.loads(fields[b"event"])["data"]["saga"] for _, fields in rows)


# The command


def main() -> None:
    """Run the campaign. The exit status is 1 if a saga was left half done, or an event doubled."""
    parser = command.parser("sagas", __doc__, "--sagas 10000 --kills 240", takes_url=True)
    parser.add_argument("--sagas", type=int, default=10_000, help="how many sagas (10,000)")
    parser.add_argument("--kills", type=int, default=240, help="how often a worker is killed, at each boundary in turn")
    parser.add_argument("--workers", type=int, default=3, help="worker processes (3)")
    parser.add_argument("--seed", type=int, default=1, help="for which sagas fail, stumble and are cancelled (1)")
    options = parser.parse_args()
    plan = Plan(options.sagas, options.kills, options.workers, options.seed)
    out = Console()
    with command.server_at(options.url) as url, command.bars() as progress:
        bars = [progress.add_task("sagas", total=plan.sagas), progress.add_task("kills", total=plan.kills)]

        def tell(ended: int, killed: int) -> None:
            for bar, number in zip(bars, (ended, killed), strict=True):
                progress.update(TaskID(bar), completed=number)

        verdict = asyncio.run(campaign(url, plan, tell))
    _show(out, verdict)
    command.write_json(options.json, _as_json(verdict))
    sys.exit(1 if verdict.faults else 0)


def _as_json(verdict: Verdict) -> dict[str, Any]:
    return {
        "plan": asdict(verdict.plan),
        "seconds": verdict.seconds,
        "by_status": dict(verdict.by_status),
        "kills": dict(verdict.kills),
        "killed_sagas": {boundary: dict(ends) for boundary, ends in verdict.killed_sagas.items()},
        "faults": verdict.faults,
    }


def _show(out: Console, verdict: Verdict) -> None:
    statuses = [status for status in get_args(SagaStatus) if verdict.by_status[status]]
    table = Table(title="What became of the sagas that a worker had in hand when it was killed")
    for column in ("killed when", "kills", *statuses):
        table.add_column(column, justify="left" if column == "killed when" else "right")
    for boundary in BOUNDARIES:
        ends = verdict.killed_sagas.get(boundary, Counter[str]())
        table.add_row(boundary, str(verdict.kills[boundary]), *(str(ends[status]) for status in statuses))
    out.print(table)
    counts = ", ".join(f"{verdict.by_status[status]:,} {status}" for status in statuses)
    out.print(
        f"{verdict.plan.sagas:,} sagas, {verdict.kills.total():,} kills, {verdict.seconds:.0f} s: {counts}; "
        f"{len(verdict.faults)} half done or doubled",
        highlight=False,
    )
    command.print_faults(out, verdict.faults)


if __name__ == "__main__":
    main()
