"""What travels between the rooms of the library: entries, numbered batches, and how streams and groups stand."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from eventlib.retention import Retention

EVENT = b"event"  # field of an entry: the CloudEvents envelope

Place = tuple[bool, str]  # whether in the retry stream, and the id there


class Entry(NamedTuple):
    """One delivery as the server handed it out."""

    retried: bool  # read from the group's retry stream
    id: str
    origin: str  # its id in the event stream
    event: bytes | None  # the envelope; None where the entry has no such field
    attempts: int = 0  # used up before this delivery came from the stream it was read from
    deliveries: int = 1  # from that stream, this one included

    @property
    def place(self) -> Place:
        return self.retried, self.id


class Unique(NamedTuple):
    """Body number `place` of a batch, from 0, is appended only if no body of this id was for `for_s` seconds."""

    place: int
    id: str
    for_s: float


class NumberedBatch(NamedTuple):
    """Bodies for one stream, numbered from `first`."""

    stream: str
    first: int
    bodies: Sequence[bytes]
    uniques: Sequence[Unique] = ()


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a group has still to do on one stream, in entries, seen at one moment.

    Where the server does not know how many wait, as after entries were deleted by hand, they are counted step by step:
    they are of several moments then. Redis 7.0 may tell more than wait, past 4,000, after unread ones were trimmed.
    `oldest_age_s` is the age of the oldest entry of `total`, since it was published (None: there is none); of retrying
    and of delayed ones, two hundred each are looked at. Two backlogs are equal whatever their age.
    """

    waiting: int  # never delivered
    pending: int  # delivered, not acknowledged
    retrying: int  # their wait is over, delivered again or about to be
    delayed: int  # waiting for their next attempt
    dead: int  # in the dead-letter queue; not part of `total`
    parked: int = 0  # in an ordered group: behind an entry of the same key that is not settled
    oldest_age_s: float | None = field(default=None, compare=False)

    @property
    def total(self) -> int:
        return self.waiting + self.pending + self.retrying + self.delayed + self.parked


@dataclass(frozen=True, slots=True)
class TrimmedGroup:
    """How one group stood when its stream was trimmed. `oldest_age_s`: of the entries it is not done with."""

    name: str
    exists: bool
    live: bool
    absent_s: float
    oldest_age_s: float | None
    dropped_now: int
    dropped: int


@dataclass(frozen=True, slots=True)
class Trimmed:
    """One step of trimming. `dropped` counts entries, of which some group may have read none."""

    more: bool
    dropped: int
    entries: int
    retention: Retention
    groups: tuple[TrimmedGroup, ...]


@dataclass(frozen=True, slots=True)
class DeadLetterQueueState:
    """How a dead-letter queue stands; `first` and `last` are ids, empty where it is."""

    now_ms: int  # by the server's clock
    length: int
    first: str
    last: str
    groups: Sequence[str]  # of the event stream


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """Which server answered. Results differ between products and versions, so every report names them."""

    product: str
    version: str

    def __str__(self) -> str:
        return f"{self.product} {self.version}"
