"""What all commands share: two consoles, exit statuses, JSON for machines, and one line for every expected error."""

import json
import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from eventlib.errors import EventlibError
from eventlib.extras import MissingExtra, needs_extra

FAILED, WRONG, INVALID, INTERRUPTED = 1, 2, 3, 130  # as `EXIT_STATUS` words them
EXIT_STATUS = (
    "Exit status: 0 it holds, 1 a promise is broken, 2 bad input or no server, "
    "3 invalid run (late generator, too noisy, not drained in time), 130 Ctrl-C."
)

# rich takes a pipe or a file for 80 columns wide, and would cut the tables that are written there.
out = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160)
err = Console(stderr=True)


class Commands(TyperGroup):
    """A group of commands. An expected error ends in one line and an exit status; a traceback is a defect of ours."""

    expected: ClassVar[tuple[type[Exception], ...]] = (EventlibError,)
    invalid: ClassVar[tuple[type[Exception], ...]] = ()  # those of `expected` that are a run without a result

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        with self._one_line():  # it prints the help
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        with self._one_line():
            return super().invoke(ctx)

    @contextmanager
    def _one_line(self) -> Iterator[None]:
        status = WRONG
        try:
            with needs_extra("workbench", "this command"):  # a command may import as it runs
                yield
            return
        except KeyboardInterrupt:
            err.print("Interrupted. Nothing was left running.")
            raise typer.Exit(INTERRUPTED) from None
        except ValidationError as error:
            problem = "; ".join(found["msg"] for found in error.errors(include_url=False))
        except MissingExtra as error:
            problem = str(error)
        except self.expected as error:
            problem = str(error)
            status = INVALID if isinstance(error, self.invalid) else WRONG
        except MemoryError:
            problem = "memory: there is not enough of it for this; ask for less at once"
        except OSError as error:
            problem = f"{error.filename or 'system'}: {error.strerror or error}"
        err.print(f"[bold red]error:[/] {escape(problem)}", soft_wrap=True, highlight=False)
        raise typer.Exit(status)


def ending(example: str) -> str:
    """What a command's help ends with: an example, and the exit statuses, which are the same for all commands."""
    return f"Example: {example}\n\n{EXIT_STATUS}"


def writable(file: Path | None) -> Path | None:
    """Refuse a file that cannot be written before a command works for minutes."""
    if file == Path("-"):
        raise typer.BadParameter("- is no file, and the tables go to standard output; name one")
    if file is not None and (file.is_dir() or not file.absolute().parent.is_dir()):
        raise typer.BadParameter(f"{file} cannot be written; name a file in a directory that exists")
    return file


Json = Annotated[
    Path | None, typer.Option("--json", help="Also write the result here, for machines.", callback=writable)
]


def write_json(json_file: Path | None, result: Mapping[str, Any]) -> None:
    """Write the result of a command where `--json` named a file. NaN and infinity become null: JSON has neither."""
    if json_file is not None:
        json_file.write_text(json.dumps(_finite(result), indent=2) + "\n", encoding="utf-8")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
