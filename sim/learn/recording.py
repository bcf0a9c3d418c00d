"""What was seen of a group while it was watched. Plain data: how it is collected is the matter of `watch`.

All times are milliseconds of the server's clock. A look is one moment at which the group was looked at.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from eventlib.broker.replies import ConsumerState
from eventlib.broker.watching import Dead, EntryId, GroupState, Held, Look
from sim.declare.declared import Floats

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

LISTED_MAX = 1000  # entries of one reply
HOLE_FACTOR = 10.0  # looks that lie so many times further apart than usual have a hole between them
_CLOCK_STEP_MS = 1.5  # delivery times are whole milliseconds: what differs by more is another delivery, or a renewal


@dataclass(slots=True)
class Delivery:
    """One delivery of an entry to a consumer, as far as it was seen. Looks are numbered from 0."""

    id: EntryId
    consumer: str
    number: int  # 1: the first delivery of the entry
    retried: bool  # held in the stream of retries
    delivered_ms: float
    first_look: int
    last_look: int
    gone_look: int | None = None  # the first look at which it was not held any more
    delivered_again: bool = False  # it ended by another delivery of the same entry: it was not acknowledged
    renewed: bool = False  # its consumer reset its idle time, as a lease does


class Changes(NamedTuple):
    """What happened while the group was watched that a reader of the result has to know."""

    holes: list[tuple[float, float]]  # seconds since the start; the server did not answer
    problem: str  # why the server did not answer, the last time
    cut_off: int  # looks whose list of entries was not complete
    interrupted: bool


class Streams(NamedTuple):
    """Counts of the stream, of the stream of retries and of the dead letters. What was added only ever grows."""

    added: int
    length: int
    retries_added: int = 0
    dead_added: int = 0
    dead_length: int = 0


@dataclass(slots=True)
class Recording:
    """All that was seen. `looks` are in the order of time; arrivals are those since the first look."""

    stream: str
    group: str
    server: str
    library: str  # "eventlib", or "" for any other
    looks: list[tuple[float, GroupState]] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    arrivals: list[EntryId] = field(default_factory=list)
    listed_ms: list[float] = field(default_factory=list)  # when each of these ids was listed
    consumers_before: list[ConsumerState] = field(default_factory=list)
    consumers_after: list[ConsumerState] = field(default_factory=list)
    counted: list[tuple[int, Streams]] = field(default_factory=list)  # about once a second, after so many looks
    dead: list[Dead] = field(default_factory=list)  # dead letters that were added and still there at the end
    backlog: list[EntryId] = field(default_factory=list)  # waited at the start; listed if the server did not know
    backlog_cut_off: bool = False  # there were too many to be listed
    order_unknown: bool = False  # this user may not see whether the group is ordered by key
    delayed: list[int] = field(default_factory=list)  # entries put aside for a retry, looked at once a second
    not_listed: int = 0  # entries that were pending at the start and are too many to be listed
    changes: Changes = field(default_factory=lambda: Changes([], "", 0, False))
    commands: int = 0
    entries_listed: int = 0

    @property
    def at_ms(self) -> Floats:
        return np.array([at_ms for at_ms, _ in self.looks])

    @property
    def before(self) -> Streams:
        """The counts at the start."""
        return self.counted[0][1]

    @property
    def after(self) -> Streams:
        """The counts at the end."""
        return self.counted[-1][1]

    @property
    def watched_s(self) -> float:
        return (self.looks[-1][0] - self.looks[0][0]) / 1e3 if self.looks else 0.0


class Collector:
    """Turns looks into deliveries, one look after the other."""

    def __init__(self) -> None:
        self.looks: list[tuple[float, GroupState]] = []
        self.deliveries: list[Delivery] = []
        self.cut_off = 0
        self._open: dict[tuple[bool, EntryId], Delivery] = {}

    @property
    def oldest_open(self) -> EntryId | None:
        """The oldest entry that the last look saw in the stream itself."""
        return min((id_ for retried, id_ in self._open if not retried), default=None)

    def add(self, look: Look, *, complete: bool) -> None:
        """One more look. Where its list is not `complete`, entries behind its end are not known to be gone."""
        number = len(self.looks)
        self.looks.append((look.at_ms, look.group))
        self.cut_off += not complete
        still = dict.fromkeys(self._open)
        for retried, rows in ((False, look.held), (True, look.held_of_retries)):
            for row in rows:
                still.pop((retried, row.id), None)
                self._saw(row, retried, look.at_ms, number)
        end = look.held[-1].id if look.held and not complete else None
        for key in still:
            if end is None or key[0] or key[1] <= end:
                self._open.pop(key).gone_look = number

    def _saw(self, row: Held, retried: bool, at_ms: float, number: int) -> None:
        delivered_ms = float(int(at_ms) - row.idle_ms)
        known = self._open.get((retried, row.id))
        if known is not None and known.number == row.deliveries and known.consumer == row.consumer:
            known.last_look = number
            if delivered_ms > known.delivered_ms + _CLOCK_STEP_MS:
                known.renewed = True
            else:  # the clock was read just before the idle time: of two, the later one is right
                known.delivered_ms = max(known.delivered_ms, delivered_ms)
            return
        if known is not None:
            known.gone_look, known.delivered_again = number, True
        found = Delivery(row.id, row.consumer, row.deliveries, retried, delivered_ms, number, number)
        self._open[retried, row.id] = found
        self.deliveries.append(found)
