"""Moments and ages, as people read them."""

from datetime import UTC, datetime

UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def clock(moment_s: float | None, *, unknown: str = "unknown") -> str:
    """A moment in UTC. Others may have written it, by a clock that is wrong."""
    if moment_s is None:
        return unknown
    try:
        return datetime.fromtimestamp(moment_s, UTC).isoformat(" ", "milliseconds")
    except (OverflowError, OSError, ValueError):
        return f"{moment_s:.0f} s"


def age(seconds: float) -> str:
    """Seconds in the largest unit of which there is one."""
    name = max((name for name, size_s in UNITS_S.items() if size_s <= seconds), key=UNITS_S.__getitem__, default="s")
    return f"{seconds / UNITS_S[name]:.1f} {name}"
