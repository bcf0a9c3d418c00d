"""A service time with the lognormal distribution."""

from typing import Literal

import numpy as np
from pydantic import Field

from sim.declare.declared import Floats
from sim.declare.loads.kind import LoadKind
from sim.declare.service_times.kind import ServiceTimeKind
from sim.wording import quantity


class LognormalTime(ServiceTimeKind):
    """Lognormally distributed service time; `cv` is its standard deviation over its mean."""

    kind: Literal["lognormal"]
    mean_s: float = Field(gt=0, le=1e6)
    cv: float = Field(gt=0, le=100)

    def draw(self, n: int, rng: np.random.Generator, load: LoadKind) -> Floats:
        # Moments of the lognormal solved for its parameters: sigma^2 = ln(1 + cv^2), mu = ln(mean) - sigma^2 / 2.
        variance = np.log1p(self.cv**2)
        return rng.lognormal(np.log(self.mean_s) - variance / 2.0, np.sqrt(variance), n)

    def in_words(self) -> str:
        return f"{quantity(self.mean_s, 's')} on average, lognormal, CV {self.cv:g}"
