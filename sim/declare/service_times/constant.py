"""A service time that is always the same."""

from typing import Literal

import numpy as np
from pydantic import Field

from sim.declare.declared import Floats
from sim.declare.loads.kind import LoadKind
from sim.declare.service_times.kind import ServiceTimeKind
from sim.wording import quantity


class ConstantTime(ServiceTimeKind):
    """Every message takes the same time."""

    kind: Literal["constant"]
    mean_s: float = Field(ge=0, le=1e6)

    def draw(self, n: int, rng: np.random.Generator, load: LoadKind) -> Floats:
        return np.full(n, self.mean_s)

    def in_words(self) -> str:
        return f"{quantity(self.mean_s, 's')}, always"
