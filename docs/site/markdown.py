"""Writes Markdown: headings and tables."""

from collections.abc import Iterable, Sequence


def heading(level: int, text: str) -> str:
    """A heading, with its empty lines."""
    return f"\n{'#' * level} {text}\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; what would end a cell is escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell(text) for text in line)} |\n" for line in lines)


def cell(text: str) -> str:
    """Text in one line, with no bar that would begin the next cell."""
    return " ".join(text.split()).replace("|", "\\|")
