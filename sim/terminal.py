"""What all commands share: consoles, exit statuses, progress bars, tables, JSON for machines, errors in one line."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from pydantic import ValidationError
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from typer.core import TyperGroup

from eventlib import EventlibError
from sim.errors import SimError

FAILED, WRONG, INTERRUPTED = 1, 2, 130  # a check is false; bad input or no server; Ctrl-C

# Into a pipe or a file, a table is as wide as it needs: at 80 columns it would be cut.
out = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160)
err = Console(stderr=True)


class Commands(TyperGroup):
    """Every foreseen error becomes one message and an exit status; a traceback is a defect of ours."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        with _foreseen():  # it prints the help
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        with _foreseen():
            return super().invoke(ctx)


@contextmanager
def _foreseen() -> Iterator[None]:
    try:
        yield
        return
    except KeyboardInterrupt:
        err.print("Interrupted. Nothing was left running.")
        raise typer.Exit(INTERRUPTED) from None
    except (SimError, EventlibError) as error:
        problem = str(error)
    except ValidationError as error:
        problem = "; ".join(found["msg"] for found in error.errors(include_url=False))
    except OSError as error:
        problem = f"{error.filename or 'system'}: {error.strerror or error}"
    err.print(f"[bold red]error:[/] {escape(problem)}", soft_wrap=True, highlight=False)
    raise typer.Exit(WRONG)


def writable(file: Path | None) -> Path | None:
    """Refuse at once what could not be written after minutes of work."""
    if file == Path("-"):
        raise typer.BadParameter("- is no file, and the tables go to standard output; name one")
    if file is not None and (file.is_dir() or not file.absolute().parent.is_dir()):
        raise typer.BadParameter(f"{file} cannot be written; name a file in a directory that exists")
    return file


Json = Annotated[
    Path | None, typer.Option("--json", help="Also write the result here, for machines.", callback=writable)
]


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


def write_json(json_file: Path | None, result: Mapping[str, Any]) -> None:
    if json_file is not None:
        json_file.write_text(json.dumps(_finite(result), indent=2) + "\n", encoding="utf-8")


def _finite(value: Any) -> Any:
    """JSON knows no NaN and no infinity: null."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
