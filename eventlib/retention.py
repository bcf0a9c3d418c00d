"""What a stream keeps, for how long and for whom; and what is seen of it. Pure: no clock, no I/O.

An entry leaves its stream when every live group is done with it and it is older, or further back, than the history that
is kept. Retried, delayed and dead entries carry their own bodies: they need the stream no longer.
"""

import math
from dataclasses import dataclass
from typing import Literal

from eventlib.errors import InvalidDeclaration

Concern = Literal["none", "soon", "losing"]


@dataclass(frozen=True, slots=True)
class Retention:
    """What a stream keeps.

    History, entries that every group is done with, is kept for `keep_s` seconds and only among the newest
    `keep_entries` (None: any number): seven days and 100,000 by default, `math.inf` and None for ever, 0.0 not at all.
    What a group has yet to handle is kept beyond that, until the group is dead: for `dead_after_s` seconds, counted
    while some consumer of the stream runs, it had something to do and did nothing (`math.inf`: never). With
    `keep_unread=False` the two limits hold whoever has not read.
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
        """Seconds until a group loses something it has not read, as things stand; None: it will not.

        `absent_s` is how long the group has done nothing, `oldest_age_s` the age of the oldest entry in the stream
        that it is not done with, `unread` how many there are.
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
        """How bad that is: `soon` when half of `dead_after_s`, or a tenth of `keep_s`, is left."""
        if loss_in_s is None:
            return "none"
        if loss_in_s == 0.0:
            return "losing"
        return "soon" if loss_in_s <= (self.dead_after_s / 2.0 if self.keep_unread else self.keep_s / 10.0) else "none"


@dataclass(frozen=True, slots=True)
class GroupHealth:
    """A group as its stream sees it, whichever program or library made it.

    `exists` is false for a group that was there and is not: its place is kept for it until it is dead. `absent_s` says
    for how long it has had something to do and has done nothing. With `unread` entries of the stream it is not done,
    the oldest of them `oldest_age_s` old; in `loss_in_s` seconds it begins to lose them (None: it will not). `dropped`
    counts what it has lost unread so far.
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
        """How many entries the group is going to lose if nobody reads them."""
        return self.unread if self.loss_in_s is not None else 0


@dataclass(frozen=True, slots=True)
class StreamHealth:
    """A stream, what it keeps, and how its groups stand."""

    stream: str
    entries: int
    retention: Retention
    groups: tuple[GroupHealth, ...]
