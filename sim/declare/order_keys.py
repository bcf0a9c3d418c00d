"""The keys by which a service keeps its messages in order, as declared: how many there are, how often each comes."""

import numpy as np
from pydantic import Field

from sim.declare.declared import Declared, Numbers, places_among


class OrderKeys(Declared):
    """Each message has one of so many `keys`. Messages of one key are handled one after the other, in their order.

    With `skew` 0, all keys are as frequent. With a higher one, the n-th key is as frequent as 1 / n ** skew.

    Source of the skew: Zipf's law.
    """

    keys: int = Field(ge=1, le=1_000_000)
    skew: float = Field(default=0.0, ge=0, le=10)

    def draw(self, n: int, rng: np.random.Generator) -> Numbers:
        """The key of each of n messages, counted from 0. Those of the first ones do not depend on n."""
        weights = 1.0 / np.arange(1, self.keys + 1, dtype=float) ** self.skew
        return places_among(rng.random(n), np.cumsum(weights) / weights.sum())

    def in_words(self) -> str:
        """What it says, as half a sentence."""
        return f"one at a time of each of {self.keys:,} keys" + (f", skew {self.skew:g}" if self.skew else "")
