"""What all declarations share: their model, where the files that they name are found, and how a kind is named."""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict
from pydantic.config import JsonDict

FOUND: JsonDict = {"found": True}  # marks a field, in its JSON schema, that no file has: it is made of another one
_FOUND_IN = "found_in"
Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]


class Declared(BaseModel):
    """A declaration: immutable, without unknown fields, infinity or NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def made_of(field: str) -> JsonDict:
    """Marks a field that is found in what a file says in another `field`."""
    return FOUND | {_FOUND_IN: field}


def found_in(declaration: type[Declared], field: str) -> list[str]:
    """The fields of a declaration that are found in another `field`."""
    fields = declaration.model_fields.items()
    return [name for name, one in fields if one.json_schema_extra == made_of(field)]


@dataclass(frozen=True, slots=True)
class FilePlaces:
    """Where the files are that a declaration names. It is the context of the validation.

    Relative names are looked up in `directory`. With `sample_if_missing`, a sample stands in for a missing file.
    """

    directory: Path
    sample_if_missing: bool


def places_among(drawn: Floats, bounds: Floats) -> Numbers:
    """For each number drawn from [0, 1) the place of the share that it falls in, shape as `drawn`.

    `bounds` are the shares added up. What rounding leaves of 1 belongs to the last one that is not 0.
    """
    last = int(np.searchsorted(bounds, bounds[-1]))
    return np.asarray(np.searchsorted(bounds[:last], drawn, "right"), np.int64)


def lognormal(mean: float, cv: float, n: int, rng: np.random.Generator) -> Floats:
    """n numbers, shape (n,); `cv` is their standard deviation over their mean.

    Moments of the lognormal solved for its parameters: sigma^2 = ln(1 + cv^2), mu = ln(mean) - sigma^2 / 2.
    """
    variance = np.log1p(cv**2)
    return rng.lognormal(np.log(mean) - variance / 2, np.sqrt(variance), n)


def kinds_in(union: Any) -> tuple[type[Declared], ...]:
    """The classes of a registry's union, such as `Load`, in the order in which it lists them."""
    return cast("tuple[type[Declared], ...]", get_args(get_args(union)[0]))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """What a refusal of an unknown name ends with: the nearest one that is known, if any is near."""
    near = get_close_matches(name.lower(), known, 1)
    return f"; did you mean {near[0]}?" if near else ""


def kind_name(kind: type[Declared]) -> str:
    """What a file writes after `kind:` for this class."""
    return str(get_args(kind.model_fields["kind"].annotation)[0])
