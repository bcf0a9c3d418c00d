"""A service time that was measured: drawn from recorded values."""

import csv
from functools import lru_cache
from pathlib import Path
from stat import S_ISREG
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, ValidationInfo, model_validator

from sim.declare.declared import FilePlaces, Floats
from sim.declare.loads.kind import LoadKind
from sim.declare.service_times.kind import ServiceTimeKind
from sim.errors import InvalidTrace
from sim.wording import quantity

COLUMN = "service_s"  # the column of a file; others are passed over
INLINE_MAX = 10_000  # values in a scenario itself
_MAX_S = 1e6


class EmpiricalTime(ServiceTimeKind):
    """Each message takes one of the recorded values, and each value is equally likely: the bootstrap's distribution.

    The values are `values_s`, or the column `service_s` of a CSV `file`, which is looked up beside the scenario. So the
    mean of what is drawn is the mean of what was recorded.

    Source: B. Efron, R. Tibshirani, An Introduction to the Bootstrap (1993), chapter 4: the empirical distribution.
    """

    kind: Literal["empirical"]
    values_s: tuple[float, ...] = Field(default=(), max_length=INLINE_MAX)
    file: Path | None = None

    @classmethod
    def of(cls, sample_s: Floats, *, at_most: int = 200) -> Self:
        """The distribution of a sample of seconds, by at most so many values, whose mean is the sample's.

        Where the sample is larger, it is sorted and cut into parts of (nearly) one size, and each value is the mean of
        a part. Parts that differ by one in size move the mean by less than one part in the size of the sample.
        """
        ordered = np.sort(np.asarray(sample_s, dtype=np.float64))
        parts = np.array_split(ordered, min(at_most, ordered.size))
        return cls(kind="empirical", values_s=tuple(float(part.mean()) for part in parts))

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
        if (self.file is None) == (not self.values_s):
            raise ValueError("needs values_s, a list of seconds, or file, a CSV file; give one of them")
        wrong = next((value for value in self.values_s if not 0 <= value <= _MAX_S), None)
        if wrong is not None:
            raise ValueError(f"values_s: {wrong:g} is no service time; give seconds from 0 to {_MAX_S:g}")
        return self

    @property
    def files(self) -> tuple[Path, ...]:
        return () if self.file is None else (self.file,)

    def values(self) -> Floats:
        """The recorded seconds, in their order, shape (values,).

        Raises:
            InvalidTrace: the file is missing or broken.
        """
        return np.array(self.values_s) if self.file is None else _read(self.file)

    def draw(self, n: int, rng: np.random.Generator, load: LoadKind) -> Floats:
        """Service times of n messages in seconds, shape (n,).

        Raises:
            InvalidTrace: as `values` does.
        """
        return rng.choice(self.values(), n)

    def in_words(self) -> str:
        if self.file is not None:
            return f"as recorded in {self.file.name}"
        return f"{quantity(float(np.mean(self.values_s)), 's')} on average, drawn from {len(self.values_s):,} values"


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
