"""Fields of a scenario that vary: named by their path (`services.billing.consumers`), each with the values it takes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import product
from typing import Any

import numpy as np
from pydantic import ValidationError

from sim.declare.declared import Declared, found_in
from sim.declare.plain_yaml import Unreadable, parse
from sim.declare.scenario import Scenario
from sim.declare.scenario_file import problems
from sim.errors import InvalidScenario

POINTS_MAX = 100_000  # more would take days
_FORM = "give values (100,200,400) or a range (1..8, 0.1..0.5..0.1 with a step)"

Values = Mapping[str, "str | Iterable[Any]"]


@dataclass(frozen=True, slots=True)
class Axis:
    """A field and the values that it takes: `values`, or any number from `low` to `high` where there are none."""

    field: str
    values: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0

    @classmethod
    def of(cls, field: str, said: "str | Iterable[Any]") -> "Axis":
        """The axis of a field. A text is read as the command line has it: `1..8`, `0.5..2`, `100,200,400`.

        Raises:
            InvalidScenario: it says no value.
        """
        if not isinstance(said, str):
            values = tuple(dict.fromkeys(said))
            if not values:
                raise InvalidScenario(field, f"varies over nothing; {_FORM}")
            return cls(field, values)
        if ".." in said:
            return _range(field, said)
        try:
            return cls(field, tuple(dict.fromkeys(parse(part.strip()) for part in _parts(field, said))))
        except Unreadable as error:
            raise InvalidScenario(field, f"{said!r}: {error}; {_FORM}") from error

    def at(self, share: float) -> Any:
        """The value at this share of the axis, from 0 to 1 (exclusive)."""
        if self.values:
            return self.values[int(share * len(self.values))]
        return self.low + share * (self.high - self.low)


def _parts(field: str, said: str) -> list[str]:
    parts = said.split(",")
    if not all(part.strip() for part in parts):
        raise InvalidScenario(field, f"{said!r} has an empty value; {_FORM}")
    return parts


def _range(field: str, said: str) -> Axis:
    try:
        parts = [parse(part) for part in said.split("..")]
    except Unreadable as error:
        raise InvalidScenario(field, f"{said!r}: {error}; {_FORM}") from error
    if len(parts) not in (2, 3) or not all(isinstance(part, int | float) for part in parts):
        raise InvalidScenario(field, f"{said!r} is no range of numbers; {_FORM}")
    low, high, *step = parts
    if low > high or (step and step[0] <= 0):
        raise InvalidScenario(field, f"{said!r} is an empty range; put the smaller number first, and a step above 0")
    if not step and not all(isinstance(part, int) for part in parts):
        return Axis(field, low=float(low), high=float(high))
    by = step[0] if step else 1
    count = int(np.floor((high - low) / by + 1e-9)) + 1
    if count > POINTS_MAX:
        raise InvalidScenario(field, f"{said!r} has {count:,} values, over {POINTS_MAX:,}; give a larger step")
    values = (low + index * by for index in range(count))
    return Axis(field, tuple(value if isinstance(value, int) else float(f"{value:.12g}") for value in values))


def axes_of(vary: Values) -> tuple[Axis, ...]:
    """The axes of what varies.

    Raises:
        InvalidScenario: nothing varies, or a field has no value.
    """
    if not vary:
        raise InvalidScenario("vary", "nothing varies; name a field and its values: services.billing.consumers=1..8")
    return tuple(Axis.of(field, said) for field, said in vary.items())


def grid(axes: Sequence[Axis]) -> list[tuple[Any, ...]]:
    """Every combination of the values of the axes; the last axis varies fastest.

    Raises:
        InvalidScenario: an axis is a range without steps, or there are too many combinations.
    """
    for axis in axes:
        if not axis.values:
            problem = f"{axis.low:g}..{axis.high:g} has no steps"
            raise InvalidScenario(axis.field, f"{problem}; add one (..STEP), or draw points from it with samples")
    if (size := np.prod([float(len(axis.values)) for axis in axes])) > POINTS_MAX:
        raise InvalidScenario("vary", f"{size:,.0f} points, over {POINTS_MAX:,}; vary less, or draw points by samples")
    return list(product(*(axis.values for axis in axes)))


def latin_hypercube(axes: Sequence[Axis], samples: int, seed: int = 0) -> list[tuple[Any, ...]]:
    """So many points, spread evenly along each axis. Points that are equal are there once.

    Source: McKay, Beckman and Conover, "A Comparison of Three Methods for Selecting Values of Input Variables",
    Technometrics 21(2), 1979; drawn by `scipy.stats.qmc`.

    Raises:
        InvalidScenario: the number of samples is not from 1 to 100,000.
    """
    from scipy.stats import qmc  # importing it takes long

    if not 1 <= samples <= POINTS_MAX:
        raise InvalidScenario("samples", f"{samples:,} is not from 1 to {POINTS_MAX:,}")
    drawn = qmc.LatinHypercube(len(axes), seed=np.random.default_rng(seed)).random(samples)
    found = (tuple(axis.at(share) for axis, share in zip(axes, shares, strict=True)) for shares in drawn.tolist())
    return list(dict.fromkeys(found))


def with_fields(scenario: Scenario, changes: Mapping[str, Any]) -> Scenario:
    """The scenario with other values of these fields, checked as a file is.

    Raises:
        InvalidScenario: there is no such field, or the scenario cannot be run with such a value.
    """
    declared = scenario.declared()
    for path, value in changes.items():
        _put(declared, path, value)
        _forget_found(declared, scenario, path)
    told = ", ".join(f"{path}={value}" for path, value in changes.items())
    try:
        return Scenario.model_validate(declared)
    except ValidationError as error:
        raise InvalidScenario(f"{scenario.name} with {told}", *problems(error, Scenario.model_json_schema)) from error


def _put(declared: dict[str, Any], path: str, value: Any) -> None:
    """Put a value in the place of the one at this path."""
    *above, last = path.split(".")
    within: Any = declared
    for number, name in enumerate(above):
        inner = within[_key(within, name, path)]
        if isinstance(inner, tuple):
            inner = within[_key(within, name, path)] = list(inner)
        if not isinstance(inner, dict | list):
            there = ".".join(above[: number + 1])
            raise InvalidScenario(path, f"there is no such field: {there} is {inner!r} and has none below it")
        within = inner
    within[_key(within, last, path)] = value


def _forget_found(declared: dict[str, Any], scenario: Scenario, path: str) -> None:
    """Take out what was found in the old value of a field, such as the weights of a mix: it would hold still."""
    *above, last = path.split(".")
    within: Any = declared
    model: Any = scenario
    for name in above:
        within = within[_key(within, name, path)]
        model = _below(model, name)
    if isinstance(model, Declared):
        for field in found_in(type(model), last):
            within.pop(field, None)


def _below(part: Any, name: str) -> Any:
    """What the scenario has at this name, if it has it: an earlier change may have put something else there."""
    if isinstance(part, Declared):
        fields = {field.alias or own: own for own, field in type(part).model_fields.items()}
        return getattr(part, fields[name]) if name in fields else None
    if isinstance(part, Mapping):
        return part.get(name)
    return part[int(name)] if isinstance(part, tuple) and int(name) < len(part) else None


def _key(within: Any, name: str, path: str) -> Any:
    """The key of a field, where there is one."""
    names = [*within] if isinstance(within, dict) else [str(index) for index in range(len(within))]
    if name not in names:
        near = get_close_matches(name, names, n=3) or names
        raise InvalidScenario(path, f"there is no field {name!r}; there are: {', '.join(near) or 'none'}")
    return name if isinstance(within, dict) else int(name)
