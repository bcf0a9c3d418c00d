"""A load of independent events whose rate changes at given times."""

from collections.abc import Iterator
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from sim.declare.declared import Declared, Floats
from sim.declare.loads.kind import LoadKind
from sim.declare.loads.poisson_process import PiecewiseRate

_WORDED_MAX = 5  # rates that are put into words one by one


class RateFrom(Declared):
    """From `at_s` on, `rate_per_s` events a second are sent on average."""

    at_s: float = Field(ge=0, le=1e6)
    rate_per_s: float = Field(ge=0)


class StepLoad(LoadKind):
    """Events at random, independent of each other, at `rates` that hold from their `at_s` until the next one.

    The times ascend. Before the first one nothing is sent; the last rate holds until `duration_s`.
    """

    kind: Literal["step"]
    rates: tuple[RateFrom, ...] = Field(min_length=1, max_length=10_000)
    duration_s: float = Field(gt=0, le=1e6)

    in_parts: ClassVar = True
    grows_with: ClassVar = ("rates", "duration_s")

    @model_validator(mode="after")
    def _sends_something(self) -> Self:
        for number, (before, after) in enumerate(zip(self.rates, self.rates[1:], strict=False), 1):
            if after.at_s <= before.at_s:
                raise ValueError(f"rates.{number}.at_s: {after.at_s:g} s does not follow {before.at_s:g} s; sort them")
        if (last_s := self.rates[-1].at_s) >= self.duration_s:
            raise ValueError(f"rates: the last one begins at {last_s:g} s, when the load is over; raise duration_s")
        if not any(one.rate_per_s for one in self.rates):
            raise ValueError("rates: all are 0; nothing would be sent")
        return self

    def rate(self) -> PiecewiseRate:
        """The rate over time."""
        edges_s = [0.0, *(one.at_s for one in self.rates), self.duration_s]
        return PiecewiseRate(np.array(edges_s), np.array([0.0, *(one.rate_per_s for one in self.rates)]))

    def arrivals_s(self, rng: np.random.Generator) -> Floats:
        return self.rate().draw(rng)

    def draw_in_parts(self, rng: np.random.Generator) -> tuple[int, Iterator[Floats]]:
        return self.rate().draw_in_parts(rng)

    def expected_events(self) -> float:
        return float(self.rate().expected_until()[-1])

    def in_words(self) -> str:
        if len(self.rates) > _WORDED_MAX:
            rates = [one.rate_per_s for one in self.rates]
            words = f"{min(rates):g} to {max(rates):g} a second by {len(rates)} steps"
        else:
            words = ", ".join(f"{one.rate_per_s:g} a second from {one.at_s:g} s on" for one in self.rates)
        return f"{words}, until {self.duration_s:g} s, at random (Poisson)"
