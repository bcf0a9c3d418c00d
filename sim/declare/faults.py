"""Faults: what goes wrong, where and when. Declarations only; each world makes them happen in its own way."""

from typing import Annotated, Literal

from pydantic import Field

from sim.declare.load import Declared


class Kill(Declared):
    """One consumer dies at `at_s` without a word, and a new one takes its place after `back_after_s` (None: never)."""

    kind: Literal["kill"]
    service: str
    consumer: int = Field(default=0, ge=0)
    at_s: float = Field(ge=0)
    back_after_s: float | None = Field(default=None, ge=0)


class Errors(Declared):
    """Attempts that start in the window fail with probability `error_rate` instead of the service's own."""

    kind: Literal["errors"]
    service: str
    at_s: float = Field(ge=0)
    for_s: float = Field(gt=0)
    error_rate: float = Field(ge=0, le=1)


Fault = Annotated[Kill | Errors, Field(discriminator="kind")]
