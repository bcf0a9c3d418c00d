"""What all declarations are checked for."""

import inspect
import logging
import math
from collections.abc import Callable

from eventlib.errors import InvalidDeclaration
from eventlib.interactive import interactive

log = logging.getLogger("eventlib")


def replace_or_refuse(where: str, problem: str) -> None:
    """Let a user at a keyboard declare again, with a note. A program that declares twice contradicts itself.

    Raises:
        InvalidDeclaration: it is a program.
    """
    if not interactive():
        raise InvalidDeclaration(where, problem)
    log.warning("%s: its settings are replaced by the new ones", where)


def takes(function: Callable[..., object], count: int) -> bool:
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    return True


def is_seconds(number: object, most: float = math.inf) -> bool:
    """Whether it is a length of time above zero; a text such as "5" is none."""
    return isinstance(number, int | float) and not isinstance(number, bool) and 0 < number <= most


def is_count(number: object, least: int) -> bool:
    return isinstance(number, int) and least <= number <= 1_000_000
