"""How large messages are: kinds of sizes, in bytes of the body that a message carries beside its number and time."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from sim.declare.declared import Declared, Floats, lognormal

SIZE_BYTES = "size_bytes"  # the field of a load; service times may follow it like a column of a trace
SIZE_MAX = 1_000_000  # bytes; the library takes events of 16 MiB, and a run has many of them at once


class SizeKind(Declared):
    """How large the messages of a load are."""

    kind: str

    @property
    @abstractmethod
    def mean(self) -> float:
        """The mean size in bytes, as far as that is known before a file is read."""

    @abstractmethod
    def draw(self, n: int, rng: np.random.Generator, of_events: Sequence[str], recorded: Floats | None) -> Floats:
        """Sizes of n messages in bytes, shape (n,). `of_events` has the event type of each, or one of all."""

    @abstractmethod
    def in_words(self) -> str:
        """How large a message is, as half a sentence."""


class ConstantSize(SizeKind):
    """All messages have one size."""

    kind: Literal["constant"]
    mean_bytes: int = Field(ge=0, le=SIZE_MAX)

    @property
    def mean(self) -> float:
        return self.mean_bytes

    def draw(self, n: int, rng: np.random.Generator, of_events: Sequence[str], recorded: Floats | None) -> Floats:
        return np.full(n, float(self.mean_bytes))

    def in_words(self) -> str:
        return f"{self.mean_bytes:,} bytes each"


class LognormalSize(SizeKind):
    """Many small messages and a few large ones. `cv` is the standard deviation over the mean."""

    kind: Literal["lognormal"]
    mean_bytes: float = Field(gt=0, le=SIZE_MAX)
    cv: float = Field(gt=0, le=100)

    @property
    def mean(self) -> float:
        return self.mean_bytes

    def draw(self, n: int, rng: np.random.Generator, of_events: Sequence[str], recorded: Floats | None) -> Floats:
        return lognormal(self.mean_bytes, self.cv, n, rng)

    def in_words(self) -> str:
        return f"{self.mean_bytes:,.0f} bytes on average (lognormal, cv {self.cv:g})"


class UniformSize(SizeKind):
    """Each size between two is equally likely."""

    kind: Literal["uniform"]
    least_bytes: int = Field(ge=0, le=SIZE_MAX)
    most_bytes: int = Field(ge=0, le=SIZE_MAX)

    @model_validator(mode="after")
    def _ascends(self) -> Self:
        if self.most_bytes < self.least_bytes:
            raise ValueError("most_bytes: is less than least_bytes; swap them")
        return self

    @property
    def mean(self) -> float:
        return (self.least_bytes + self.most_bytes) / 2

    def draw(self, n: int, rng: np.random.Generator, of_events: Sequence[str], recorded: Floats | None) -> Floats:
        return rng.integers(self.least_bytes, self.most_bytes, n, endpoint=True).astype(np.float64)

    def in_words(self) -> str:
        return f"{self.least_bytes:,} to {self.most_bytes:,} bytes each"


class ColumnSize(SizeKind):
    """A column of the load's trace has the sizes."""

    kind: Literal["column"]
    column: str

    @property
    def mean(self) -> float:
        return 0.0

    def draw(self, n: int, rng: np.random.Generator, of_events: Sequence[str], recorded: Floats | None) -> Floats:
        assert recorded is not None, "the load has the column"
        return recorded

    def in_words(self) -> str:
        return f"as many bytes as {self.column} says"


class EventSize(SizeKind):
    """Messages of each event type of a mix have a size of their own."""

    kind: Literal["event"]
    sizes: dict[str, Annotated[int, Field(ge=0, le=SIZE_MAX)]] = Field(min_length=1)

    @property
    def mean(self) -> float:
        return max(self.sizes.values())

    def draw(self, n: int, rng: np.random.Generator, of_events: Sequence[str], recorded: Floats | None) -> Floats:
        sizes = [float(self.sizes[event]) for event in of_events]
        return np.array(sizes) if len(sizes) == n else np.full(n, sizes[0])

    def in_words(self) -> str:
        return " and ".join(f"{size:,} bytes of {event}" for event, size in self.sizes.items())


def _with_kind(declared: Any) -> Any:
    """A number of bytes, or one for each event type, as the kind that it is."""
    if isinstance(declared, int | float) and not isinstance(declared, bool):
        return {"kind": "constant", "mean_bytes": declared}
    if isinstance(declared, Mapping) and declared and "kind" not in declared:
        return {"kind": "event", "sizes": dict(declared)}
    return declared


MessageSize = Annotated[
    Annotated[ConstantSize | LognormalSize | UniformSize | ColumnSize | EventSize, Field(discriminator="kind")],
    BeforeValidator(_with_kind),
]
