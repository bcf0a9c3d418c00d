"""Checks of numbers that a user gave, of any type where no type checker looked: a text such as "5" is none."""

import math

DURATION = "seconds, from 0.001 to a year"
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
