"""The numbers of the reports before, and whether those of the newest one differ by more than their own noise."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Self

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from eventlib.whole_files import whole_file
from sim.declare.declared import Floats
from sim.errors import SimError
from sim.evidence.claims import Row
from sim.infer.compare import Comparison
from sim.reading import UNREADABLE, in_words

REPORTS_MAX = 1000  # older ones are dropped
SHOWN = 30  # reports in a trend line
_ENOUGH = 3  # reports before, to know their noise
_COLUMNS = {"date": "str", "commit": "str", "machine": "str", "name": "str", "unit": "str", "better": "str"}
Better = Literal["higher", "lower"]
Change = Literal["better", "worse", "as before", "too few"]


class InvalidTrends(SimError):
    """The file of the reports before holds something else."""


class Number(NamedTuple):
    """A number that reports follow, and which way is better."""

    name: str
    value: float
    unit: str
    better: Better


@dataclass(frozen=True, slots=True)
class Trend:
    """One number over the reports of one machine, the oldest first; the newest one is the last.

    `low` and `high` are where the newest should lie if nothing changed: a 99 % prediction interval, by Student's t.
    """

    number: Number
    values: Floats
    low: float
    high: float

    @property
    def change(self) -> Change:
        """What became of it since the reports before."""
        if np.isnan(self.low):
            return "too few"
        if self.low <= self.number.value <= self.high:
            return "as before"
        return "better" if (self.number.value > self.high) == (self.number.better == "higher") else "worse"


def numbers_of(comparisons: Sequence[Comparison], rows: Sequence[Row]) -> list[Number]:
    """The numbers of a report that are followed: lags of each scenario in both worlds, and what claims measured."""
    found = [
        Number(f"{one.live.scenario.name} {metric}, {world}", value, "s", "lower")
        for one in comparisons
        for metric in ("lag_s_p50", "lag_s_p99")
        for world, value in (("simulated", one[metric].simulated), ("live", one[metric].live))
    ]
    found += [
        Number(f"{row.id} {row.sentence}", row.finding.distance, "times the threshold", _better(row))
        for row in rows
        if row.finding.distance is not None
    ]
    return [number for number in found if np.isfinite(number.value)]


def _better(row: Row) -> Better:
    return "lower" if row.finding.numbers.get("lower_is_better") else "higher"


class Trends:
    """The numbers of all reports that are kept: a row for each number of each report."""

    def __init__(self, rows: pd.DataFrame) -> None:
        self._rows = rows

    @classmethod
    def open(cls, file: Path) -> Self:
        """Read them; a file that is not there yet holds none.

        Raises:
            InvalidTrends: it holds something else.
        """
        import pyarrow as pa

        if not file.exists():
            return cls(pd.DataFrame({**{name: pd.Series(dtype=kind) for name, kind in _COLUMNS.items()}, "value": []}))
        try:
            rows = pd.read_parquet(file)
            return cls(rows[[*_COLUMNS, "value"]].astype({**_COLUMNS, "value": float}))
        except (OSError, pa.ArrowException, *UNREADABLE) as error:
            problem = f"is no history of reports ({in_words(error)}); move it away, and the next report begins another"
            raise InvalidTrends(str(file), problem) from error

    @classmethod
    def keep(cls, file: Path, date: str, commit: str, machine: str, numbers: Iterable[Number]) -> Self:
        """Add a report to a file, beside which another report may be added at the same moment.

        Raises:
            InvalidTrends: the file holds something else.
            OSError: it cannot be read or written.
        """
        with _alone(file.parent):
            kept = cls.open(file).with_report(date, commit, machine, numbers)
            kept.save(file)
        return kept

    def with_report(self, date: str, commit: str, machine: str, numbers: Iterable[Number]) -> Self:
        """These reports and one more. Of more than a thousand, the oldest are left out."""
        about = {"date": date, "commit": commit, "machine": machine}
        new = pd.DataFrame([about | number._asdict() for number in numbers], columns=[*_COLUMNS, "value"])
        rows = pd.concat([self._rows, new], ignore_index=True) if len(self._rows) else new
        dates = rows["date"].drop_duplicates()
        return type(self)(rows[rows["date"].isin(dates.iloc[-REPORTS_MAX:])])

    def save(self, file: Path) -> None:
        """Write them, whole or not at all."""
        with whole_file(file) as target:
            self._rows.to_parquet(target, index=False)

    def of(self, machine: str) -> list[Trend]:
        """The trends of one machine, by the numbers of its newest report. Other machines are another matter."""
        own = self._rows[self._rows["machine"] == machine]
        if own.empty:
            return []
        newest = own[own["date"] == own["date"].iloc[-1]].drop_duplicates("name", keep="last")  # two in one second
        grouped = {str(name): rows["value"].to_numpy(float) for name, rows in own.groupby("name", sort=False)}
        numbers = [Number(*row) for row in newest[["name", "value", "unit", "better"]].itertuples(index=False)]
        return [_trend(number, grouped[number.name][-SHOWN:]) for number in numbers]


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other report is kept in this folder: of two that read the same file, one would be lost."""
    import fcntl  # not at the top: Windows has none, and can use everything but this

    opened = os.open(folder, os.O_RDONLY)  # the folder itself: a file for this would stay behind
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)


def _trend(number: Number, values: Floats) -> Trend:
    """Source: Hahn and Meeker, "Statistical Intervals", 1991: mean +- t(n - 1) s sqrt(1 + 1 / n)."""
    before = values[:-1]
    if len(before) < _ENOUGH:
        return Trend(number, values, float("nan"), float("nan"))
    half = float(stdtrit(len(before) - 1, 0.995) * before.std(ddof=1) * np.sqrt(1 + 1 / len(before)))
    return Trend(number, values, float(before.mean()) - half, float(before.mean()) + half)
