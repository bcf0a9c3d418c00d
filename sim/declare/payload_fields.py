"""What messages say beside their number and time: fields of numbers, and kinds of how they are distributed."""

from abc import abstractmethod
from collections.abc import Mapping
from math import ceil, floor
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from eventlib.events.schema import Event
from sim.declare.declared import Declared, Floats, lognormal

FIELDS_MAX = 20
_LIMIT = 1e12
_OURS = {"index", "intended_s", "key", "body", "size_bytes"}  # what messages of a live run have anyway

Number = Annotated[float, Field(ge=-_LIMIT, le=_LIMIT)]


class FieldKind(Declared):
    """How the numbers of one field are distributed. `whole`: they are rounded, as an event's `int` needs it."""

    kind: str
    whole: bool = False

    def numbers(self, n: int, rng: np.random.Generator) -> Floats:
        """The field of n messages, shape (n,)."""
        drawn = self.draw(n, rng)
        return np.rint(drawn) if self.whole else drawn

    @abstractmethod
    def draw(self, n: int, rng: np.random.Generator) -> Floats:
        """n numbers, shape (n,)."""

    @abstractmethod
    def in_words(self) -> str:
        """Which numbers, as half a sentence."""


class ConstantField(FieldKind):
    """All messages say the same number."""

    kind: Literal["constant"]
    value: Number

    def draw(self, n: int, rng: np.random.Generator) -> Floats:
        return np.full(n, self.value)

    def in_words(self) -> str:
        return f"{self.value:g}"


class UniformField(FieldKind):
    """Each number between two is equally likely; with `whole`, each whole number between them."""

    kind: Literal["uniform"]
    least: Number
    most: Number

    @model_validator(mode="after")
    def _ascends(self) -> Self:
        if self.most < self.least:
            raise ValueError("most: is less than least; swap them")
        if self.whole and ceil(self.least) > floor(self.most):
            raise ValueError("whole: no whole number is between least and most; leave it out, or raise most")
        return self

    def draw(self, n: int, rng: np.random.Generator) -> Floats:
        if self.whole:  # rounding would give the two ends half of their share
            return rng.integers(ceil(self.least), floor(self.most), n, endpoint=True).astype(np.float64)
        return rng.uniform(self.least, self.most, n)

    def in_words(self) -> str:
        return f"{self.least:g} to {self.most:g}"


class LognormalField(FieldKind):
    """Many small numbers and a few large ones. `cv` is the standard deviation over the mean."""

    kind: Literal["lognormal"]
    mean: float = Field(gt=0, le=_LIMIT)
    cv: float = Field(gt=0, le=100)

    def draw(self, n: int, rng: np.random.Generator) -> Floats:
        return np.minimum(lognormal(self.mean, self.cv, n, rng), _LIMIT)

    def in_words(self) -> str:
        return f"{self.mean:g} on average (lognormal, cv {self.cv:g})"


class ChoiceField(FieldKind):
    """One of some numbers. Each is equally likely, or as likely as its weight says."""

    kind: Literal["choice"]
    values: tuple[Number, ...] = Field(min_length=1, max_length=1000)
    weights: tuple[float, ...] = ()

    @model_validator(mode="after")
    def _has_weights(self) -> Self:
        if self.weights and len(self.weights) != len(self.values):
            raise ValueError(f"weights: {len(self.weights)} for {len(self.values)} values; give one for each")
        if not all(weight > 0 for weight in self.weights):
            raise ValueError("weights: one is 0 or negative; leave that value out")
        if any(weight > _LIMIT for weight in self.weights):  # their sum would have no end
            raise ValueError(f"weights: one is over {_LIMIT:g}; they count relative to each other, so lower all")
        return self

    def draw(self, n: int, rng: np.random.Generator) -> Floats:
        weights = np.array(self.weights) if self.weights else np.ones(len(self.values))
        return np.asarray(rng.choice(np.array(self.values), n, p=weights / weights.sum()))

    def in_words(self) -> str:
        return " or ".join(f"{value:g}" for value in self.values)


def _with_kind(declared: Any) -> Any:
    """A number, or a list of some, as the kind that it is."""
    if isinstance(declared, int | float) and not isinstance(declared, bool):
        return {"kind": "constant", "value": declared}
    return {"kind": "choice", "values": declared} if isinstance(declared, list | tuple) else declared


PayloadField = Annotated[
    Annotated[ConstantField | UniformField | LognormalField | ChoiceField, Field(discriminator="kind")],
    BeforeValidator(_with_kind),
]


def fields_problem(fields: Mapping[str, PayloadField], columns: tuple[str, ...]) -> str | None:
    """Why messages cannot have these fields beside these recorded columns, or None."""
    if len(fields) > FIELDS_MAX:
        return f"there are {len(fields)}, over {FIELDS_MAX}; leave some out"
    for name in fields:
        if not name.isidentifier() or name.startswith("_"):
            return f"{name!r} is no name of a field; use letters, digits and _, as in items"
        if name in _OURS:
            return f"messages have a field {name!r} anyway; give it another name"
        if hasattr(Event, name):  # such as copy: the event could not do what it has this for
            return f"each event has an attribute {name!r} of another kind; give it another name"
        if name in columns:
            return f"the load's trace has a column {name!r}, which is not drawn; give the field another name"
    return None


def draw_fields(fields: Mapping[str, PayloadField], n: int, seed: np.random.SeedSequence) -> dict[str, Floats]:
    """The fields of n messages, shape (n,) each. Each field has a random stream of its own."""
    streams = map(np.random.default_rng, seed.spawn(len(fields)))
    return {name: kind.numbers(n, rng) for (name, kind), rng in zip(fields.items(), streams, strict=True)}
