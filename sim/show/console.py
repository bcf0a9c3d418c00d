"""What the simulator's commands show in a terminal: progress, tables of metrics, verdicts."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import numpy as np
from rich import box
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from eventlib.cli.console import err, out
from sim.evidence.capacity import overloads
from sim.evidence.checks import Check, Verdict
from sim.evidence.history import History
from sim.evidence.metrics import Interval, is_predicted, unit_of
from sim.infer.claims import Claim
from sim.infer.compare import Comparison
from sim.show.wording import percent, seeds
from sim.wording import digits

_MARKS: dict[Verdict, str] = {
    "true": "[green]true[/]   ",
    "false": "[bold red]false[/]  ",
    "unknown": "[yellow]unknown[/]",
}


@contextmanager
def steps() -> Iterator[Callable[[str, float], None]]:
    """Progress bars. Call what it yields with a step and the share of it that is done; each new step gets a bar."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err) as bars:
        tasks: dict[str, TaskID] = {}

        def advance(step: str, share: float) -> None:
            if step not in tasks:
                complete_all()
                tasks[step] = bars.add_task(step, total=1.0)
            bars.update(tasks[step], completed=share)

        def complete_all() -> None:
            for task in tasks.values():
                bars.update(task, completed=1.0)

        yield advance
        complete_all()


@contextmanager
def progress(step: str) -> Iterator[Callable[[float], None]]:
    """The progress bar of a single step."""
    with steps() as advance:
        yield partial(advance, step)


def metrics_table(history: History, summaries: Mapping[str, Interval]) -> Table:
    """The metrics of one world with their intervals."""
    title = f"{history.scenario.name}, {history.world}, runs: {len(history.runs)}"
    table = _table(title, "mean", "95 % interval", "unit")
    for name, found in summaries.items():
        interval = f"{_number(found.low)} to {_number(found.high)}" if np.isfinite(found.low) else ""
        if found.unhandled:
            interval = f"{digits(100 * found.unhandled)} % unhandled"
        table.add_row(name, _bound(found.mean, found), interval, unit_of(name))
    return table


def comparison_table(comparison: Comparison) -> Table:
    """The metrics of both worlds: first the relative error, which is judged, with the error bar that noise gives it."""
    name, runs = comparison.live.scenario.name, comparison.headline.live_runs
    title = f"{name} on {comparison.live.server}: both worlds on {seeds(comparison.seeds)}, n = {runs} live runs"
    table = _table(title, "error", "noise", "simulated", "live")
    table.add_column(f"within {percent(comparison.tolerance)}?", no_wrap=True)
    for row in comparison.rows:
        noise = "\N{PLUS-MINUS SIGN}" + percent(row.relative_noise)
        shares = percent(row.relative_error, signed=True), noise if np.isfinite(row.relative_noise) else "-"
        numbers = _bound(row.simulated, row.simulated_interval), _bound(row.live, row.live_interval)
        verdict = row.verdict if is_predicted(row.metric) else ""
        table.add_row(row.metric, *shares, *numbers, verdict)
    return table


def print_checks(checks: Iterable[Check]) -> None:
    """One line for each check: its verdict, what it claims and what was found."""
    for check in checks:
        _print_verdict(check.verdict, f"{check.claim}: {check.detail}")


def print_overloads(history: History) -> None:
    """A line for each service that was offered more than it can do."""
    for overload in overloads(history):
        out.print(f"Note: {escape(overload.in_words())}.", soft_wrap=True, highlight=False)


def print_claims(claims: Iterable[Claim]) -> None:
    """One line for each claim of the report: its verdict, the claim and what was measured."""
    for claim in claims:
        _print_verdict(claim.verdict, f"{claim.claim}: {claim.measured}")


def _print_verdict(verdict: Verdict, text: str) -> None:
    out.print(f"{_MARKS[verdict]} {escape(text)}", soft_wrap=True, highlight=False)


def _table(title: str, *numbers: str) -> Table:
    """A table of metrics that fits eighty columns."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("metric", no_wrap=True)
    for column in numbers:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _bound(value: float, interval: Interval) -> str:
    """A number, marked where it is only a lower bound."""
    return f">= {_number(value)}" if interval.unhandled else _number(value)


def _number(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"
