"""The files that traces are in: CSV and Parquet, each as it is or packed by gzip."""

import csv
import gzip
import io
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sim.declare.declared import Floats
from sim.declare.traces.values import (
    PER_S,
    Moments,
    Unfit,
    Unit,
    counted,
    form_of,
    in_range,
    moments,
    numbers,
    problem_of_number,
    problem_of_time,
)
from sim.errors import InvalidTrace

DELIMITERS = ",;\t|"
_GZIP, _PARQUET = b"\x1f\x8b", b"PAR1"
_SHOWN = 80  # characters of a row that a message shows


@dataclass(frozen=True, slots=True)
class Columns:
    """What was read of a table, in the order of its rows, shape (n,) each: times in ticks, and numbers by column."""

    ticks: npt.NDArray[Any]
    per_s: float
    numbers: Mapping[str, Floats]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a column has: times, numbers or other text; its first value as it is written; and if they are numbers, the
    lowest and the highest, and whether they ascend.
    """

    name: str
    has: Literal["times", "numbers", "text"]
    first: str
    low: float = np.nan
    high: float = np.nan
    ascends: bool = False


class Table(ABC):
    """A file with named columns. `place` names it where something is wrong with these."""

    names: tuple[str, ...]
    place: str
    delimiter: str | None = None  # of a CSV

    @abstractmethod
    def read(self, at: str, of_numbers: Sequence[str], unit: Unit | None) -> Columns:
        """The column of the times, and those of numbers.

        Raises:
            InvalidTrace: there is no row, or one cannot be read; the message has its line number.
        """

    @abstractmethod
    def look(self) -> list[Seen]:
        """What each column has, in the order of the file.

        Raises:
            InvalidTrace: the file is no table, or has no row.
        """


def open_table(file: Path, delimiter: str | None) -> Table:
    """The table that a file holds. What it is, its first bytes tell.

    Raises:
        InvalidTrace: it is none.
    """
    data = file.read_bytes()
    if data[:2] == _GZIP:
        try:
            data = gzip.decompress(data)
        except (EOFError, OSError, zlib.error) as error:
            raise InvalidTrace(str(file), f"is a broken gzip file ({error}); fetch or pack it again") from error
    if data[:4] == _PARQUET:
        if delimiter is not None:
            raise InvalidTrace(str(file), "is Parquet, which has no delimiter; leave that out")
        return _Parquet(file, data)
    return _Csv(file, data, delimiter)


class _Csv(Table):
    def __init__(self, file: Path, data: bytes, delimiter: str | None) -> None:
        self._file = file
        self._data = data
        self.place = f"{file}, line 1"
        head = data.partition(b"\n")[0]
        try:
            text = head.decode("utf-8-sig").rstrip("\r")
            self.delimiter = delimiter or max(DELIMITERS, key=text.count)
            header = next(csv.reader([text], delimiter=self.delimiter), [])
        except (UnicodeDecodeError, csv.Error) as error:
            raise InvalidTrace(self.place, f"not a CSV file in UTF-8 ({error})") from error
        self.names = tuple(name.strip() for name in header)
        if not any(self.names):
            raise InvalidTrace(self.place, "has no column names; the first line of a trace names its columns")
        if all(form_of(name) for name in self.names):
            names = ", ".join(self.names)
            raise InvalidTrace(self.place, f"has values and no column names ({names}); put a line of names above it")

    def read(self, at: str, of_numbers: Sequence[str], unit: Unit | None) -> Columns:
        try:
            found = self._columns([at, *of_numbers])
            if not len(found[at]):
                raise InvalidTrace(str(self._file), "has no rows")
            times = moments(found[at], unit)
            return Columns(times.ticks, times.per_s, {name: numbers(found[name]) for name in of_numbers})
        except Unfit as error:
            self._refuse_row(at, of_numbers)
            raise InvalidTrace(str(self._file), f"{error}; correct it, or name the unit") from error

    def look(self) -> list[Seen]:
        if len(set(self.names)) < len(self.names):
            raise InvalidTrace(self.place, f"a column comes twice: {', '.join(self.names)}; rename one")
        try:
            columns = self._columns(self.names)
        except Unfit as error:
            self._refuse_row(None, ())
            raise InvalidTrace(str(self._file), f"is no CSV file that can be read: {error}") from error
        return _looked_at(self._file, columns)

    def _columns(self, wanted: Iterable[str]) -> dict[str, Any]:
        """Columns of texts, without space around them."""
        import pyarrow as pa
        import pyarrow.compute as pc
        from pyarrow import csv as arrow

        places = {name: str(self.names.index(name)) for name in wanted}
        try:
            table = arrow.read_csv(
                pa.BufferReader(self._data),
                read_options=arrow.ReadOptions(
                    use_threads=False, skip_rows=1, column_names=[str(place) for place in range(len(self.names))]
                ),
                parse_options=arrow.ParseOptions(
                    delimiter=self.delimiter, ignore_empty_lines=False, newlines_in_values=True
                ),
                convert_options=arrow.ConvertOptions(
                    column_types=dict.fromkeys(places.values(), pa.string()),
                    include_columns=list(places.values()),
                    strings_can_be_null=False,
                ),
            )
        except pa.ArrowInvalid as error:
            if b"\n" not in self._data.rstrip(b"\r\n"):
                return {name: pa.array([], pa.string()) for name in places}
            raise Unfit(str(error).partition("\n")[0]) from error
        return {name: pc.ascii_trim_whitespace(table[place]) for name, place in places.items()}

    def _refuse_row(self, at: str | None, of_numbers: Sequence[str]) -> None:
        """Find the first row that cannot be read, and refuse it by its line."""
        rows = csv.reader(_decoded(io.BytesIO(self._data)), delimiter=self.delimiter or ",")
        form: str | None = None
        try:
            next(rows)
            for row in rows:
                problem = f"{len(row)} fields, where the header has {len(self.names)}"
                if len(row) == len(self.names):
                    values = {
                        name: row[self.names.index(name)].strip() for name in (*([at] if at else ()), *of_numbers)
                    }
                    form = form or (form_of(values[at]) if at else None)
                    problems = [problem_of_time(values[at], form or "")] if at else []
                    problems += [problem_of_number(values[name]) for name in of_numbers]
                    problem = next((one for one in problems if one), "")
                if problem:
                    raise InvalidTrace(
                        f"{self._file}, line {rows.line_num}", _no_row(row, problem, self.delimiter or ",")
                    )
        except (UnicodeDecodeError, csv.Error) as error:
            raise InvalidTrace(
                f"{self._file}, line {rows.line_num + 1}", f"not a CSV file in UTF-8 ({error})"
            ) from error


class _Parquet(Table):
    def __init__(self, file: Path, data: bytes) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        self._file = file
        self.place = str(file)
        try:
            self._table = parquet.ParquetFile(pa.BufferReader(data))
            self.names = tuple(self._table.schema_arrow.names)
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(error) from error

    def read(self, at: str, of_numbers: Sequence[str], unit: Unit | None) -> Columns:
        table = self._read([at, *of_numbers])
        if not table.num_rows:
            raise InvalidTrace(str(self._file), "has no rows")
        times: Moments = self._checked(at, partial(_times, table[at], unit))
        found = {name: self._checked(name, partial(_numbers, table[name])) for name in of_numbers}
        return Columns(times.ticks, times.per_s, found)

    def look(self) -> list[Seen]:
        table = self._read(list(self.names))
        return _looked_at(self._file, {name: table[name] for name in self.names})

    def _read(self, names: list[str]) -> Any:
        import pyarrow as pa

        try:
            return self._table.read(columns=names, use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(error) from error

    def _checked(self, name: str, read: Callable[[], Any]) -> Any:
        import pyarrow as pa

        try:
            return read()
        except (Unfit, pa.ArrowException) as error:
            reason = str(error).partition("\n")[0] or "a value is missing, or is neither a time nor a number"
            raise InvalidTrace(f"{self._file}, column {name}", f"{reason}; correct it or name another") from error

    def _unreadable(self, error: Exception) -> InvalidTrace:
        return InvalidTrace(str(self._file), f"is no Parquet file that can be read ({error}); write it again")


def _looked_at(file: Path, columns: Mapping[str, Any]) -> list[Seen]:
    import pyarrow as pa

    if not all(len(column) for column in columns.values()):
        raise InvalidTrace(str(file), "has no rows")
    found = []
    for name, column in columns.items():
        first = str(column[0].as_py())
        try:
            values = _numbers(column)
            ascends = bool(np.all(np.diff(values) >= 0))
            found.append(Seen(name, "numbers", first, float(values.min()), float(values.max()), ascends))
            continue
        except (Unfit, pa.ArrowException):
            pass
        try:
            _times(column, None)
            found.append(Seen(name, "times", first))
        except (Unfit, pa.ArrowException):
            found.append(Seen(name, "text", first))
    return found


def _times(column: Any, unit: Unit | None) -> Moments:
    import pyarrow as pa
    import pyarrow.compute as pc

    if column.null_count:
        raise Unfit("a time is missing")
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        stamps = pa.timestamp("ns", getattr(column.type, "tz", None))
        return Moments(pc.cast(pc.cast(column, stamps), pa.int64()).to_numpy(), PER_S["ns"])
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return moments(pc.ascii_trim_whitespace(pc.cast(column, pa.string())), unit)
    whole = pa.types.is_integer(column.type)
    return counted(pc.cast(column, pa.int64() if whole else pa.float64()).to_numpy(), unit)


def _numbers(column: Any) -> Floats:
    import pyarrow as pa
    import pyarrow.compute as pc

    if column.null_count:
        raise Unfit("a number is missing")
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return numbers(pc.ascii_trim_whitespace(pc.cast(column, pa.string())))
    return in_range(np.asarray(pc.cast(column, pa.float64()).to_numpy()))


def _decoded(lines: Iterable[bytes]) -> Iterator[str]:
    """Line by line, so that an error is found in its line; the first one may carry a byte order mark."""
    for number, line in enumerate(lines):
        yield line.decode("utf-8" if number else "utf-8-sig")


def _no_row(row: Sequence[str], problem: str, delimiter: str) -> str:
    text = delimiter.join(row)
    shown = repr(text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "...")
    return f"{shown} is no row of this trace ({problem}); mend or delete it"
