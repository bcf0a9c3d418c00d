"""A service time that follows what was recorded with each message, or how large it is."""

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from sim.declare.declared import Floats
from sim.declare.loads.kind import LoadKind
from sim.declare.service_times.kind import ServiceTimeKind
from sim.declare.sizes import SIZE_BYTES
from sim.wording import quantity


class LinearTime(ServiceTimeKind):
    """`base_s + per_unit_s` x a `column` of the load's trace, in recorded seconds; or x `size_bytes` of each message.

    The load's time scale applies to it too, so that the replay is as busy as the recording was.
    """

    each_alone: ClassVar = False

    kind: Literal["linear"]
    base_s: float = Field(ge=0, le=1e6)
    per_unit_s: float = Field(ge=0, le=1e6)
    column: str = "work"

    def draw(self, n: int, rng: np.random.Generator, load: LoadKind) -> Floats:
        """Service times of n messages in seconds, shape (n,). All messages that one row set off have its work."""
        return of_recorded(load, self.column, self.base_s, self.per_unit_s, n)

    def in_words(self) -> str:
        of_time = "" if self.column == SIZE_BYTES else ", of recorded time"
        return f"{quantity(self.base_s, 's')} and {quantity(self.per_unit_s, 's')} x {self.column}{of_time}"

    def problem(self, load: LoadKind) -> str | None:
        return column_problem(self.kind, self.column, load)


def of_recorded(load: LoadKind, column: str, base_s: float, per_unit_s: float, n: int) -> Floats:
    """Service times of n messages that follow a recorded column, in seconds of the run, shape (n,)."""
    recorded = load.carried(column)
    return np.repeat(base_s + per_unit_s * recorded, n // len(recorded)) * load.replay_scale


def column_problem(kind: str, column: str, load: LoadKind) -> str | None:
    """Why a service time of this kind cannot follow a column of the load, or None."""
    if not load.carried_columns:
        return f"kind {kind!r} needs a load of kind 'trace', or one with size_bytes"
    if column not in load.carried_columns:
        known = ", ".join(load.carried_columns)
        return f"column: the load's trace has no {column!r}; there are: {known} (load.columns names them)"
    return None
