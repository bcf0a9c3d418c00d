"""What all declarations are checked for."""

import inspect
import logging
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
    """Whether a function can be called with so many arguments."""
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    return True
