"""A load that replays a recorded trace."""

from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, ValidationInfo, model_validator

from sim.declare.declared import FilePlaces, Floats
from sim.declare.loads.kind import LoadKind
from sim.declare.traces import Trace, read_trace
from sim.errors import InvalidTrace


class TraceLoad(LoadKind):
    """A recorded trace, replayed: one event for each row between `from_s` and `from_s + for_s` of the recording.

    `time_scale` stretches recorded seconds into seconds of the run: 0.05 replays twenty times as fast. In a scenario's
    file, relative files are looked up beside it; `sample` may stand in for a missing `file` where that is asked for.
    """

    kind: Literal["trace"]
    file: Path
    sample: Path | None = None
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
        trace = read_trace(self.file)
        to_s = np.inf if self.for_s is None else self.from_s + self.for_s
        start, stop = np.searchsorted(trace.at_s, (self.from_s, to_s))
        if start == stop:
            last_s = trace.at_s[-1]
            raise InvalidTrace(str(self.file), f"no row from {self.from_s} s to {to_s} s; it ends at {last_s:.0f} s")
        return Trace(trace.at_s[start:stop] - self.from_s, trace.generated_tokens[start:stop])

    def arrivals_s(self, rng: np.random.Generator) -> Floats:
        return self.rows().at_s * self.time_scale

    def expected_events(self) -> float:
        return 1.0  # the file is not read before the scenario runs; it has one row at least

    def in_words(self) -> str:
        window = f", {self.for_s:g} s of it from {self.from_s:g} s on" if self.for_s else ""
        speed = f"at {1 / self.time_scale:g} times its speed" if self.time_scale != 1 else "at its own speed"
        return f"the recorded trace {self.file.name}{window}, {speed}"
