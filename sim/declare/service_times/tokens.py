"""A service time that the number of generated tokens decides: `linear` in its own words."""

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from sim.declare.declared import Floats
from sim.declare.loads.kind import LoadKind
from sim.declare.service_times.kind import ServiceTimeKind
from sim.declare.service_times.linear import column_problem, of_recorded
from sim.wording import quantity

_COLUMN = "work"


class TokenTime(ServiceTimeKind):
    """`base_s + per_token_s` x the row's GeneratedTokens (`work`), in recorded seconds: what `linear` does, in the
    words of traces of language models.
    """

    each_alone: ClassVar = False

    kind: Literal["tokens"]
    base_s: float = Field(ge=0, le=1e6)
    per_token_s: float = Field(ge=0, le=1e3)

    def draw(self, n: int, rng: np.random.Generator, load: LoadKind) -> Floats:
        return of_recorded(load, _COLUMN, self.base_s, self.per_token_s, n)

    def in_words(self) -> str:
        return f"{quantity(self.base_s, 's')} and {quantity(self.per_token_s, 's')} a token, of recorded time"

    def problem(self, load: LoadKind) -> str | None:
        return column_problem(self.kind, _COLUMN, load)
