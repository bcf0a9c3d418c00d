"""A service time with the gamma distribution."""

from typing import Literal

import numpy as np
from pydantic import Field

from sim.declare.declared import Floats
from sim.declare.loads.kind import LoadKind
from sim.declare.service_times.kind import ServiceTimeKind
from sim.wording import quantity


class GammaTime(ServiceTimeKind):
    """Gamma distributed service time; `cv` is its standard deviation over its mean.

    With a `cv` of 1 it is exponential; with 1 / sqrt(k) it is the sum of k equal exponential steps (Erlang).
    """

    kind: Literal["gamma"]
    mean_s: float = Field(gt=0, le=1e6)
    cv: float = Field(gt=0, le=100)

    def draw(self, n: int, rng: np.random.Generator, load: LoadKind) -> Floats:
        # The mean is shape x scale, and the variance shape x scale^2.
        return rng.gamma(1.0 / self.cv**2, self.mean_s * self.cv**2, n)

    def in_words(self) -> str:
        return f"{quantity(self.mean_s, 's')} on average, gamma, CV {self.cv:g}"
