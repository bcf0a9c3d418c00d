"""A service time that was measured: drawn from recorded values."""

import csv
from functools import lru_cache
from pathlib import Path
from stat import S_ISREG
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, ValidationInfo, model_validator

from sim.declare.declared import Declared, FilePlaces, Floats
from sim.declare.loads.kind import LoadKind
from sim.declare.service_times.kind import ServiceTimeKind
from sim.errors import InvalidTrace
from sim.wording import quantity

COLUMN = "service_s"  # the column of a file; others are passed over
INLINE_MAX = 10_000  # values in a scenario itself
_MAX_S = 1e6


class Histogram(Declared):
    """`counts[i]` recorded values were from `edges_s[i]` to `edges_s[i + 1]`. Within a bin, all are equally likely."""

    edges_s: tuple[float, ...] = Field(min_length=2, max_length=INLINE_MAX + 1)
    counts: tuple[float, ...] = Field(min_length=1, max_length=INLINE_MAX)

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if len(self.edges_s) != len(self.counts) + 1:
            problem = (
                f"{len(self.edges_s)} of them bound {len(self.edges_s) - 1} bins, and there are {len(self.counts)}"
            )
            raise ValueError(f"edges_s: {problem} counts; give one edge more than counts")
        if not np.all(np.diff(self.edges_s) > 0) or self.edges_s[0] < 0 or self.edges_s[-1] > _MAX_S:
            raise ValueError(f"edges_s: they must ascend, from 0 s or later to at most {_MAX_S:g} s; sort them")
        if min(self.counts) < 0 or not sum(self.counts) > 0:
            raise ValueError("counts: one is negative, or all are 0; give how many values fell into each bin")
        return self

    def mean_s(self) -> float:
        """The mean in seconds."""
        return float(np.average((np.array(self.edges_s[1:]) + self.edges_s[:-1]) / 2.0, weights=self.counts))

    def draw(self, n: int, rng: np.random.Generator) -> Floats:
        """n values in seconds, shape (n,)."""
        # The distribution function is a line in each bin; an empty bin has no share of it.
        full = np.flatnonzero(self.counts)
        counts, edges_s = np.array(self.counts)[full], np.array(self.edges_s)
        share = rng.random(n) * counts.sum()
        until = np.cumsum(counts)
        bins = np.minimum(np.searchsorted(until, share, side="right"), full.size - 1)
        within = (share - (until - counts)[bins]) / counts[bins]
        low_s, high_s = edges_s[full][bins], edges_s[full + 1][bins]
        return np.asarray(np.clip(low_s + within * (high_s - low_s), low_s, high_s))


class EmpiricalTime(ServiceTimeKind):
    """Each message takes one of the recorded values, and each value is equally likely: the bootstrap's distribution.

    The values are `values_s`, or the column `service_s` of a CSV `file`, which is looked up beside the scenario. So the
    mean of what is drawn is the mean of what was recorded. `cpu_s` says, for each of `values_s`, for how long of it the
    handler computes: its consumer then does nothing else. The rest is waiting, of which many go on at once. Where only
    a `histogram` was kept, the values are drawn from its bins.

    Source: B. Efron, R. Tibshirani, An Introduction to the Bootstrap (1993), chapter 4: the empirical distribution.
    """

    kind: Literal["empirical"]
    values_s: tuple[float, ...] = Field(default=(), max_length=INLINE_MAX)
    cpu_s: tuple[float, ...] = Field(default=(), max_length=INLINE_MAX)
    file: Path | None = None
    histogram: Histogram | None = None

    @classmethod
    def of(cls, sample_s: Floats, cpu_s: Floats | None = None, *, at_most: int = 200) -> Self:
        """The distribution of a sample of seconds, by at most so many values, whose mean is the sample's.

        Where the sample is larger, it is sorted and cut into parts of (nearly) one size, and each value is the mean of
        a part. Parts that differ by one in size move the mean by less than one part in the size of the sample.
        """
        order = np.argsort(np.asarray(sample_s, dtype=np.float64), kind="stable")
        means = [
            tuple(float(np.asarray(of)[part].mean()) for part in np.array_split(order, min(at_most, order.size)))
            for of in (sample_s, *(() if cpu_s is None else (np.minimum(cpu_s, sample_s),)))
        ]
        return cls(kind="empirical", values_s=means[0], cpu_s=means[1] if len(means) > 1 else ())

    @model_validator(mode="before")
    @classmethod
    def _find_file(cls, declared: Any, info: ValidationInfo) -> Any:
        places = info.context
        if not (isinstance(places, FilePlaces) and isinstance(declared, dict)):
            return declared
        file = declared.get("file")
        return declared | {"file": places.directory / file} if isinstance(file, str) else declared

    @model_validator(mode="after")
    def _has_values(self) -> Self:
        if sum((self.file is not None, bool(self.values_s), self.histogram is not None)) != 1:
            problem = "needs values_s, a list of seconds, or file, a CSV file, or a histogram"
            raise ValueError(f"{problem}; give one of them")
        wrong = next((value for value in self.values_s if not 0 <= value <= _MAX_S), None)
        if wrong is not None:
            raise ValueError(f"values_s: {wrong:g} is no service time; give seconds from 0 to {_MAX_S:g}")
        if self.cpu_s and len(self.cpu_s) != len(self.values_s):
            raise ValueError(f"cpu_s: {len(self.cpu_s)} values for {len(self.values_s)} of values_s; give one for each")
        if not all(0 <= cpu_s <= all_s for cpu_s, all_s in zip(self.cpu_s, self.values_s, strict=False)):
            raise ValueError("cpu_s: one is negative, or more than its whole time in values_s; lower it")
        return self

    @property
    def files(self) -> tuple[Path, ...]:
        return () if self.file is None else (self.file,)

    def values(self) -> Floats:
        """The recorded seconds, in their order, shape (values,). There are none where a histogram was kept.

        Raises:
            InvalidTrace: the file is missing or broken.
        """
        return np.array(self.values_s) if self.file is None else _read(self.file)

    def draw(self, n: int, rng: np.random.Generator, load: LoadKind) -> Floats:
        """Service times of n messages in seconds, shape (n,).

        Raises:
            InvalidTrace: as `values` does.
        """
        return self.draw_parts(n, rng, load)[0]

    def draw_parts(self, n: int, rng: np.random.Generator, load: LoadKind) -> tuple[Floats, Floats | None]:
        if self.histogram is not None:
            return self.histogram.draw(n, rng), None
        values = self.values()
        drawn = rng.integers(values.size, size=n)
        return values[drawn], np.array(self.cpu_s)[drawn] if self.cpu_s else None

    def in_words(self) -> str:
        if self.file is not None:
            return f"as recorded in {self.file.name}"
        if self.histogram is not None:
            mean_s, bins = self.histogram.mean_s(), len(self.histogram.counts)
            return f"{quantity(mean_s, 's')} on average, drawn from a histogram of {bins:,} bins"
        mean_s, cpu_s = (float(np.mean(of)) if of else 0.0 for of in (self.values_s, self.cpu_s))
        computing = f", {quantity(cpu_s, 's')} of it computing" if cpu_s else ""
        return f"{quantity(mean_s, 's')} on average{computing}, drawn from {len(self.values_s):,} values"


def _read(file: Path) -> Floats:
    try:
        stat = file.stat()
        if not S_ISREG(stat.st_mode):
            raise InvalidTrace(str(file), "is no file; name a CSV file")
        return _read_column(file, stat.st_mtime_ns, stat.st_size)
    except (OSError, ValueError) as error:  # ValueError: bytes that are no UTF-8, or a name that no file can have
        reason = getattr(error, "strerror", None) or error
        raise InvalidTrace(str(file), f"cannot be read ({reason}); name a CSV file with a column {COLUMN}") from error


@lru_cache(maxsize=8)
def _read_column(file: Path, _mtime_ns: int, _size: int) -> Floats:
    with file.open(encoding="utf-8-sig", newline="") as lines:
        rows = csv.DictReader(lines)
        if COLUMN not in (rows.fieldnames or ()):
            raise InvalidTrace(f"{file}, line 1", f"has no column {COLUMN}; name one so, in seconds")
        try:
            values = np.array([_seconds(row[COLUMN], f"{file}, line {rows.line_num}") for row in rows])
        except csv.Error as error:
            raise InvalidTrace(f"{file}, line {rows.line_num + 1}", f"is no line of a CSV file ({error})") from error
    if not values.size:
        raise InvalidTrace(str(file), "has no rows; add one for each recorded service time")
    values.setflags(write=False)  # the cache hands it out again
    return values


def _seconds(text: str | None, where: str) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = np.nan
    if not 0 <= value <= _MAX_S:
        raise InvalidTrace(where, f"{text!r} is no service time; give seconds from 0 to {_MAX_S:g}, or delete the line")
    return value
