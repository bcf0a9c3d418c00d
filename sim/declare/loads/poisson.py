"""A load of independent events at one rate."""

from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from sim.declare.declared import Floats
from sim.declare.loads.kind import LoadKind
from sim.declare.parts import sorted_uniform


class PoissonLoad(LoadKind):
    """Events at random, independent of each other, `rate_per_s` of them a second on average."""

    kind: Literal["poisson"]
    rate_per_s: float = Field(gt=0)
    duration_s: float = Field(gt=0, le=1e6)

    in_parts: ClassVar = True
    grows_with: ClassVar = ("rate_per_s", "duration_s")

    def arrivals_s(self, rng: np.random.Generator) -> Floats:
        # Given their number, Poisson arrivals are uniform and sorted.
        return np.sort(rng.uniform(0.0, self.duration_s, rng.poisson(self.expected_events())))

    def draw_in_parts(self, rng: np.random.Generator) -> tuple[int, Iterator[Floats]]:
        n = int(rng.poisson(self.expected_events()))
        return n, sorted_uniform(n, self.duration_s, rng)

    def expected_events(self) -> float:
        return self.rate_per_s * self.duration_s

    def in_words(self) -> str:
        return f"{self.rate_per_s:g} a second for {self.duration_s:g} s, at random (Poisson)"
