"""What all declarations are checked for."""

import inspect
import logging
from collections.abc import Callable

from eventlib.errors import InvalidDeclaration
from eventlib.interactive import interactive
from eventlib.slots import is_seconds

log = logging.getLogger("eventlib")

DURATION = "seconds, from 0.001 to a year"
_YEAR_S = 366 * 86_400.0


def replace_or_refuse(where: str, problem: str) -> None:
    """Let a user at a keyboard declare again, with a note. A program that declares twice contradicts itself.

    Raises:
        InvalidDeclaration: it is a program.
    """
    if not interactive():
        raise InvalidDeclaration(where, problem)
    log.warning("%s: its settings are replaced by the new ones", where)


def takes(function: Callable[..., object], count: int) -> bool:
    """Whether a function can be called with so many arguments."""
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    return True


def is_count(number: object, least: int) -> bool:
    """Whether it is a whole number from `least` to a million."""
    return isinstance(number, int) and least <= number <= 1_000_000


def is_duration(seconds: object) -> bool:
    """Whether it is a length of time that the server can count: see `DURATION`."""
    return is_seconds(seconds) and 0.001 <= seconds <= _YEAR_S
