"""The distribution of a time that is only known to lie between two looks, and that was only seen if it was long enough.

A service that began at 0 is noticed at the first look after that, at `seen_s`, if it still goes on then. Its end lies
between two looks, `low_s` and `high_s`. So short services are missed more often, and no end is known exactly.

Source: Turnbull, "The Empirical Distribution Function with Arbitrarily Grouped, Censored and Truncated Data", Journal
of the Royal Statistical Society B 38, 1976: the self-consistent estimate. Each observation stands for those that were
missed as well: in proportion to how probable it was to miss them.
"""

from dataclasses import dataclass

import numpy as np

from sim.declare.declared import Floats

_POINTS = 400  # of the grid; each is about two percent above the one before
_ROUNDS = 400  # of the EM algorithm; more of them only make the estimate rougher
_FIRST_S = 2e-4


@dataclass(frozen=True, slots=True)
class Observations:
    """Times of which only bounds are known, all of shape (n,), in seconds. `high_s` may be infinite."""

    seen_s: Floats
    low_s: Floats
    high_s: Floats

    @property
    def size(self) -> int:
        return int(self.low_s.size)


@dataclass(frozen=True, slots=True)
class Distribution:
    """Probabilities of some times, in seconds, ascending. Both of shape (points,)."""

    at_s: Floats
    share: Floats

    @property
    def mean_s(self) -> float:
        return float(self.at_s @ self.share)

    def values(self, n: int) -> Floats:
        """n values that are equally probable, ascending. Each is the mean of one n-th of the distribution."""
        edges = np.concatenate(([0.0], np.cumsum(self.share)))
        edges /= edges[-1]
        # Integral of the quantile function up to each edge, which is linear between them.
        sums = np.concatenate(([0.0], np.cumsum(self.at_s * self.share)))
        return np.diff(np.interp(np.linspace(0.0, 1.0, n + 1), edges, sums)) * n


def estimate(found: Observations) -> Distribution:
    """The self-consistent estimate from at least one observation."""
    finite = found.high_s[np.isfinite(found.high_s)]
    last_s = max(2 * _FIRST_S, float(np.max(found.low_s, initial=0.0)) * 1.02, float(np.max(finite, initial=0.0)))
    edges = np.concatenate(([0.0], np.geomspace(_FIRST_S, last_s, _POINTS)))
    at_s = (edges[1:] + edges[:-1]) / 2.0
    low = np.clip(np.searchsorted(at_s, found.low_s), 0, _POINTS - 1)
    high = np.clip(np.searchsorted(at_s, found.high_s), low + 1, _POINTS)  # at least one point
    seen = np.minimum(np.searchsorted(at_s, found.seen_s), low)
    share = np.diff(edges) / last_s  # begin with all times equally probable
    for _ in range(_ROUNDS):
        below = np.concatenate(([0.0], np.cumsum(share)))
        within = np.maximum(below[high] - below[low], 1e-300)
        visible = np.maximum(1.0 - below[seen], 1e-12)
        # What each observation gives to every point from `low` to `high`; and its missed ones, to those below `seen`.
        weight = np.zeros(_POINTS + 1)
        np.add.at(weight, low, 1.0 / within)
        np.add.at(weight, high, -1.0 / within)
        missed = np.zeros(_POINTS + 1)
        missed[0] = np.sum(1.0 / visible)
        np.add.at(missed, seen, -1.0 / visible)
        share = share * np.cumsum(weight + missed)[:_POINTS]
        share = np.maximum(share, 0.0)
        share /= share.sum()
    return Distribution(at_s, share)
