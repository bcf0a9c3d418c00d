"""A load of independent events whose rate rises or falls."""

from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from sim.declare.declared import Floats
from sim.declare.loads.kind import LoadKind


class RampLoad(LoadKind):
    """Events at random, independent of each other, at a rate that changes linearly over `duration_s`."""

    kind: Literal["ramp"]
    from_rate_per_s: float = Field(ge=0)
    to_rate_per_s: float = Field(ge=0)
    duration_s: float = Field(gt=0, le=1e6)

    grows_with: ClassVar = ("from_rate_per_s", "to_rate_per_s", "duration_s")

    @model_validator(mode="after")
    def _sends_something(self) -> Self:
        if not self.from_rate_per_s and not self.to_rate_per_s:
            raise ValueError("from_rate_per_s and to_rate_per_s are both 0; nothing would be sent")
        return self

    def arrivals_s(self, rng: np.random.Generator) -> Floats:
        # Let m(t) = a t + (b - a) t^2 / (2 T) be the number of events expected before t. In m, arrivals are uniform,
        # given their number. Inverting m gives their times, here in a form that does not cancel.
        # Source: Çinlar, "Introduction to Stochastic Processes", 1975, chapter 4.
        expected = rng.uniform(0.0, self.expected_events(), rng.poisson(self.expected_events()))
        slope = (self.to_rate_per_s - self.from_rate_per_s) / self.duration_s
        rate_per_s = np.sqrt(np.maximum(self.from_rate_per_s**2 + 2.0 * slope * expected, 0.0))
        sum_of_rates = self.from_rate_per_s + rate_per_s
        at_s = np.divide(2.0 * expected, sum_of_rates, out=np.zeros_like(expected), where=sum_of_rates > 0.0)
        return np.sort(np.minimum(at_s, self.duration_s))

    def expected_events(self) -> float:
        return (self.from_rate_per_s + self.to_rate_per_s) / 2.0 * self.duration_s

    def in_words(self) -> str:
        rates = f"{self.from_rate_per_s:g} to {self.to_rate_per_s:g} a second"
        return f"from {rates} within {self.duration_s:g} s, at random (Poisson)"
