"""Poisson processes whose rate changes at known times, and is constant in between."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sim.declare.declared import Floats
from sim.declare.parts import sorted_uniform


@dataclass(frozen=True, slots=True)
class PiecewiseRate:
    """Between `edges_s[i]` and `edges_s[i + 1]`, `per_s[i]` events a second are expected.

    `edges_s` has shape (pieces + 1,) and ascends; `per_s` has shape (pieces,), none negative.
    """

    edges_s: Floats
    per_s: Floats

    def expected_until(self) -> Floats:
        """How many events are expected before each edge, shape (pieces + 1,)."""
        return np.concatenate(([0.0], np.cumsum(np.diff(self.edges_s) * self.per_s)))

    def draw(self, rng: np.random.Generator) -> Floats:
        """Times of events in seconds, independent of each other, ascending, shape (n,).

        Measured by the number of events that are expected until then, they are uniform, given their number. Inverting
        that measure gives their times. Where the rate is 0 it does not grow, so no event falls there.
        Source: Çinlar, "Introduction to Stochastic Processes", 1975, chapter 4.
        """
        expected = self.expected_until()
        return self._times(expected, np.sort(rng.uniform(0.0, expected[-1], rng.poisson(expected[-1]))))

    def draw_in_parts(self, rng: np.random.Generator) -> tuple[int, Iterator[Floats]]:
        """How many events there are; and what `draw` would return, a part after the other."""
        expected = self.expected_until()
        n = int(rng.poisson(expected[-1]))
        return n, (self._times(expected, drawn) for drawn in sorted_uniform(n, float(expected[-1]), rng))

    def _times(self, expected: Floats, drawn: Floats) -> Floats:
        last = int(np.flatnonzero(self.per_s)[-1]) if self.per_s.any() else 0  # rounding may lead to the very end
        piece = np.minimum(np.searchsorted(expected, drawn, side="right") - 1, last)
        at_s = self.edges_s[piece] + (drawn - expected[piece]) / self.per_s[piece]
        return np.asarray(np.minimum(at_s, self.edges_s[piece + 1]))
