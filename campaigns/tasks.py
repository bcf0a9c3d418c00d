"""Kill workers of tasks again and again, and judge what their tasks held and how they ended.

The tasks have unique keys, limits at once, per key and by rate, and they fail, retry and are cancelled. While workers
are killed, a checker looks at the server: no unique key and no slot may be held for longer than two leases by a task
that no live worker runs. The key of a task that waits in the queue is its own: for a suspect, the time until it is
handed out is shown beside. In the end each task has ended in its way, and no key, slot or entry is left.
"""

import asyncio
import random
import secrets
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import redis.asyncio as redis
from rich.console import Console
from rich.table import Table

import eventlib as ev
from campaigns import command
from campaigns.forks import Forks
from campaigns.task_checker import HELD_S_MAX, WAIT, Checker
from campaigns.task_worker import LEASE_S, TENANTS, Hopeless, Work, app_of, work
from eventlib.queueing import PRIORITIES
from eventlib.testing import eventually

_PLACES = 40  # as many tasks are under way at once
_BETWEEN_KILLS_S = 0.08
_LOST_S = 30.0  # a task that takes so long is lost
_ENDS = {  # each kind of task, how often it comes, and how it ends
    "succeeds": (6, "succeeded"),
    "stumbles": (2, "succeeded"),
    "is rejected": (1, "failed"),
    "is cancelled": (1, "cancelled"),
    "is hopeless": (1, "failed"),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is killed."""

    kills: int
    workers: int = 6
    seed: int = 1


@dataclass(slots=True)
class Verdict:
    """What was found. `faults` and `held_too_long` say what must not be, a line each."""

    plan: Plan
    seconds: float = 0.0
    kills: int = 0
    ends: dict[str, Counter[str]] = field(default_factory=dict)  # kind -> end -> tasks
    orphaned_s: dict[str, list[float]] = field(default_factory=dict)  # for how long dead workers' tasks held what
    unseen_s: float = 0.0  # longest time between two looks of the checker
    held_too_long: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class Workers(Forks):
    """The worker processes. One that is killed is replaced.

    What a killed worker held is taken over by a worker that lives. So two workers at a time are spared, each for two
    leases, and one of them changes with each lease. All others may be killed at any moment.
    """

    def __init__(self, url: str, namespace: str, folder: Path, plan: Plan) -> None:
        self._folder = folder
        self._rng = random.Random(plan.seed)
        self._spared: deque[BaseProcess] = deque(maxlen=2)
        self._spared_at_s = 0.0
        self.killed_at_s: dict[str, float] = {}
        super().__init__(work, url, namespace, folder, number=plan.workers)

    def all_work(self) -> bool:
        """Whether all have begun to work."""
        return all(map(self._works, self.processes))

    def alive(self) -> set[str]:
        """The names of all that live."""
        return {str(process.pid) for process in self.processes}

    def kill(self) -> bool:
        """Kill one, at random, and start another one. False if none may be killed now."""
        if time.monotonic() > self._spared_at_s + LEASE_S:
            self._spared_at_s = time.monotonic()
            if at_work := self._at_work():
                self._spared.append(self._rng.choice(at_work))
        if len(self._spared) < 2 or not (victims := self._at_work()):
            return False
        victim = self._rng.choice(victims)
        victim.kill()
        victim.join()
        self.killed_at_s[str(victim.pid)] = time.monotonic()
        self.replace(victim)
        return True

    def _at_work(self) -> list[BaseProcess]:
        return [each for each in self.processes if each not in self._spared and self._works(each)]

    def _works(self, process: BaseProcess) -> bool:
        return (self._folder / str(process.pid)).exists()


# The campaign


async def campaign(url: str, plan: Plan, tell: Callable[[int], object] = lambda _killed: None) -> Verdict:
    """Run it. `tell` is called with how many workers were killed."""
    namespace, verdict, begun_at_s = f"campaign-{secrets.token_hex(4)}", Verdict(plan), time.monotonic()
    app, work, hopeless = app_of()
    async with redis.Redis.from_url(url) as client, ev.connect(app, url, namespace=namespace) as bus:
        try:
            with tempfile.TemporaryDirectory() as folder, Workers(url, namespace, Path(folder), plan) as workers:
                await eventually(workers.all_work, _LOST_S)
                checker = Checker(client, namespace, workers.alive, workers.killed_at_s)
                checking = asyncio.create_task(checker.run())
                try:
                    await _run(Callers(bus, work, hopeless, plan, verdict), workers, tell)
                finally:
                    checker.stop()
                    await checking  # it raises what ended the checker
                checker.judge()
                verdict.orphaned_s, verdict.unseen_s = checker.orphaned_s, checker.unseen_s
                verdict.held_too_long = checker.held_too_long
                verdict.faults += checker.over_limit
                await _judge_the_end(bus, checker, verdict)
        finally:
            await bus.delete_all()
    verdict.seconds = time.monotonic() - begun_at_s
    return verdict


class Callers:
    """Enqueue tasks at all places, one after the other at each, and note how they ended."""

    def __init__(self, bus: ev.Bus, work: Work, hopeless: Hopeless, plan: Plan, verdict: Verdict) -> None:
        self._bus = bus
        self._work = work
        self._hopeless = hopeless
        self._rng = random.Random(plan.seed + 1)
        self.verdict = verdict
        self.more = True

    async def call(self, place: int) -> None:
        """Enqueue the next task as soon as the last one has ended: its unique key is free then."""
        kinds = list(_ENDS)
        weights = [often for often, _ in _ENDS.values()]
        while self.more:
            [kind] = self._rng.choices(kinds, weights)
            ends = self.verdict.ends.setdefault(kind, Counter())
            try:
                handle = await self._enqueue(place, kind)
                if kind == "is cancelled":
                    await asyncio.sleep(self._rng.random() * 0.5)
                    await handle.cancel()
                end = await _end(handle, place)
            except ev.UniqueKeyInUse as error:
                self.verdict.faults.append(f"a unique key is in use after the end of its task: {error}")
                return
            ends[end] += 1
            if end != _ENDS[kind][1]:
                self.verdict.faults.append(f"task {handle.id}, which {kind}, {end}")
                return

    async def _enqueue(self, place: int, kind: str) -> ev.TaskHandle[Any]:
        tenant, priority = self._rng.choice(TENANTS), self._rng.choice(PRIORITIES)
        if kind == "is hopeless":
            return await self._bus.enqueue(self._hopeless, priority=priority)(place, tenant)
        known: Any = kind
        return await self._bus.enqueue(self._work, priority=priority)(place, tenant, known)


async def _end(handle: ev.TaskHandle[Any], place: int) -> str:
    try:
        returned = await handle.result(_LOST_S)
    except ev.TaskFailed:
        return "failed"
    except ev.TaskCancelled:
        return "cancelled"
    except (ev.TaskWaitTimeout, ev.MissingTask):
        return "was lost"
    return "succeeded" if returned == place else f"returned {returned}"


async def _run(callers: Callers, workers: Workers, tell: Callable[[int], object]) -> None:
    """Kill workers at random moments, until so many were killed and the tasks that are under way have ended."""
    rng, plan = random.Random(callers.verdict.plan.seed + 2), callers.verdict.plan
    async with asyncio.TaskGroup() as calls:
        for place in range(_PLACES):
            calls.create_task(callers.call(place))
        while callers.verdict.kills < plan.kills:
            await asyncio.sleep(rng.uniform(0.0, 2.0 * _BETWEEN_KILLS_S))
            callers.verdict.kills += workers.kill()
            tell(callers.verdict.kills)
        callers.more = False


async def _judge_the_end(bus: ev.Bus, checker: Checker, verdict: Verdict) -> None:
    async def nothing_left() -> bool:
        return not await checker.left()

    with suppress(AssertionError):  # what is left shows below
        await eventually(nothing_left, _LOST_S)
    verdict.faults += [f"{key} is left" for key in await checker.left()]
    failed = sum(ends["failed"] for ends in verdict.ends.values())
    health = await bus.queue_health()
    if (health.running, health.delayed, health.blocked, health.slots, health.dead) != (0, 0, 0, {}, failed):
        verdict.faults.append(f"{failed} tasks failed, and in the end the queue stands so: {health}")


# The command


def main() -> None:
    """Run the campaign. The exit status is 1 if something was held too long, lost or left."""
    parser = command.parser("tasks", __doc__, "--kills 1000", takes_url=True)
    parser.add_argument("--kills", type=int, default=1000, help="how often a worker is killed (1,000)")
    parser.add_argument("--workers", type=int, default=6, help="worker processes, at least 3 (6)")
    parser.add_argument("--seed", type=int, default=1, help="for what the tasks do and who is killed when (1)")
    options = parser.parse_args()
    if not (1 <= options.kills <= 100_000 and 3 <= options.workers <= 50):
        parser.error("--kills is 1 to 100,000 and --workers 3 to 50")
    plan = Plan(options.kills, options.workers, options.seed)
    with command.server_at(options.url) as url, command.bars() as progress:
        bar = progress.add_task("kills", total=plan.kills)
        verdict = asyncio.run(campaign(url, plan, lambda killed: progress.update(bar, completed=killed)))
    _show(Console(), verdict)
    command.write_json(options.json, _as_json(verdict))
    sys.exit(1 if verdict.faults or verdict.held_too_long else 0)


def _as_json(verdict: Verdict) -> dict[str, Any]:
    found = {name: getattr(verdict, name) for name in ("seconds", "kills", "unseen_s", "held_too_long", "faults")}
    ends = {kind: dict(each) for kind, each in verdict.ends.items()}
    return {"plan": asdict(verdict.plan), "ends": ends, "orphaned_s": verdict.orphaned_s, **found}


def _show(out: Console, verdict: Verdict) -> None:
    ends = ("succeeded", "failed", "cancelled", "was lost")
    table = Table(title="How tasks ended while their workers were killed")
    for column in ("a task that", *ends):
        table.add_column(column, justify="left" if column == "a task that" else "right")
    for kind in _ENDS:
        table.add_row(kind, *(f"{verdict.ends.get(kind, Counter())[end]:,}" for end in ends))
    out.print(table)
    table = Table(title=f"How long dead workers' tasks held what they had: at most {HELD_S_MAX:g} s, two leases")
    for column in ("held", "times", "p50", "p99", "longest", "too long"):
        table.add_column(column, justify="left" if column == "held" else "right")
    for kind, held_s in sorted(verdict.orphaned_s.items()):
        in_order = sorted(held_s)
        shown = [f"{in_order[len(in_order) * share // 100]:.3f} s" for share in (50, 99)]
        too_long = "-" if kind == WAIT else str(sum(each_s > HELD_S_MAX for each_s in in_order))
        table.add_row(kind, f"{len(in_order):,}", *shown, f"{in_order[-1]:.3f} s", too_long)
    out.print(table)
    tasks = sum(each.total() for each in verdict.ends.values())
    out.print(
        f"{verdict.kills:,} kills, {tasks:,} tasks, {verdict.seconds:.0f} s: "
        f"{len(verdict.held_too_long)} held too long, {len(verdict.faults)} lost, left or wrong; "
        f"looks were at most {verdict.unseen_s:.3f} s apart",
        highlight=False,
    )
    if verdict.held_too_long and verdict.unseen_s > LEASE_S / 2.0:
        out.print("The machine was too busy to tell leases: nothing else may run beside this.", highlight=False)
    command.print_faults(out, verdict.faults + verdict.held_too_long)


if __name__ == "__main__":
    main()
