"""A load of independent events with a time of a higher rate."""

from collections.abc import Iterator
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from sim.declare.declared import Floats
from sim.declare.loads.kind import LoadKind
from sim.declare.loads.poisson_process import PiecewiseRate


class SpikeLoad(LoadKind):
    """Events at random, independent of each other: `peak_rate_per_s` for `for_s` from `at_s` on, else `rate_per_s`."""

    kind: Literal["spike"]
    rate_per_s: float = Field(ge=0)
    peak_rate_per_s: float = Field(gt=0)
    at_s: float = Field(ge=0, le=1e6)
    for_s: float = Field(gt=0, le=1e6)
    duration_s: float = Field(gt=0, le=1e6)

    in_parts: ClassVar = True
    grows_with: ClassVar = ("rate_per_s", "peak_rate_per_s", "for_s", "duration_s")

    @model_validator(mode="after")
    def _ends_in_time(self) -> Self:
        if (end_s := self.at_s + self.for_s) > self.duration_s:
            raise ValueError(f"the spike ends at {end_s:g} s, after the load; raise duration_s or lower at_s or for_s")
        return self

    def rate(self) -> PiecewiseRate:
        """The rate over time."""
        return PiecewiseRate(
            np.array([0.0, self.at_s, self.at_s + self.for_s, self.duration_s]),
            np.array([self.rate_per_s, self.peak_rate_per_s, self.rate_per_s]),
        )

    def arrivals_s(self, rng: np.random.Generator) -> Floats:
        return self.rate().draw(rng)

    def draw_in_parts(self, rng: np.random.Generator) -> tuple[int, Iterator[Floats]]:
        return self.rate().draw_in_parts(rng)

    def expected_events(self) -> float:
        return float(self.rate().expected_until()[-1])

    def in_words(self) -> str:
        peak = f"{self.peak_rate_per_s:g} a second from {self.at_s:g} s to {self.at_s + self.for_s:g} s"
        return f"{self.rate_per_s:g} a second for {self.duration_s:g} s, but {peak}, at random (Poisson)"
