"""A load with the same distance between all events."""

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from sim.declare.declared import Floats
from sim.declare.loads.kind import LoadKind


class ConstantLoad(LoadKind):
    """One event every 1 / rate_per_s seconds."""

    kind: Literal["constant"]
    rate_per_s: float = Field(gt=0)
    duration_s: float = Field(gt=0, le=1e6)

    grows_with: ClassVar = ("rate_per_s", "duration_s")

    def arrivals_s(self, rng: np.random.Generator) -> Floats:
        return np.arange(int(np.floor(self.rate_per_s * self.duration_s + 1e-9))) / self.rate_per_s

    def expected_events(self) -> float:
        return self.rate_per_s * self.duration_s

    def in_words(self) -> str:
        return f"{self.rate_per_s:g} a second for {self.duration_s:g} s, evenly spaced"
