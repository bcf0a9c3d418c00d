"""A service time that a recorded trace decides."""

from typing import Literal

import numpy as np
from pydantic import Field

from sim.declare.declared import Floats
from sim.declare.loads.kind import LoadKind
from sim.declare.loads.trace import TraceLoad
from sim.declare.service_times.kind import ServiceTimeKind
from sim.wording import quantity


class TokenTime(ServiceTimeKind):
    """`base_s + per_token_s` x the row's GeneratedTokens, in recorded seconds.

    The load's time scale applies to it too, so that the replay is as busy as the recording was.
    """

    kind: Literal["tokens"]
    base_s: float = Field(ge=0, le=1e6)
    per_token_s: float = Field(ge=0, le=1e3)

    def draw(self, n: int, rng: np.random.Generator, load: LoadKind) -> Floats:
        """Service times of n messages in seconds, shape (n,). All messages that one row set off have its work."""
        assert isinstance(load, TraceLoad), "the scenario has asked for problems before"
        tokens = load.rows().generated_tokens
        recorded_s = self.base_s + self.per_token_s * np.repeat(tokens, n // len(tokens))
        return recorded_s * load.time_scale

    def in_words(self) -> str:
        return f"{quantity(self.base_s, 's')} and {quantity(self.per_token_s, 's')} a token, of recorded time"

    def problem(self, load: LoadKind) -> str | None:
        return None if isinstance(load, TraceLoad) else "kind 'tokens' needs a load of kind 'trace'"
