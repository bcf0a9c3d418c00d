"""Cancel running tasks one by one at random moments, and measure when their functions hear of it.

Measured is the time from the call to the CancelledError in the worker process: once as it is, and once with every hint
dropped, so that only the flags on the server are left.
"""

import asyncio
import random
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

import eventlib as ev
from campaigns import command
from campaigns.forks import FORKS
from campaigns.task_worker import endless_app_of, noted, work_endlessly
from eventlib.testing import eventually

WITH_HINTS, WITHOUT_HINTS = "as it is", "every hint dropped"
GOAL_P99_S = {WITH_HINTS: 0.2, WITHOUT_HINTS: 2.0}
WORKERS = 2
_BETWEEN_S = 0.04
_LONG_S = 30.0


@dataclass(slots=True)
class Verdict:
    """What was found in one run. `faults` says what must not be, a line each."""

    how: str
    took_s: list[float] = field(default_factory=list)  # in order of size
    faults: list[str] = field(default_factory=list)

    @property
    def fast(self) -> bool:
        """Whether 99 of 100 functions heard of it in time."""
        return self.share_s(99) <= GOAL_P99_S[self.how]

    def share_s(self, percent: int) -> float:
        """So many of 100 functions heard of it within this time."""
        return (
            self.took_s[min(len(self.took_s) * percent // 100, len(self.took_s) - 1)] if self.took_s else float("inf")
        )


async def campaign(url: str, cancels: int, how: str, tell: Callable[[], object] = lambda: None) -> Verdict:
    """Run `cancels` tasks at once and cancel one after the other. `tell` is called after each."""
    namespace, verdict, rng = f"campaign-{secrets.token_hex(4)}", Verdict(how), random.Random(cancels)
    app, endless = endless_app_of()
    with tempfile.TemporaryDirectory() as name:
        folder, called_s = Path(name), dict[int, float]()
        target = url, namespace, folder, how == WITH_HINTS
        workers = [FORKS.Process(target=work_endlessly, args=target) for _ in range(WORKERS)]
        async with ev.connect(app, url, namespace=namespace) as bus:
            try:
                for worker in workers:
                    worker.start()
                handles = await bus.tasks.enqueue_many([endless.call(number) for number in range(cancels)])
                await eventually(lambda: len(noted(folder / "noted", "began")) == cancels, _LONG_S)
                for number in rng.sample(range(cancels), cancels):
                    await asyncio.sleep(rng.uniform(0.0, 2.0 * _BETWEEN_S))
                    called_s[number] = time.monotonic()
                    if (said := await handles[number].cancel()) != "cancelling":
                        verdict.faults.append(f"task {number} runs, and cancelling it said {said}")
                    tell()
                await _ended(handles, verdict)
            finally:
                for worker in workers:
                    worker.terminate()
                for worker in workers:
                    worker.join(_LONG_S)
                    worker.kill()
                    worker.join()
                await bus.delete_all()
        heard = noted(folder / "noted", "cancelled")
    verdict.took_s = sorted(at_s - called_s[number] for number, at_s in heard)
    times = Counter(number for number, _ in heard)
    verdict.faults += [
        f"task {number} was cancelled {times[number]} times" for number in called_s if times[number] != 1
    ]
    return verdict


async def _ended(handles: list[ev.TaskHandle[None]], verdict: Verdict) -> None:
    for handle in handles:
        try:
            await handle.result(_LONG_S)
            verdict.faults.append(f"task {handle.id} succeeded")
        except ev.TaskCancelled:
            pass
        except (ev.TaskFailed, ev.WaitTimeout, ev.MissingTask) as error:
            verdict.faults.append(str(error))


def main() -> None:
    """Run the campaign twice. The exit status is 1 if it was too slow, or a task did not end cancelled."""
    parser = command.parser("cancels", __doc__, "--cancels 500", takes_url=True)
    parser.add_argument("--cancels", type=int, default=500, help="how many tasks are cancelled in each run (500)")
    options = parser.parse_args()
    if not 1 <= options.cancels <= 2000:
        parser.error("--cancels is 1 to 2,000: so many tasks run at once")
    verdicts: list[Verdict] = []
    with command.server_at(options.url) as url, command.bars() as progress:
        for how in GOAL_P99_S:
            bar = progress.add_task(how, total=options.cancels)
            verdicts.append(asyncio.run(campaign(url, options.cancels, how, lambda bar=bar: progress.advance(bar))))  # type: ignore[misc]
    _show(Console(), verdicts)
    found = [asdict(verdict) | {"p99_s": verdict.share_s(99), "fast": verdict.fast} for verdict in verdicts]
    command.write_json(options.json, found)
    sys.exit(0 if all(verdict.fast and not verdict.faults for verdict in verdicts) else 1)


def _show(out: Console, verdicts: list[Verdict]) -> None:
    table = Table(title="From the call to the CancelledError in the function")
    for column in ("hints", "cancels", "p50", "p99", "longest", "goal for p99", "met"):
        table.add_column(column, justify="left" if column in ("hints", "met") else "right")
    for each in verdicts:
        shown = [f"{each.share_s(percent):.4f} s" for percent in (50, 99, 100)]
        goal = f"{GOAL_P99_S[each.how]:g} s"
        table.add_row(each.how, f"{len(each.took_s):,}", *shown, goal, "yes" if each.fast else "no")
    out.print(table)
    command.print_faults(out, [fault for each in verdicts for fault in each.faults])


if __name__ == "__main__":
    main()
