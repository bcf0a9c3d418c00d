"""A service time with the lognormal distribution."""

from typing import Literal

import numpy as np
from pydantic import Field

from sim.declare.declared import Floats, lognormal
from sim.declare.loads.kind import LoadKind
from sim.declare.service_times.kind import ServiceTimeKind
from sim.wording import quantity


class LognormalTime(ServiceTimeKind):
    """Lognormally distributed service time; `cv` is its standard deviation over its mean."""

    kind: Literal["lognormal"]
    mean_s: float = Field(gt=0, le=1e6)
    cv: float = Field(gt=0, le=100)

    def draw(self, n: int, rng: np.random.Generator, load: LoadKind) -> Floats:
        return lognormal(self.mean_s, self.cv, n, rng)

    def in_words(self) -> str:
        return f"{quantity(self.mean_s, 's')} on average, lognormal, CV {self.cv:g}"
