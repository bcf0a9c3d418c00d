"""Is each slot of a schedule run or recorded as skipped, once, while schedulers are killed and their clocks are wrong?

Starts a private Redis and scheduler processes on it. Their clocks are wrong by up to the skew, in both directions. One
after the other is killed with SIGKILL, and another one takes its place. At the end, what the server has recorded of
the slots is compared with the slots that there were, and with the tasks that the workers have run.
"""

import argparse
import asyncio
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import eventlib as ev
from campaigns import command
from eventlib.testing import eventually

TOP = Path(__file__).parents[1]
NAMESPACE = "campaign"
LEASE_S = 1.0
_HISTORY_MAX = 900  # the server keeps about 1,000 records of a schedule
_DRAIN_S = 60.0
_SPEC = importlib.util.find_spec("libfaketime")  # not imported: it would fake this process's clock
_LIBRARY = Path((_SPEC and _SPEC.origin) or "").with_name("vendor") / "libfaketime/src/libfaketime.so.1"

# Each is due every second. Zones and forms differ, and so does what becomes of slots that are missed or overlap.
RULES: list[dict[str, object]] = [
    {"cron": "* * * * * *", "tz": "Europe/Berlin", "missed": "all"},
    {"cron": "*/1 * * * * *", "tz": "America/New_York", "missed": "once"},
    {"every_s": 1.0, "offset_s": 0.5, "missed": "all", "overlap": "queue"},
    {"cron": "0-59 * * * * *", "tz": "Australia/Lord_Howe", "missed": "skip"},
    {"every_s": 1.0, "missed": "once", "overlap": "skip"},
]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was found. Each slot is one of `ran`, `skipped` and `waiting`, or it is unaccounted."""

    slots: int
    ran: int
    skipped: dict[str, int]
    waiting: int
    doubled: int  # slots that are recorded twice, or ran as two tasks
    unaccounted: int  # slots of which nothing is recorded
    lost: int  # tasks that are recorded as enqueued and never ran
    unrecorded: int  # tasks that ran and are not recorded
    run_again: int  # tasks whose worker was killed while they ran: delivered again, as every event
    kills: int
    late_s_p99: float
    late_s_max: float

    @property
    def holds(self) -> bool:
        """Whether the guarantee held."""
        return not (self.doubled or self.unaccounted or self.lost or self.unrecorded)


def app_of(log: int) -> ev.App:
    """The App of every process of the campaign. Its task writes its id to the file `log`."""
    app = ev.App("campaign")
    app.queue("default", lease_s=LEASE_S)

    @app.task(retry=ev.Retry(attempts=100, wait_s=0.01))
    async def note(schedule: str) -> None:
        os.write(log, f"{ev.current_task().id}\n".encode())

    app.schedule("declared", note, cron="* * * * * *", missed="all", args=("declared",))
    return app


# Scheduler processes


async def schedule(url: str, log_path: str) -> None:
    """What each process does until it is killed. A file says that it works."""
    log = os.open(log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    async with ev.connect(app_of(log), url, namespace=NAMESPACE) as bus, bus.running():
        _sign(Path(log_path), os.getpid()).touch()
        await asyncio.Event().wait()


def _sign(log: Path, pid: int) -> Path:
    return log.with_suffix(f".{pid}")


def fork_at_command(url: str, log: str) -> None:
    """Fork a scheduler process for each line on standard input, and write its id. At the end, kill those that are left.

    So a new process works at once, and does not import for a second before.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the children are not waited for
    pids = list[int]()
    while sys.stdin.readline():
        if (pid := os.fork()) == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            asyncio.run(schedule(url, log))
        pids.append(pid)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class Processes:
    """The scheduler processes. Each new one has another clock: right, too late, too early."""

    def __init__(self, url: str, log: Path, skew_s: float) -> None:
        self._log = log
        self._started = 0
        self._forks = [self._fork(url, wrong_s) for wrong_s in (0.0, -skew_s, skew_s)]
        self.alive: list[int] = []

    def _fork(self, url: str, wrong_s: float) -> "subprocess.Popen[str]":
        clock = {"LD_PRELOAD": str(_LIBRARY), "FAKETIME": f"{wrong_s:+.0f}s", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        command = [sys.executable, "-m", "campaigns.schedules", "--fork", url, str(self._log)]
        environment = os.environ | clock if wrong_s else None
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=TOP, env=environment, stdin=pipe, stdout=pipe, text=True, bufsize=1)

    def start(self) -> None:
        """Start one more."""
        fork = self._forks[self._started % len(self._forks)]
        self._started += 1
        assert fork.stdin is not None and fork.stdout is not None
        fork.stdin.write("one more\n")
        self.alive.append(int(fork.stdout.readline()))

    def kill_oldest(self) -> bool:
        """End one with SIGKILL, and start another one. False if that one, or all others, have not begun to work yet."""
        if not self._works(self.alive[0]) or not any(map(self._works, self.alive[1:])):
            return False
        os.kill(self.alive.pop(0), signal.SIGKILL)
        self.start()
        return True

    def all_work(self) -> bool:
        """Whether all have begun to work."""
        return all(map(self._works, self.alive))

    def _works(self, pid: int) -> bool:
        return _sign(self._log, pid).exists()

    def end(self) -> None:
        """End all of them."""
        for fork in self._forks:
            fork.communicate()


# The campaign


async def run(url: str, slots: int, schedulers: int, kills: int, skew_s: float, schedules: int) -> Outcome:
    """Run the campaign on the server at `url`, which it has for itself."""
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "ran.log"
        processes = Processes(url, log, skew_s)
        app = app_of(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT))
        try:
            async with ev.connect(app, url, namespace=NAMESPACE) as bus:
                for _ in range(schedulers):
                    processes.start()
                await eventually(processes.all_work, _DRAIN_S)
                await _add(bus, schedules - 1)
                await _kill(bus, processes, slots, kills)
                for found in await bus.schedules.list():
                    await bus.schedules.pause(found.name)
                with suppress(AssertionError):  # what is lost shows below
                    await eventually(lambda: _nothing_left(bus, log), _DRAIN_S)
                return await _judge(bus, _ran(log), kills)
        finally:
            processes.end()


async def _add(bus: ev.Bus, schedules: int) -> None:
    for number in range(schedules):
        add = bus.schedules.add(f"s{number}", bus.app.tasks["note"], **RULES[number % len(RULES)])  # type: ignore[arg-type]
        await add(f"s{number}")


async def _kill(bus: ev.Bus, processes: Processes, slots: int, kills: int) -> None:
    """Kill one scheduler after the other, evenly over the slots, until all slots were decided about."""
    began_s, killed, told_s = time.monotonic(), 0, 0.0
    while (decided := await _decided(bus)) < slots or killed < kills:
        if killed < kills and decided >= slots * (killed + 1) // (kills + 1):
            killed += processes.kill_oldest()
        if time.monotonic() > told_s + 10.0:
            told_s = time.monotonic()
            sys.stderr.write(f"{told_s - began_s:5.0f} s: {decided:,} of {slots:,} slots, {killed} kills\n")
        await asyncio.sleep(0.1)


async def _decided(bus: ev.Bus) -> int:
    return sum(found.runs + sum(found.skipped.values()) for found in await bus.schedules.list())


async def _nothing_left(bus: ev.Bus, log: Path) -> bool:
    """Whether all tasks that are recorded have run."""
    ran = set(_ran(log))
    return all(task_id in ran for task_id in await _task_ids(bus))


def _ran(log: Path) -> list[str]:
    return log.read_text().split()


async def _task_ids(bus: ev.Bus) -> set[str]:
    found = [await bus.schedules.history(each.name, limit=2 * _HISTORY_MAX) for each in await bus.schedules.list()]
    return {record.task_id for records in found for record in records if record.task_id is not None}


async def _judge(bus: ev.Bus, ran_ids: Sequence[str], kills: int) -> Outcome:
    """Compare what is recorded with the slots that there were, and with what ran."""
    skipped, late_s = Counter[str](), list[float]()
    recorded = Counter[tuple[str, float]]()
    task_ids, unaccounted, waiting, slots = set[str](), 0, 0, 0
    for found in await bus.schedules.list():
        records = (await bus.schedules.history(found.name, limit=2 * _HISTORY_MAX))[::-1]
        for record in records:
            if record.task_id is not None:
                task_ids.add(record.task_id)
                late_s.append(record.late_s or 0.0)
            else:
                skipped[record.reason or ""] += record.count
            for number in range(record.count):
                recorded[found.name, round(record.slot_s + number, 3)] += 1
        assert found.next_s is not None and found.added_at_s is not None, "these schedules never end"
        first_s = min(record.slot_s for record in records)
        assert first_s <= found.added_at_s + 2.0, "the first slot follows at once"
        there_were = [round(first_s + number, 3) for number in range(round(found.next_s - first_s))]
        slots += len(there_were)
        waiting += found.waiting
        unaccounted += sum(not recorded[found.name, slot_s] for slot_s in there_were) - found.waiting
    ran = Counter(ran_ids)
    late_s.sort()
    return Outcome(
        *(slots, len(task_ids), dict(skipped), waiting),
        doubled=sum(number > 1 for number in recorded.values()),
        unaccounted=unaccounted,
        lost=len(task_ids - set(ran)),
        unrecorded=len(set(ran) - task_ids),
        run_again=sum(number > 1 for number in ran.values()),
        kills=kills,
        late_s_p99=late_s[len(late_s) * 99 // 100],
        late_s_max=late_s[-1],
    )


def main() -> None:
    """Run the campaign, print what was found, and fail if the guarantee did not hold."""
    parser = command.parser("schedules", __doc__, "--slots 10000 --kills 100 --skew-s 30")
    parser.add_argument("--slots", type=int, default=10_000, help="how many slots (10,000)")
    parser.add_argument("--schedulers", type=int, default=3, help="scheduler processes (3)")
    parser.add_argument("--kills", type=int, default=100, help="how often a scheduler is killed (100)")
    parser.add_argument("--skew-s", type=float, default=30.0, help="how wrong the clocks of the processes are (30)")
    parser.add_argument("--schedules", type=int, default=100, help="how many schedules, each due once a second (100)")
    parser.add_argument("--fork", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fork:
        fork_at_command(*options.fork)
        return
    if options.slots > _HISTORY_MAX * options.schedules:
        parser.error(f"--slots: at most {_HISTORY_MAX} a schedule are kept; raise --schedules")
    with ev.private_server() as server:
        outcome = asyncio.run(
            run(server.url, options.slots, options.schedulers, options.kills, options.skew_s, options.schedules)
        )
    found = asdict(outcome) | {"holds": outcome.holds, "skew_s": options.skew_s, "schedulers": options.schedulers}
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    command.write_json(options.json, found)
    sys.exit(0 if outcome.holds else 1)


if __name__ == "__main__":
    main()
