"""Load: when events are sent, and how much work each one is. Declarations, and the draws made from them."""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from stat import S_ISREG
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from sim.errors import InvalidTrace

Floats = npt.NDArray[np.float64]

TRACE_COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")


class Declared(BaseModel):
    """What all declarations share: immutable, no unknown field, no infinity or NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


# When events are sent


class ConstantLoad(Declared):
    """One event every 1 / rate_per_s seconds."""

    kind: Literal["constant"]
    event: str
    rate_per_s: float = Field(gt=0)
    duration_s: float = Field(gt=0, le=1e6)

    def arrivals_s(self, rng: np.random.Generator) -> Floats:
        """Intended send times in seconds from the start, ascending, shape (n,)."""
        return np.arange(int(np.floor(self.rate_per_s * self.duration_s + 1e-9))) / self.rate_per_s


class PoissonLoad(Declared):
    """Events at random, independently of each other, `rate_per_s` of them a second on average."""

    kind: Literal["poisson"]
    event: str
    rate_per_s: float = Field(gt=0)
    duration_s: float = Field(gt=0, le=1e6)

    def arrivals_s(self, rng: np.random.Generator) -> Floats:
        """Intended send times in seconds from the start, ascending, shape (n,)."""
        # Given their number, Poisson arrivals are uniform and sorted.
        return np.sort(rng.uniform(0.0, self.duration_s, rng.poisson(self.rate_per_s * self.duration_s)))


class TraceLoad(Declared):
    """A recorded trace, replayed: one event for each row between `from_s` and `from_s + for_s` of the recording.

    `time_scale` stretches recorded seconds into seconds of the run: 0.05 replays twenty times as fast. Relative files
    are looked up beside the scenario's own; `sample` may stand in for a missing `file` where that is asked for.
    """

    kind: Literal["trace"]
    event: str
    file: Path
    sample: Path | None = None
    time_scale: float = Field(default=1.0, gt=0, le=1e3)
    from_s: float = Field(default=0.0, ge=0)
    for_s: float | None = Field(default=None, gt=0)

    def rows(self) -> "Trace":
        """The rows that are replayed.

        Raises:
            InvalidTrace: the file is missing or broken, or the window holds no row.
        """
        trace = read_trace(self.file)
        start, stop = np.searchsorted(trace.at_s, (self.from_s, self._to_s))
        if start == stop:
            last_s = trace.at_s[-1]
            raise InvalidTrace(
                str(self.file), f"no row from {self.from_s} s to {self._to_s} s; it ends at {last_s:.0f} s"
            )
        return Trace(trace.at_s[start:stop] - self.from_s, trace.generated_tokens[start:stop])

    @property
    def _to_s(self) -> float:
        return np.inf if self.for_s is None else self.from_s + self.for_s

    def arrivals_s(self, rng: np.random.Generator) -> Floats:
        """Intended send times in seconds from the start, ascending, shape (n,)."""
        return self.rows().at_s * self.time_scale

    @property
    def duration_s(self) -> float:
        """Length of the replay."""
        recorded_s = float(self.rows().at_s[-1]) if self.for_s is None else self.for_s
        return recorded_s * self.time_scale


Load = Annotated[ConstantLoad | PoissonLoad | TraceLoad, Field(discriminator="kind")]


# How much work one event is


class ConstantTime(Declared):
    """Every event takes the same time."""

    kind: Literal["constant"]
    mean_s: float = Field(ge=0, le=1e6)

    def draw(self, n: int, rng: np.random.Generator, load: Load) -> Floats:
        """Service times of n events in seconds, shape (n,)."""
        return np.full(n, self.mean_s)


class ExponentialTime(Declared):
    """Exponentially distributed service time."""

    kind: Literal["exponential"]
    mean_s: float = Field(gt=0, le=1e6)

    def draw(self, n: int, rng: np.random.Generator, load: Load) -> Floats:
        """Service times of n events in seconds, shape (n,)."""
        return rng.exponential(self.mean_s, n)


class LognormalTime(Declared):
    """Lognormally distributed service time; `cv` is its standard deviation over its mean."""

    kind: Literal["lognormal"]
    mean_s: float = Field(gt=0, le=1e6)
    cv: float = Field(gt=0, le=100)

    def draw(self, n: int, rng: np.random.Generator, load: Load) -> Floats:
        """Service times of n events in seconds, shape (n,)."""
        # Moments of the lognormal solved for its parameters: sigma^2 = ln(1 + cv^2), mu = ln(mean) - sigma^2 / 2.
        variance = np.log1p(self.cv**2)
        return rng.lognormal(np.log(self.mean_s) - variance / 2.0, np.sqrt(variance), n)


class TokenTime(Declared):
    """`base_s + per_token_s` x the row's GeneratedTokens, in recorded seconds: the load's time scale applies to it too,
    so that the replay is as busy as the recording was."""

    kind: Literal["tokens"]
    base_s: float = Field(ge=0, le=1e6)
    per_token_s: float = Field(ge=0, le=1e3)

    def draw(self, n: int, rng: np.random.Generator, load: Load) -> Floats:
        """Service times of n events in seconds, shape (n,). Events that one row set off all have its work."""
        assert isinstance(load, TraceLoad)  # Scenario makes sure of it
        tokens = load.rows().generated_tokens
        recorded_s = self.base_s + self.per_token_s * np.repeat(tokens, n // len(tokens))
        return recorded_s * load.time_scale


ServiceTime = Annotated[ConstantTime | ExponentialTime | LognormalTime | TokenTime, Field(discriminator="kind")]


# Recorded traces


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
