"""Measure the library and the simulator on this machine, beside named peers that do the same."""

import argparse
import asyncio
import json
import multiprocessing
import os
import secrets
import statistics
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks import memory, server, tasks
from benchmarks.comparisons import (
    FLOOR_LATENESS,
    LATE_MS,
    LATENESS,
    REQUEST_LATENESS,
    Comparison,
    Row,
    Side,
    comparisons,
    turn,
)
from benchmarks.payload import body, event
from eventlib import App, connect

RESULTS = Path(__file__).with_name("results.json")
BACKLOG = 1_000_000
MEMORY = "memory"
PROMOTION = "promotion"
DELAYED = (1_000, 30_000, 1_000_000)  # tasks that wait for a later time while others become due
_WIDTH = 136  # of the table, if no terminal gives a width
_EXAMPLE = "Example: python -m benchmarks --only handle --rounds 3 --json handle.json"


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the result, measured."""

    row: Row
    workbench: float
    peer: float
    ratios: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """The median of the turns' own ratios, so that drift of the machine cancels."""
        return statistics.median(self.ratios)


def main() -> None:
    """Run the chosen comparisons. The exit status is 1 if something could not be measured."""
    everything = comparisons()
    options = _options([row.name for comparison in everything for row in comparison.rows] + [MEMORY, PROMOTION])
    chosen = [c for c in everything if _wanted(options.only, *(row.name for row in c.rows))]
    out, failures = Console(), list[str]()
    out.width = max(out.width, _WIDTH)
    drained: memory.Memory | None = None
    product = ""
    with _progress() as progress:
        measured = [Turns(comparison, options.rounds, progress) for comparison in chosen]
        for _ in range(options.rounds):
            for each in list(measured):
                try:
                    with server.serving(options.url) as url:
                        product = product or asyncio.run(_product(url))
                        each.round(url)
                except Exception as error:  # the others can still be measured
                    failures.append(f"{each.name}: {_described(error)}")
                    measured.remove(each)
        if _wanted(options.only, MEMORY):
            try:
                with server.serving(options.url) as url:
                    drained = _drain(url, options.backlog, progress)
            except Exception as error:
                failures.append(f"{MEMORY}: {_described(error)}")
    promoted: list[float] = []
    if _wanted(options.only, PROMOTION):
        try:
            with server.serving(options.url) as url:
                for waiting in DELAYED:
                    promoted.append(asyncio.run(tasks.promotion_us(url, _namespace(), waiting)))
        except Exception as error:
            failures.append(f"{PROMOTION}: {_described(error)}")
    results = [result for each in measured for result in each.results()]
    _write(options.json, results, drained)
    if results:
        size = len(body(event(0)))
        out.print(
            _table(results, f"{product}, medians of {options.rounds} rounds, {size} bytes an event on eventlib's wire")
        )
        for result in results:
            late_ms = max(result.workbench, result.peer)
            if result.row.name in (LATENESS, FLOOR_LATENESS, REQUEST_LATENESS) and late_ms > LATE_MS:
                out.print(f"The load was up to {late_ms:.1f} ms late: the machine is too busy to measure latencies.")
    if drained:
        out.print(_memory_line(drained, options.backlog), highlight=False)
    for waiting, promotion_us in zip(DELAYED, promoted, strict=False):
        out.print(
            f"A task that is due is promoted in {promotion_us:.0f} us beside {waiting:,} that wait", highlight=False
        )
    for failure in failures:
        out.print(f"Not measured: {failure}", highlight=False, markup=False, soft_wrap=True)
    sys.exit(1 if failures else 0)


def _options(names: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, epilog=_EXAMPLE)
    parser.add_argument(
        "--rounds", type=_positive, default=5, help="how often each side has its turns; the medians are shown (5)"
    )
    parser.add_argument("--only", metavar="NAME", action="append", choices=names, help=f"one of {', '.join(names)}")
    parser.add_argument("--backlog", type=_positive, default=BACKLOG, help="events that drain for memory (1,000,000)")
    parser.add_argument("--url", default=os.environ.get("REDIS_URL"), help="Redis to use; without it a private one")
    parser.add_argument("--json", metavar="FILE", type=Path, default=RESULTS, help="where to write the results")
    return parser.parse_args()


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _wanted(only: Sequence[str] | None, *names: str) -> bool:
    return not only or any(name in only for name in names)


async def _product(url: str) -> str:
    async with connect(App("bench"), url) as bus:
        return str(bus.server)


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


class Turns:
    """The workbench and the peer in turn; the first side changes. Each has its own process, as in production: what
    other comparisons left in the memory allocator cost batch handlers a sixth.
    """

    def __init__(self, comparison: Comparison, rounds: int, progress: Progress) -> None:
        self.name = comparison.rows[0].name
        self._comparison = comparison
        self._progress = progress
        self._bar = progress.add_task(self.name, total=2 * comparison.turns_a_round * rounds)
        self._figures: dict[Side, list[tuple[float, ...]]] = {"workbench": [], "peer": []}

    def round(self, url: str) -> None:
        """One round on the server at `url`."""
        with _process() as workbench_process, _process() as peer_process:
            processes: dict[Side, ProcessPoolExecutor] = {"workbench": workbench_process, "peer": peer_process}
            for _ in range(self._comparison.turns_a_round):
                begun = len(self._figures["workbench"])
                order: tuple[Side, Side] = ("workbench", "peer") if begun % 2 == 0 else ("peer", "workbench")
                for side in order:
                    if not server.calm(url):
                        warning = f"{self.name}: the server was never calm before a turn; does another program use it?"
                        self._progress.console.print(warning)
                    took_turn = processes[side].submit(turn, self.name, side, url, _namespace())
                    self._figures[side].append(took_turn.result())
                    self._progress.advance(self._bar)

    def results(self) -> list[Result]:
        """One result for each row of the comparison."""
        workbench, peer = (
            list(zip(*figures, strict=True)) for figures in self._figures.values()
        )  # a tuple for each row
        return [
            Result(row, statistics.median(a), statistics.median(b), tuple(x / y for x, y in zip(a, b, strict=True)))
            for row, a, b in zip(self._comparison.rows, workbench, peer, strict=True)
        ]


def _process() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


def _drain(url: str, backlog: int, progress: Progress) -> memory.Memory:
    bar = progress.add_task(MEMORY, total=1.0)
    return asyncio.run(memory.measure(url, _namespace(), backlog, lambda share: progress.update(bar, completed=share)))


def _namespace() -> str:
    return f"bench-{secrets.token_hex(4)}"


def _described(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"{error.name} is not installed; `make bench` does it, or pip install -e '.[bench]'"
    return f"{type(error).__name__}: {error}"


def _write(path: Path, results: Sequence[Result], drained: memory.Memory | None) -> None:
    rows: dict[str, dict[str, float | str]] = {
        r.row.name: {"workbench": r.workbench, "peer": r.peer, "ratio": r.ratio, "unit": r.row.unit} for r in results
    }
    if drained:
        rows[MEMORY] = {
            "workbench": drained.max,
            "peer": drained.start,
            "ratio": drained.max / drained.start,
            "unit": "MB, at most / at the start",
            "end": drained.end,
            "slope_mb_per_million": drained.slope,
        }
    path.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def _table(results: Sequence[Result], title: str) -> Table:
    table = Table(title=title)
    for column in ("workbench / peer", "workbench", "peer", "unit", "ratio", "of turns", "target", "met"):
        table.add_column(column, justify="right" if column in ("workbench", "peer", "ratio") else "left", no_wrap=True)
    for r in results:
        target = r.row.target
        table.add_row(
            *(r.row.what, _shown(r.workbench), _shown(r.peer), r.row.unit, f"{r.ratio:.2f}"),
            f"{min(r.ratios):.2f} to {max(r.ratios):.2f}",
            *("", "") if target is None else (str(target), "yes" if target.met(r.ratio) else "no"),
        )
    return table


def _shown(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.2f}"


def _memory_line(drained: memory.Memory, backlog: int) -> str:
    if backlog < BACKLOG:
        verdict = f"no verdict on fewer than {BACKLOG:,}"
    else:
        verdict = "flat" if drained.slope < memory.GROWTH_MB_MAX else "not flat"
    return (
        f"Memory while {backlog:,} events drain at {drained.drained_per_s:,.0f}/s: start {drained.start:.1f} MB,"
        f" max {drained.max:.1f}, end {drained.end:.1f}, slope {drained.slope:+.1f} MB a million events: {verdict}"
        f" (target: below {memory.GROWTH_MB_MAX:g})"
    )


if __name__ == "__main__":
    main()
