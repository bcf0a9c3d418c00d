"""A service time with a heavy tail that ends: the truncated Pareto distribution."""

from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from sim.declare.declared import Floats
from sim.declare.loads.kind import LoadKind
from sim.declare.service_times.kind import ServiceTimeKind
from sim.wording import quantity


class ParetoTime(ServiceTimeKind):
    """Pareto distributed service time between `shortest_s` and `longest_s`; a lower `shape` has the heavier tail.

    Source: M. Harchol-Balter, Performance Modeling and Design of Computer Systems (2013), chapter 20: the Bounded
    Pareto distribution.
    """

    kind: Literal["pareto"]
    shortest_s: float = Field(gt=0, le=1e6)
    longest_s: float = Field(gt=0, le=1e6)
    shape: float = Field(gt=0, le=100)

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.longest_s <= self.shortest_s:
            raise ValueError(f"longest_s: {self.longest_s:g} is not above shortest_s, {self.shortest_s:g}; raise it")
        return self

    def draw(self, n: int, rng: np.random.Generator, load: LoadKind) -> Floats:
        # The distribution function (1 - (shortest / x)^shape) / cut, inverted.
        cut = -np.expm1(self.shape * np.log(self.shortest_s / self.longest_s))
        drawn_s = self.shortest_s * np.exp(-np.log1p(-cut * rng.random(n)) / self.shape)
        return np.asarray(np.minimum(drawn_s, self.longest_s))

    def mean_s(self) -> float:
        """The mean in seconds."""
        log_ratio, excess = np.log(self.longest_s / self.shortest_s), self.shape - 1.0
        # The integral of shape x shortest^shape / x^shape; where shape is 1, of shortest / x.
        integral = -np.expm1(-excess * log_ratio) / excess if excess else log_ratio
        return float(self.shape * self.shortest_s * integral / -np.expm1(-self.shape * log_ratio))

    def in_words(self) -> str:
        times = f"{quantity(self.shortest_s, 's')} to {quantity(self.longest_s, 's')}"
        return f"{quantity(self.mean_s(), 's')} on average, {times}, Pareto, shape {self.shape:g}"
