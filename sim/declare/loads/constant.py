"""A load with the same distance between all events."""

from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from sim.declare.declared import Floats
from sim.declare.loads.kind import LoadKind
from sim.declare.parts import PART


class ConstantLoad(LoadKind):
    """One event every 1 / rate_per_s seconds."""

    kind: Literal["constant"]
    rate_per_s: float = Field(gt=0)
    duration_s: float = Field(gt=0, le=1e6)

    in_parts: ClassVar = True
    grows_with: ClassVar = ("rate_per_s", "duration_s")

    def arrivals_s(self, rng: np.random.Generator) -> Floats:
        return np.arange(self._messages) / self.rate_per_s

    def draw_in_parts(self, rng: np.random.Generator) -> tuple[int, Iterator[Floats]]:
        n = self._messages
        return n, (np.arange(first, min(n, first + PART)) / self.rate_per_s for first in range(0, n, PART))

    @property
    def _messages(self) -> int:
        return int(np.floor(self.rate_per_s * self.duration_s + 1e-9))

    def expected_events(self) -> float:
        return self.rate_per_s * self.duration_s

    def in_words(self) -> str:
        return f"{self.rate_per_s:g} a second for {self.duration_s:g} s, evenly spaced"
