"""A load that comes in bursts: a Markov-modulated Poisson process (MMPP)."""

from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from sim.declare.declared import Declared, Floats
from sim.declare.loads.kind import LoadKind
from sim.declare.loads.poisson_process import PiecewiseRate

STAYS_MAX = 1_000_000  # changes of state that a load may have on average
_DRAWN = 256  # stays at once: always as many, so that a longer load begins like a shorter one
_WORDED_MAX = 4


class BurstState(Declared):
    """A state of a bursty load: `rate_per_s` events a second, for an exponential time of `mean_s` on average."""

    rate_per_s: float = Field(ge=0)
    mean_s: float = Field(gt=0, le=1e6)


class BurstyLoad(LoadKind):
    """Events at random, at a rate that is that of the present one of the `states`.

    After a state comes one of the others, each equally likely; two states take turns. The load begins in the middle of
    things: each state is as likely at 0 s as it is later. The states have a random stream of their own, so other rates
    have the same bursts.

    Source: Fischer, Meier-Hellstern, "The Markov-modulated Poisson process (MMPP) cookbook", Performance Evaluation
    18(2), 1993.
    """

    kind: Literal["bursty"]
    states: tuple[BurstState, ...] = Field(min_length=2, max_length=100)
    duration_s: float = Field(gt=0, le=1e6)

    grows_with: ClassVar = ("states' rates", "duration_s")

    @model_validator(mode="after")
    def _can_be_drawn(self) -> Self:
        if not any(one.rate_per_s for one in self.states):
            raise ValueError("states: all rates are 0; nothing would be sent")
        if (stays := self.duration_s / float(self._means_s().mean())) > STAYS_MAX:
            problem = f"the state would change {stays:,.0f} times, over {STAYS_MAX:,}"
            raise ValueError(f"states: {problem}; raise mean_s or lower duration_s")
        return self

    def rate(self, rng: np.random.Generator) -> PiecewiseRate:
        """The rate over time, as the states decide it that are drawn now."""
        means_s, count = self._means_s(), len(self.states)
        # The states that follow each other are uniform in the long run, so the share of time is that of the mean stay.
        state = int(rng.choice(count, p=means_s / means_s.sum()))
        states, ends_s = [np.empty(0, np.int64)], [np.zeros(1)]
        while ends_s[-1][-1] < self.duration_s:
            moves = np.concatenate(([0], rng.integers(1, count, _DRAWN)))
            visited = (state + np.cumsum(moves)) % count
            states.append(visited[:-1])
            ends_s.append(ends_s[-1][-1] + np.cumsum(rng.exponential(means_s[visited[:-1]])))
            state = int(visited[-1])
        edges_s = np.concatenate(ends_s)
        stays = int(np.searchsorted(edges_s, self.duration_s))
        rates_per_s = np.array([one.rate_per_s for one in self.states])
        return PiecewiseRate(np.append(edges_s[:stays], self.duration_s), rates_per_s[np.concatenate(states)[:stays]])

    def arrivals_s(self, rng: np.random.Generator) -> Floats:
        of_states, of_events = rng.spawn(2)
        return self.rate(of_states).draw(of_events)

    def expected_events(self) -> float:
        means_s = self._means_s()
        rates_per_s = np.array([one.rate_per_s for one in self.states])
        return float(np.average(rates_per_s, weights=means_s)) * self.duration_s

    def in_words(self) -> str:
        if len(self.states) > _WORDED_MAX:
            rates = [one.rate_per_s for one in self.states]
            words = f"{min(rates):g} to {max(rates):g} a second, in {len(rates)} states"
        else:
            words = " or ".join(f"{one.rate_per_s:g} a second for about {one.mean_s:g} s" for one in self.states)
        return f"{words}, for {self.duration_s:g} s, in bursts (MMPP)"

    def _means_s(self) -> Floats:
        return np.array([one.mean_s for one in self.states])
