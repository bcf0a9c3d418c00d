"""Checks of what a user gave, of any type where no type checker looked: a text such as "5" is no number."""

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any, TypeVar, cast

from eventlib.errors import InvalidArgument, InvalidDeclaration

F = TypeVar("F", bound=Callable[..., Any])

DURATION = "seconds, from 0.001 to a year"
TOLERANCE_S = 5.0  # how late a slot is met before it counts as missed, unless the schedule says otherwise
_YEAR_S = 366 * 86_400.0


def is_number(value: object) -> bool:
    """Whether it is a number, and no truth value. It may be negative, infinite or no number (NaN)."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_seconds(value: object, most: float = math.inf) -> bool:
    """Whether it is a length of time above zero, and no longer than `most`."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= most


def is_duration(value: object) -> bool:
    """Whether it is a length of time that the server can count: see `DURATION`."""
    return is_seconds(value, _YEAR_S) and isinstance(value, int | float) and value >= 0.001


def is_count(value: object, least: int) -> bool:
    """Whether it is a whole number from `least` to a million."""
    return isinstance(value, int) and least <= value <= 1_000_000


def called_as(
    right: str, refusal: type[InvalidArgument] | type[InvalidDeclaration] = InvalidArgument
) -> Callable[[F], F]:
    """Refuse a call of the decorated function whose arguments it does not take, and show the `right` call."""

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return function(*args, **kwargs)
            except TypeError:
                try:
                    inspect.signature(function).bind(*args, **kwargs)
                except TypeError as error:
                    raise refusal(function.__name__, f"{error}; call it as `{right}`") from None
                raise  # it is not about this call

        return cast(F, call)

    return decorate
