"""Recorded traces: CSV files with the columns TIMESTAMP (UTC), ContextTokens and GeneratedTokens."""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from stat import S_ISREG

import numpy as np

from sim.declare.declared import Floats
from sim.errors import InvalidTrace

TRACE_COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")


@dataclass(frozen=True, slots=True)
class Trace:
    """Rows of a recorded trace: seconds since its first row (ascending) and tokens generated, both of shape (n,)."""

    at_s: Floats
    generated_tokens: Floats


def read_trace(file: Path) -> Trace:
    """Read a CSV with the columns TIMESTAMP (UTC), ContextTokens and GeneratedTokens, rows in time order.

    Raises:
        InvalidTrace: the file is missing, or a row cannot be read; the message has its line number.
    """
    try:
        stat = file.stat()
        if not S_ISREG(stat.st_mode):
            raise InvalidTrace(str(file), "is no file; name a CSV file")
        return _read_trace(file, stat.st_mtime_ns, stat.st_size)
    except FileNotFoundError as error:
        problem = "no such trace; data/README.md says what to fetch and where to put it (or use --sample-if-missing)"
        raise InvalidTrace(str(file), problem) from error
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        reason = getattr(error, "strerror", None) or error
        raise InvalidTrace(repr(str(file)), f"cannot be read ({reason}); name a CSV file") from error


@lru_cache(maxsize=8)
def _read_trace(file: Path, _mtime_ns: int, _size: int) -> Trace:
    at_ns: list[int] = []
    tokens: list[int] = []
    with file.open("rb") as lines:
        rows = csv.reader(_decoded(lines))
        try:
            header = next(rows, [])
            if tuple(header) != TRACE_COLUMNS:
                raise InvalidTrace(f"{file}, line 1", f"columns {header}; expected {list(TRACE_COLUMNS)}")
            for row in rows:
                at, generated = _parse_row(row, f"{file}, line {rows.line_num}")
                if at_ns and at < at_ns[-1]:
                    where = f"{file}, line {rows.line_num}"
                    raise InvalidTrace(where, "is earlier than the line before it; sort by TIMESTAMP")
                at_ns.append(at)
                tokens.append(generated)
        except (UnicodeDecodeError, csv.Error) as error:
            raise InvalidTrace(f"{file}, line {rows.line_num + 1}", f"not a CSV file in UTF-8 ({error})") from error
    if not at_ns:
        raise InvalidTrace(str(file), "has no rows")
    return Trace(np.array([at - at_ns[0] for at in at_ns]) / 1e9, np.array(tokens, dtype=np.float64))


def _decoded(lines: Iterable[bytes]) -> Iterator[str]:
    """Line by line, so that an error is found in its line; the first one may carry a byte order mark."""
    for number, line in enumerate(lines):
        yield line.decode("utf-8" if number else "utf-8-sig")


_TIMESTAMP = re.compile(r"(\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:Z|\+00:00)?", re.ASCII)
_TOKENS_MAX = 10**9


def _parse_row(row: Sequence[str], where: str) -> tuple[int, int]:
    """Nanoseconds since 1970, and tokens generated."""
    try:
        timestamp, context, generated = row
        parts = _TIMESTAMP.fullmatch(timestamp)
        if parts is None:
            raise ValueError("the timestamp is not YYYY-MM-DD HH:MM:SS in UTC")
        moment = datetime.fromisoformat(parts[1]).replace(tzinfo=UTC)
        if not 1970 <= moment.year < 2262:
            raise ValueError("the timestamp is out of range")
        if not (0 <= int(context) <= _TOKENS_MAX and 0 <= int(generated) <= _TOKENS_MAX):
            raise ValueError("no such number of tokens")
    except ValueError as error:
        text = ",".join(row)
        shown = repr(text if len(text) <= 80 else text[:77] + "...")
        raise InvalidTrace(where, f"{shown} is no row of this trace ({error}); mend or delete it") from error
    return int(moment.timestamp()) * 10**9 + int((parts[2] or "").ljust(9, "0")), int(generated)
