"""Recorded traces: CSV and Parquet files with a row for each message, its time and what else was recorded of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from stat import S_ISREG
from typing import Any

import numpy as np

from sim.declare.declared import Floats
from sim.declare.traces.tables import Table, open_table
from sim.declare.traces.values import Unit
from sim.errors import InvalidTrace

AT = "at"  # what a declaration calls the column of the times
# Of a trace whose columns are not declared. So called by "Azure LLM inference trace 2023"; see data/README.md.
KNOWN = {AT: "TIMESTAMP", "context": "ContextTokens", "work": "GeneratedTokens"}
TRACE_COLUMNS = tuple(KNOWN.values())


@dataclass(frozen=True, slots=True)
class TraceFormat:
    """How a trace is to be read.

    `columns` pairs names with the columns of the file that they stand for: `at` with that of the times, any other name
    with a column of numbers. Without any, they are those of `KNOWN`. `delimiter` is found where it is not named. `unit`
    says what times that are numbers count, from any moment on; it is found by their size where it is not named.
    """

    columns: tuple[tuple[str, str], ...] = ()
    delimiter: str | None = None
    unit: Unit | None = None


@dataclass(frozen=True, slots=True)
class Trace:
    """Rows of a recorded trace, sorted by time.

    `at_s` are seconds since the first row, ascending; `numbers` the columns of numbers, by their declared names. All
    have shape (n,). `began_s` is when the first row was recorded, in seconds since the moment that the file counts
    from. `unsorted` says how many rows of the file were earlier than one before them.
    """

    at_s: Floats
    numbers: Mapping[str, Floats]
    began_s: float = 0.0
    unsorted: int = 0


def read_trace(file: Path, form: TraceFormat | None = None) -> Trace:
    """Read a CSV or Parquet file, as it is or packed by gzip. Rows that are out of order are sorted.

    Times are ISO 8601, in UTC where they have no zone, or numbers.

    Raises:
        InvalidTrace: the file is missing, or a row cannot be read; the message has its line number.
    """
    stat = _look_at(file)
    return _read_trace(file, stat, form or TraceFormat())


def open_trace(file: Path, delimiter: str | None = None) -> Table:
    """The table that a file holds, to look at its columns.

    Raises:
        InvalidTrace: the file is missing, or is no table.
    """
    _look_at(file)
    return open_table(file, delimiter)


def _look_at(file: Path) -> tuple[int, int]:
    """What tells that a file has changed. It is refused if it cannot be read."""
    try:
        stat = file.stat()
        if not S_ISREG(stat.st_mode):
            raise InvalidTrace(str(file), "is no file; name a CSV or Parquet file")
        with file.open("rb"):
            return stat.st_mtime_ns, stat.st_size
    except FileNotFoundError as error:
        problem = "no such trace; correct its name"
        raise InvalidTrace(str(file), problem) from error
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        reason = getattr(error, "strerror", None) or error
        raise InvalidTrace(repr(str(file)), f"cannot be read ({reason}); name a CSV or Parquet file") from error


@lru_cache(maxsize=8)
def _read_trace(file: Path, _stat: tuple[int, int], form: TraceFormat) -> Trace:
    table = open_table(file, form.delimiter)
    columns = dict(form.columns) or _known(table)
    for name in columns.values():
        if table.names.count(name) != 1:
            times = "no column" if name not in table.names else "several columns"
            raise InvalidTrace(table.place, f"has {times} {name!r}; there are: {', '.join(table.names)}")
    found = table.read(columns[AT], [column for name, column in columns.items() if name != AT], form.unit)
    ticks, per_s = found.ticks, found.per_s
    unsorted = int(np.count_nonzero(ticks < np.maximum.accumulate(ticks)))
    order: Any = np.argsort(ticks, kind="stable") if unsorted else slice(None)
    at_s = (ticks[order] - ticks.min()) / per_s
    numbers = {name: found.numbers[column][order] for name, column in columns.items() if name != AT}
    for values in (at_s, *numbers.values()):
        values.setflags(write=False)  # the cache hands them out again
    return Trace(at_s, numbers, float(ticks.min()) / per_s, unsorted)


def _known(table: Table) -> dict[str, str]:
    if not set(TRACE_COLUMNS) <= set(table.names):
        problem = f"columns {list(table.names)}; expected {list(TRACE_COLUMNS)}"
        mend = "say which is which, such as columns: {at: ts, work: size} (`workbench trace inspect` helps)"
        raise InvalidTrace(table.place, f"{problem}; {mend}")
    return KNOWN
