"""A service time with the exponential distribution."""

from typing import Literal

import numpy as np
from pydantic import Field

from sim.declare.declared import Floats
from sim.declare.loads.kind import LoadKind
from sim.declare.service_times.kind import ServiceTimeKind
from sim.wording import quantity


class ExponentialTime(ServiceTimeKind):
    """Exponentially distributed service time."""

    kind: Literal["exponential"]
    mean_s: float = Field(gt=0, le=1e6)

    def draw(self, n: int, rng: np.random.Generator, load: LoadKind) -> Floats:
        return rng.exponential(self.mean_s, n)

    def in_words(self) -> str:
        return f"{quantity(self.mean_s, 's')} on average, exponential"
