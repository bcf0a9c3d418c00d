"""Replies of servers, read as they come: fields, text and INFO, for those who look at streams of any library."""

from collections.abc import Sequence
from typing import Any, NamedTuple

SCAN_COUNT = 500  # keys that one SCAN looks at: less than a millisecond of the server's time


def fields(row: Sequence[Any]) -> dict[str, Any]:
    """The values of a flat reply, such as that of XINFO, by their names."""
    return {text(name): value for name, value in zip(row[::2], row[1::2], strict=True)}


def text(value: bytes) -> str:
    """Bytes as text; what is no UTF-8 is escaped."""
    return value.decode(errors="backslashreplace")


def info(reply: bytes) -> dict[str, str]:
    """The lines of INFO by their names."""
    lines = (line.partition(":") for line in text(reply).splitlines())
    return {name: value for name, colon, value in lines if colon}


class ConsumerState(NamedTuple):
    """What a consumer holds, and for how long it has asked for nothing."""

    name: str
    pending: int
    idle_ms: int


def consumer_states(rows: Sequence[Any]) -> list[ConsumerState]:
    """The consumers of a reply to XINFO CONSUMERS."""
    named = map(fields, rows)
    return [ConsumerState(text(row["name"]), row["pending"], row["idle"]) for row in named]
