"""What a stream keeps and for how long, and how its groups stand. Pure: no clock, no I/O.

An entry leaves its stream when every live group is done with it and it is beyond the history that is kept: too old, or
too many newer entries exist. Retried, delayed and dead entries carry their own bodies, so they need the stream no more.
"""

import math
from dataclasses import dataclass
from typing import Literal

from eventlib.errors import InvalidDeclaration

Concern = Literal["none", "soon", "losing"]


@dataclass(frozen=True, slots=True)
class Retention:
    """What a stream keeps.

    History is the entries that every group is done with. They are kept for `keep_s` seconds, and only among the newest
    `keep_entries` (None: any number). The defaults are seven days and 100,000. `math.inf` and None keep them for ever,
    and 0.0 keeps none.

    Entries that a group has yet to handle are kept longer, until that group is dead. A group is dead when it had
    something to do and did nothing for `dead_after_s` seconds (`math.inf`: never). Only time in which some consumer of
    the stream runs is counted. With `keep_unread=False`, the two limits also hold for what a group has not read.
    """

    keep_s: float = 7 * 86_400.0
    keep_entries: int | None = 100_000
    keep_unread: bool = True
    dead_after_s: float = 7 * 86_400.0

    def __post_init__(self) -> None:
        entries = self.keep_entries
        if not isinstance(entries, int | None):
            raise InvalidDeclaration("retention", f"keep_entries={entries!r}; it must be a whole number, or None")
        if not (self.keep_s >= 0.0 and self.dead_after_s > 0.0 and (entries is None or entries >= 0)):
            raise InvalidDeclaration("retention", "needs keep_s >= 0, keep_entries >= 0 or None, and dead_after_s > 0")

    def loss_in_s(self, absent_s: float, oldest_age_s: float | None, unread: int) -> float | None:
        """Seconds until a group loses an entry that it has not read, if nothing changes. None: it loses nothing.

        `absent_s` is how long the group has done nothing. `oldest_age_s` is the age of the oldest entry in the stream
        that it is not done with. `unread` is the number of such entries.
        """
        if oldest_age_s is None:
            return None
        crowded = self.keep_entries is not None and unread >= 0.9 * self.keep_entries
        loss_in_s = 0.0 if crowded else max(0.0, self.keep_s - oldest_age_s)
        if self.keep_unread:
            if absent_s == 0.0:
                return None
            loss_in_s = max(loss_in_s, self.dead_after_s - absent_s)
        return loss_in_s if loss_in_s < math.inf else None

    def concern(self, loss_in_s: float | None) -> Concern:
        """How urgent a loss in `loss_in_s` seconds is.

        `soon` means that at most half of `dead_after_s` is left, or a tenth of `keep_s` without `keep_unread`.
        """
        if loss_in_s is None:
            return "none"
        if loss_in_s == 0.0:
            return "losing"
        return "soon" if loss_in_s <= (self.dead_after_s / 2.0 if self.keep_unread else self.keep_s / 10.0) else "none"


@dataclass(frozen=True, slots=True)
class GroupHealth:
    """How one group of a stream stands, also if another program or library created it.

    `exists` is false for a group that existed before and is missing now. Its place is kept until it is dead.
    For `absent_s` seconds the group has had something to do and has done nothing. `unread` is the number of entries in
    the stream that it is not done with. The oldest of them is `oldest_age_s` seconds old. In `loss_in_s` seconds the
    group begins to lose them (None: it loses nothing). `dropped` counts the entries that it has lost unread.
    """

    group: str
    exists: bool
    live: bool
    absent_s: float
    unread: int
    oldest_age_s: float | None
    loss_in_s: float | None
    concern: Concern
    dropped: int

    @property
    def at_risk(self) -> int:
        """How many entries the group will lose if it does not read them in time."""
        return self.unread if self.loss_in_s is not None else 0


@dataclass(frozen=True, slots=True)
class StreamHealth:
    """A stream, what it keeps, and how its groups stand."""

    stream: str
    entries: int
    retention: Retention
    groups: tuple[GroupHealth, ...]
