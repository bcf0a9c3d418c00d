"""A load that replays a recorded trace."""

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, ValidationInfo, field_validator, model_validator

from sim.declare.declared import FilePlaces, Floats
from sim.declare.loads.kind import LoadKind
from sim.declare.traces import AT, KNOWN, Trace, TraceFormat, read_trace
from sim.declare.traces.values import Unit
from sim.errors import InvalidTrace

ROWS_MAX = 10_000_000  # a plan of more would take gigabytes
_NOT_FETCHED = "no such trace; data/README.md says what to fetch and where to put it (or use --sample-if-missing)"


class TraceLoad(LoadKind):
    """A recorded trace, replayed: one event for each row between `from_s` and `from_s + for_s` of the recording.

    `columns` says which columns of the file have what: `at` has the times, and any other name, such as `work`, numbers
    that service times may follow. Without it, the file has TIMESTAMP, ContextTokens (`context`) and GeneratedTokens
    (`work`). The `delimiter` of a CSV is found if it is not named; so is the `unit` of times that are numbers.

    `time_scale` stretches recorded seconds into seconds of the run: 0.05 replays twenty times as fast. In a scenario's
    file, relative files are looked up beside it; `sample` may stand in for a missing `file` where that is asked for.
    """

    kind: Literal["trace"]
    file: Path
    sample: Path | None = None
    columns: dict[str, str] = Field(default_factory=dict)
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    unit: Unit | None = None
    time_scale: float = Field(default=1.0, gt=0, le=1e3)
    from_s: float = Field(default=0.0, ge=0)
    for_s: float | None = Field(default=None, gt=0)

    grows_with: ClassVar = ("for_s",)

    @model_validator(mode="before")
    @classmethod
    def _find_files(cls, declared: Any, info: ValidationInfo) -> Any:
        places = info.context
        if not (isinstance(places, FilePlaces) and isinstance(declared, dict)):
            return declared
        files = {
            key: places.directory / declared[key] for key in ("file", "sample") if isinstance(declared.get(key), str)
        }
        if places.sample_if_missing and len(files) == 2 and not files["file"].exists():
            files["file"] = files["sample"]
        return declared | files

    @field_validator("columns")
    @classmethod
    def _has_times(cls, columns: dict[str, str]) -> dict[str, str]:
        if columns and AT not in columns:
            raise ValueError("none has the times; name it, such as at: ts")
        return columns

    @property
    def sampled(self) -> bool:
        return self.file == self.sample

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.file,) if self.sample is None else (self.file, self.sample)

    @property
    def duration_s(self) -> float:
        """Length of the replay in seconds.

        Raises:
            InvalidTrace: as `rows` does.
        """
        recorded_s = float(self.rows().at_s[-1]) if self.for_s is None else self.for_s
        return recorded_s * self.time_scale

    def rows(self) -> Trace:
        """The rows that are replayed, in recorded seconds since `from_s`.

        Raises:
            InvalidTrace: the file is missing or broken, or the window holds no row.
        """
        trace = self._read()
        to_s = np.inf if self.for_s is None else self.from_s + self.for_s
        start, stop = np.searchsorted(trace.at_s, (self.from_s, to_s))
        if start == stop:
            last_s = trace.at_s[-1]
            raise InvalidTrace(str(self.file), f"no row from {self.from_s} s to {to_s} s; it ends at {last_s:.0f} s")
        if (rows := int(stop - start)) > ROWS_MAX:
            problem = f"{rows:,} rows would be replayed, over {ROWS_MAX:,}; replay a part, by from_s and for_s"
            raise InvalidTrace(str(self.file), problem)
        numbers = {name: values[start:stop] for name, values in trace.numbers.items()}
        return replace(trace, at_s=trace.at_s[start:stop] - self.from_s, numbers=numbers)

    def _read(self) -> Trace:
        if self.sample is not None and not self.file.exists():
            raise InvalidTrace(str(self.file), _NOT_FETCHED)
        return read_trace(self.file, TraceFormat(tuple(self.columns.items()), self.delimiter, self.unit))

    @property
    def recorded_columns(self) -> tuple[str, ...]:
        return tuple(name for name in self.columns or KNOWN if name != AT)

    def recorded(self, column: str) -> Floats:
        return self.rows().numbers[column]

    @property
    def replay_scale(self) -> float:
        return self.time_scale

    def notes(self) -> tuple[str, ...]:
        if not (unsorted := self._read().unsorted):
            return ()
        return (f"{unsorted:,} rows of {self.file.name} were recorded after a later one, and were put in order",)

    def arrivals_s(self, rng: np.random.Generator) -> Floats:
        return self.rows().at_s * self.time_scale

    def expected_events(self) -> float:
        return 1.0  # the file is not read before the scenario runs; it has one row at least

    def in_words(self) -> str:
        window = f", {self.for_s:g} s of it from {self.from_s:g} s on" if self.for_s else ""
        speed = f"at {1 / self.time_scale:g} times its speed" if self.time_scale != 1 else "at its own speed"
        return f"the recorded trace {self.file.name}{window}, {speed}"
