"""How an operator selects dead letters."""

import math
import re
from collections.abc import Collection
from dataclasses import dataclass

from eventlib.dead_letter import DeadLetter
from eventlib.errors import InvalidArgument

_ID = re.compile(r"\d{1,20}-\d{1,20}")
_SEQUENCE_MAX = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Selection:
    """The dead letters that match every field that is given.

    `error` matches a part of the error's type and text, and `handler` a part of the handler's full name, in upper or
    lower case. `since_s` (inclusive) and `until_s` (exclusive) limit the time of death, in Unix seconds.
    """

    ids: Collection[str] | None = None
    reason: str | None = None
    error: str | None = None
    event_type: str | None = None
    handler: str | None = None
    origin: str | None = None
    since_s: float | None = None
    until_s: float | None = None
    older_than_s: float | None = None
    event_id: str | None = None

    def __post_init__(self) -> None:
        for id_ in self.ids or ():
            valid_id(id_)
        for name in ("since_s", "until_s", "older_than_s"):
            value = getattr(self, name)
            if value is not None and not 0.0 <= value < 1e15:
                raise InvalidArgument("selection", f"{name}={value!r}; it must be a number of seconds, zero or more")

    def fits(self, dead_letter: DeadLetter) -> bool:
        """Whether a dead letter matches. Its id and its time of death are not compared."""
        return (
            self.reason in (None, dead_letter.reason)
            and self.origin in (None, dead_letter.origin)
            and (self.error is None or self.error.casefold() in dead_letter.error.casefold())
            and (self.handler is None or self.handler.casefold() in dead_letter.handler.casefold())
            and self.event_type in (None, dead_letter.event_type)
            and self.event_id in (None, dead_letter.event_id)
        )

    def bounds(self, now_ms: int, last: str, after: str | None = None) -> tuple[str, str] | None:
        """The lowest and the highest id that match, both inclusive. None if no id can match.

        `last` is the last id of the queue. Ids up to `after` are left out.
        """
        starts, ends = [(_ms(self.since_s or 0.0), 0)], [id_parts(last)]
        if after is not None:
            ms, sequence = id_parts(after)
            starts.append((ms, sequence + 1) if sequence < _SEQUENCE_MAX else (ms + 1, 0))
        if self.until_s is not None:
            ends.append((_ms(self.until_s) - 1, _SEQUENCE_MAX))
        if self.older_than_s is not None:
            ends.append((now_ms - _ms(self.older_than_s) - 1, _SEQUENCE_MAX))
        start, end = max(starts), min(ends)
        return None if start > end else (f"{start[0]}-{start[1]}", f"{end[0]}-{end[1]}")


ALL = Selection()


def valid_id(id_: str) -> str:
    """`id_`, if it can be the id of a dead letter.

    Raises:
        InvalidArgument: it cannot be one.
    """
    if not _ID.fullmatch(id_) or max(id_parts(id_)) > _SEQUENCE_MAX:
        raise InvalidArgument("dead letter", f"{id_!r} is not an id; take one from the list, such as 1732450000000-0")
    return id_


def id_parts(id_: str) -> tuple[int, int]:
    """Milliseconds and sequence number. Ids have the order of these pairs."""
    ms, _, sequence = id_.partition("-")
    return int(ms), int(sequence)


def _ms(seconds: float) -> int:
    return math.ceil(round(seconds * 1000.0, 2))  # the float nearest to a whole ms may be slightly above it
