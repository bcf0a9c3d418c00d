"""What the workbench's commands show in a terminal beside what the library's do: progress, tables of metrics."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import ClassVar

from rich import box
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from eventlib import EventlibError
from eventlib.cli import console
from eventlib.cli.console import err
from sim.errors import SimError


class Commands(console.Commands):
    """The library's commands, where errors of the workbench are expected too."""

    expected: ClassVar[tuple[type[Exception], ...]] = (SimError, EventlibError)


@contextmanager
def steps() -> Iterator[Callable[[str, float], None]]:
    """Progress bars, one for each step as it comes up."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err) as bars:
        tasks: dict[str, TaskID] = {}

        def tell(step: str, share: float) -> None:
            if step not in tasks:
                for task in tasks.values():
                    bars.update(task, completed=1.0)
                tasks[step] = bars.add_task(step, total=1.0)
            bars.update(tasks[step], completed=share)

        yield tell
        for task in tasks.values():
            bars.update(task, completed=1.0)


@contextmanager
def progress(step: str) -> Iterator[Callable[[float], None]]:
    with steps() as tell:
        yield partial(tell, step)


def table_of(title: str, *numbers: str) -> Table:
    """A table of metrics that fits eighty columns."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("metric", no_wrap=True)
    for column in numbers:
        table.add_column(column, justify="right", no_wrap=True)
    return table
