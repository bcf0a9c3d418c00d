"""A service time that follows what was recorded with each message, how large it is, or what it says."""

from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from sim.declare.declared import Floats
from sim.declare.loads.kind import LoadKind
from sim.declare.service_times.kind import ServiceTimeKind
from sim.declare.sizes import SIZE_BYTES
from sim.wording import quantity

_COLUMN = "work"


class LinearTime(ServiceTimeKind):
    """`base_s + per_unit_s` x a `column` of the load's trace, in recorded seconds; or x `size_bytes` of each message.

    Or x a `field` of the payload, which `fields` of the load declares; a message that says less than 0 takes `base_s`.

    The load's time scale applies to it too, so that the replay is as busy as the recording was.
    """

    each_alone: ClassVar = False

    kind: Literal["linear"]
    base_s: float = Field(ge=0, le=1e6)
    per_unit_s: float = Field(ge=0, le=1e6)
    column: str = _COLUMN
    field: str | None = None

    def draw(self, n: int, rng: np.random.Generator, load: LoadKind) -> Floats:
        """Service times of n messages in seconds, shape (n,). All messages that one row set off have its work."""
        if self.field is not None:
            return self.base_s + self.per_unit_s * load.said_by(self.field, n)
        return of_recorded(load, self.column, self.base_s, self.per_unit_s, n)

    def in_words(self) -> str:
        if self.field is not None:
            return f"{quantity(self.base_s, 's')} and {quantity(self.per_unit_s, 's')} x {self.field}"
        of_time = "" if self.column == SIZE_BYTES else ", of recorded time"
        return f"{quantity(self.base_s, 's')} and {quantity(self.per_unit_s, 's')} x {self.column}{of_time}"

    @model_validator(mode="after")
    def _follows_one(self) -> Self:
        if self.field is not None and self.column != _COLUMN:
            raise ValueError(f"field: it follows the column {self.column!r} already; leave field or column out")
        return self

    def problem(self, load: LoadKind) -> str | None:
        if self.field is not None:
            return field_problem(self.field, load)
        return column_problem(self.kind, self.column, load)


def of_recorded(load: LoadKind, column: str, base_s: float, per_unit_s: float, n: int) -> Floats:
    """Service times of n messages that follow a recorded column, in seconds of the run, shape (n,)."""
    recorded = load.carried(column)
    return np.repeat(base_s + per_unit_s * recorded, n // max(1, len(recorded))) * load.replay_scale


def field_problem(field: str, load: LoadKind) -> str | None:
    """Why a service time cannot follow a field of the payload, or None."""
    if field in load.fields:
        return None
    mend = f"declare it as load.fields: {{{field}: ...}}"
    if field in load.carried_columns:
        return f"field: {field!r} is a column, and no field of the payload; name it as column"
    known = f"; there are: {', '.join(load.fields)}" if load.fields else ""
    return f"field: the load's messages have no field {field!r}{known}; {mend}"


def column_problem(kind: str, column: str, load: LoadKind) -> str | None:
    """Why a service time of this kind cannot follow a column of the load, or None."""
    if not load.carried_columns:
        return f"kind {kind!r} needs a load of kind 'trace', or one with size_bytes"
    if column not in load.carried_columns:
        known = ", ".join(load.carried_columns)
        return f"column: the load's trace has no {column!r}; there are: {known} (load.columns names them)"
    return None
