"""What all commands share: two consoles, exit statuses, JSON for machines, and a line for every expected problem."""

import json
import math
import os
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, ClassVar, cast

import typer
from pydantic import ValidationError
from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleDimensions, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from eventlib.errors import EventlibError
from eventlib.extras import MissingExtra, needs_extra

FAILED, WRONG, INVALID, INTERRUPTED = 1, 2, 3, 130  # as `EXIT_STATUS` words them
EXIT_STATUS = (
    "Exit status: 0 it holds, 1 a promise is broken, 2 bad input or no server, "
    "3 invalid run (late generator, too noisy, not drained in time), 130 Ctrl-C."
)
_PIPE_COLUMNS, _COLUMNS_MIN = 160, 20
_FOLDED_MIN = 16  # columns that the folded cells of a row have at least, so that a metric's own name stays whole
_UsageError = cast(type[Exception], typer.BadParameter.__base__)


def printable(text: str, *, kept: str = "\n\t") -> str:
    """The text as a terminal may have it: what is not printable is escaped, so it cannot steer the terminal."""
    return "".join(c if c.isprintable() or c in kept else _escaped(c) for c in text)


def one_line(text: str) -> str:
    """The text on one line, with all that is not printable escaped."""
    return printable(text, kept="")


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


class PlainConsole(Console):
    """Writes text as it is: no markup, emoji codes, highlighting, links or control characters are read in it.

    Escape sequences go to a terminal alone, whatever the environment asks for. Lines are not cut.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False, legacy_windows=False)
        self._width = None  # it is asked for when something is printed

    def tell(self, *parts: str | tuple[str, str]) -> None:
        """Print one paragraph and leave its wrapping to the terminal. A part is text, or text and its style."""
        pairs = [(part, "") if isinstance(part, str) else part for part in parts]
        self.print(Text.assemble(*((printable(text), style) for text, style in pairs)), soft_wrap=True)

    @property
    def is_terminal(self) -> bool:
        try:
            return bool(self.file.isatty())
        except ValueError:  # it is closed
            return False

    @property
    def size(self) -> ConsoleDimensions:
        columns = os.environ.get("COLUMNS", "")
        if columns.isascii() and columns.isdigit() and int(columns):
            found = int(columns)
        else:
            try:
                found = os.get_terminal_size(self.file.fileno()).columns or 80
            except (OSError, ValueError):  # a pipe or a file, which no table needs to fit into
                found = _PIPE_COLUMNS
        return ConsoleDimensions(max(found, _COLUMNS_MIN), 25)

    @size.setter
    def size(self, new_size: tuple[int, int]) -> None:
        raise AttributeError("the terminal decides")

    def render_str(self, text: str, *args: Any, **options: Any) -> Text:
        return super().render_str(printable(text), *args, **options)


out = PlainConsole()
err = PlainConsole(stderr=True)


def print_table(
    columns: Mapping[str, Sequence[str]],
    *,
    folded: Collection[str],
    numbers: Collection[str] = (),
    spare: Iterable[str] = (),
    bold_rows: Collection[int] = (),
) -> None:
    """Print a table of plain text. `columns` has the cells of each.

    Where the terminal is narrow, the heads and the `folded` columns are broken, then the `spare` ones are left out, the
    first one first. All others are never cut: a line that is still too long is left to the terminal.
    """
    shown = {name: [one_line(cell) for cell in cells] for name, cells in columns.items()}
    heads = {name: name for name in shown}
    if _narrowest(shown, heads, folded) > out.width:
        heads = {name: name.replace(" ", "\n") for name in shown}
    for name in spare:
        if _narrowest(shown, heads, folded) > out.width:
            del shown[name]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in shown:
        justify, folds = ("right" if name in numbers else "left"), name in folded
        table.add_column(heads[name], justify=justify, overflow="fold", no_wrap=not folds)  # type: ignore[arg-type]
    for number, row in enumerate(zip(*shown.values(), strict=True)):
        table.add_row(*row, style="bold" if number in bold_rows else "")
    out.print(_AtLeast(table, _narrowest(shown, heads, folded)), crop=False)


def _narrowest(columns: Mapping[str, Sequence[str]], heads: Mapping[str, str], folded: Collection[str]) -> int:
    """How many columns of the terminal a table needs at least."""
    widths = {name: max(map(cell_len, (*heads[name].split("\n"), *cells))) for name, cells in columns.items()}
    least = max(8, _FOLDED_MIN // max(1, len(folded)))
    return 1 + sum(2 + (min(width, least) if name in folded else width) for name, width in widths.items())


class _AtLeast:
    """A table that is so wide at least, on a terminal that is narrower too."""

    def __init__(self, table: Table, width: int) -> None:
        self._table = table
        self._width = width

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from console.render(self._table, options.update(width=max(self._width, options.max_width)))


class Commands(TyperGroup):
    """A group of commands. An expected error ends in a line a problem and a status; a traceback is a defect of ours."""

    expected: ClassVar[tuple[type[Exception], ...]] = (EventlibError,)
    invalid: ClassVar[tuple[type[Exception], ...]] = ()  # those of `expected` that are a run without a result

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        with self._told():  # it prints the help
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        out.stderr = False
        with self._told():
            return super().invoke(ctx)

    @contextmanager
    def _told(self) -> Iterator[None]:
        status = WRONG
        try:
            with needs_extra("workbench", "this command"):  # a command may import as it runs
                yield
            return
        except KeyboardInterrupt:
            err.tell("Interrupted. Nothing was left running.")
            raise typer.Exit(INTERRUPTED) from None
        except _UsageError as error:
            if type(error).__name__ == "NoArgsIsHelpError":  # then typer shows the help
                raise
            found = [_usage(error)]
        except ValidationError as error:
            found = [problem["msg"] for problem in error.errors(include_url=False)]
        except MissingExtra as error:
            found = [str(error)]
        except self.expected as error:
            found = self.problems(error)
            status = INVALID if isinstance(error, self.invalid) else WRONG
        except MemoryError:
            found = ["memory: there is not enough of it for this; ask for less at once"]
        except OSError as error:
            found = [f"{error.filename or 'system'}: {error.strerror or error}"]
        for problem in found:
            err.tell(("error:", "bold red"), f" {problem}")
        raise typer.Exit(status)

    def problems(self, error: Exception) -> list[str]:
        """What is wrong, a line each."""
        return [str(error)]


def ending(example: str) -> str:
    """What a command's help ends with: an example, and the exit statuses, which are the same for all commands."""
    return f"Example: {example}\n\n{EXIT_STATUS}"


def _usage(error: Any) -> str:
    """What is wrong with the command line, and where to read more."""
    command = f" ({error.ctx.command_path} --help says more)" if error.ctx else ""
    return f"{' '.join(error.format_message().split())}{command}"


def writable(file: Path | None) -> Path | None:
    """Try a file that is to be written, before a command works for minutes. What is in it stays until then."""
    if file is None:
        return None
    if file == Path("-"):
        raise typer.BadParameter("- is no file; name one")
    try:
        if file.is_dir() or not file.absolute().parent.is_dir():
            raise typer.BadParameter(f"{file} cannot be written; name a file in a directory that exists")
        target = Path(os.path.realpath(file))  # a link may lead to a file that is not there yet
        there = target.exists()
        if there and not target.is_file():  # a pipe or a device, where a trial would be the real thing
            return file
        with target.open("ab"):
            pass
        if not there:
            target.unlink()
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be written ({error.strerror}); name another file") from error
    return file


def _json_target(file: Path | None) -> Path | None:
    if file != Path("-"):
        return writable(file)
    out.stderr = True  # so that standard output is JSON and nothing else
    return file


Json = Annotated[
    Path | None,
    typer.Option(
        "--json",
        help="Also write the result here, for machines. With - it goes to standard output, all else to standard error.",
        callback=_json_target,
        metavar="FILE",
    ),
]


def keep_apart(inputs: Iterable[Path | None], *outputs: Path | None) -> None:
    """Make sure that no output is a file that is read, and that no two outputs are one file.

    Raises:
        typer.BadParameter: one is.
    """
    taken = [(file, "is read; it would be overwritten") for file in inputs if file is not None]
    for output in outputs:
        if output is None or output == Path("-"):
            continue
        for file, problem in taken:
            if _same(file, output):
                raise typer.BadParameter(f"{output} {problem}; name another file")
        taken.append((output, "would be written twice"))


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other) and one.is_file()
    except OSError:  # one of them is not there
        return os.path.normcase(os.path.realpath(one)) == os.path.normcase(os.path.realpath(other))


def write_json(json_file: Path | None, result: Mapping[str, Any]) -> None:
    """Write the result of a command where `--json` named a file.

    JSON has no form for numbers without a value: NaN becomes null, infinity the text "Infinity" or "-Infinity".
    """
    if json_file is None:
        return
    text = json.dumps(_numbers_as_json(result), indent=2, allow_nan=False) + "\n"
    if json_file == Path("-"):
        sys.stdout.write(text)
        sys.stdout.flush()
    else:
        json_file.write_text(text, encoding="utf-8")


def _numbers_as_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _numbers_as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_numbers_as_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
