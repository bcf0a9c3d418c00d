"""A plan of faults that a seed draws."""

from collections.abc import Mapping, Sequence
from math import inf
from typing import Literal

import numpy as np
from pydantic import Field

from sim.declare.declared import did_you_mean
from sim.declare.faults.kind import Draw, FaultKind, FaultySystem, System

FAULTS_MAX = 1000
_TRIES = 20  # a fault that meets what is down already is drawn anew, and left out in the end


class RandomPlan(FaultKind):
    """Stands for faults of these `kinds`, drawn by `seed`: one each `every_s` seconds on average, at random times.

    Each lasts about `lasts_s` (by default a fifth of `every_s`): from half of it to one and a half times as long. The
    plan begins at `at_s` and ends with the load. It is the same in every run, whatever the run's own seed is.
    """

    kind: Literal["random"]
    at_s: float = Field(default=0.0, ge=0)
    every_s: float = Field(ge=0.1, le=1e6)
    kinds: tuple[str, ...] = Field(default=("kill", "pause", "errors", "slow", "outage"), min_length=1)
    lasts_s: float | None = Field(default=None, ge=0.01)
    seed: int = Field(default=0, ge=0)

    @property
    def until_s(self) -> float:
        return inf

    @property
    def label(self) -> str:
        return "random faults"

    def in_words(self, system: System) -> str:
        return f"From {self.at_s:g} s on, something goes wrong each {self.every_s:g} s on average."

    def expanded(self, system: System, kinds: Mapping[str, type[FaultKind]]) -> Sequence[FaultKind]:
        chosen = [_drawable(kinds, name) for name in self.kinds]
        rng = np.random.default_rng(self.seed)
        end_s, lasts_s = system.offered_load.duration_s, self.lasts_s or self.every_s / 5.0
        if (number := (end_s - self.at_s) / self.every_s) > FAULTS_MAX:
            raise ValueError(f"random: about {number:,.0f} faults would be drawn, over {FAULTS_MAX:,}; raise every_s")
        found: list[FaultKind] = []
        at_s = self.at_s + rng.exponential(self.every_s)
        while at_s < end_s:
            for _ in range(_TRIES):
                draw = Draw(system.services, at_s, lasts_s * rng.uniform(0.5, 1.5), rng, tuple(system.dependencies))
                drawn = chosen[rng.integers(len(chosen))].drawn(draw)
                beside = FaultySystem(
                    *(system.offered_load, system.services, system.dependencies, system.callers),
                    (*system.faults, *found),
                )
                if drawn is not None and drawn.problem(beside) is None:
                    found.append(drawn)
                    break
            at_s += rng.exponential(self.every_s)
        return found


def _drawable(kinds: Mapping[str, type[FaultKind]], name: str) -> type[FaultKind]:
    can = [one for one, kind in kinds.items() if "drawn" in vars(kind)]
    if name not in can:
        raise ValueError(
            f"random: no faults of kind {name!r} can be drawn; kinds may be {', '.join(can)}{did_you_mean(name, can)}"
        )
    return kinds[name]
