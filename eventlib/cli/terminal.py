"""The two consoles that all commands write to: text is shown as it is, and tables fit what they are written to."""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleDimensions, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

_PIPE_COLUMNS, _COLUMNS_MIN = 160, 20
_FOLDED_MIN = 16  # columns that the folded cells of a row have at least, so that a metric's own name stays whole


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


def print_facts(facts: Mapping[str, str]) -> None:
    """Print what is known of one thing: a line for each fact, under its name. Empty ones are left out."""
    for name, value in facts.items():
        if value:
            out.tell((f"{name:12}", "bold"), value)


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
    out.print(AtLeast(table, _narrowest(shown, heads, folded)), crop=False)


def _narrowest(columns: Mapping[str, Sequence[str]], heads: Mapping[str, str], folded: Collection[str]) -> int:
    """How many columns of the terminal a table needs at least."""
    widths = {name: max(map(cell_len, (*heads[name].split("\n"), *cells))) for name, cells in columns.items()}
    least = max(8, _FOLDED_MIN // max(1, len(folded)))
    return 1 + sum(2 + (min(width, least) if name in folded else width) for name, width in widths.items())


class AtLeast:
    """What is so wide at least, on a terminal that is narrower too: that breaks the lines. Print it without `crop`."""

    def __init__(self, table: RenderableType, width: int) -> None:
        self._table = table
        self._width = width

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from console.render(self._table, options.update(width=max(self._width, options.max_width)))
