"""Records that pass between the parts of the library: entries, numbered batches, the state of streams and groups."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from eventlib.queueing import Priority
from eventlib.retention import Retention

EVENT = b"event"  # field of an entry: the CloudEvents envelope
_QUEUES = "tasks."  # begins the name of each queue's stream

Place = tuple[bool, str]  # whether in the retry stream, and the id there


class Entry(NamedTuple):
    """One delivery as the server handed it out."""

    retried: bool  # read from the group's retry stream
    id: str
    origin: str  # its id in the event stream
    event: bytes | None  # the envelope; None where the entry has no such field
    attempts: int = 0  # used up before the entry was added to the stream that it was read from
    deliveries: int = 1  # how often that stream has delivered it, this time included

    @property
    def place(self) -> Place:
        return self.retried, self.id


class ExpectedTime(NamedTuple):
    """What a group's time must have reached when a script begins. Server and network may let it run later."""

    ms: float
    late_ms: float


class Unique(NamedTuple):
    """Body number `place` (from 0) of a batch has to be unique.

    It is appended only if its id is not remembered. The id is then remembered for `for_s` seconds.
    """

    place: int
    id: str
    for_s: float


class NumberedBatch(NamedTuple):
    """Bodies for one stream, numbered from `first`."""

    stream: str
    first: int
    bodies: Sequence[bytes]
    uniques: Sequence[Unique] = ()


def queue_stream(queue: str) -> str:
    """The stream of a task queue. Its tasks are handed out and its dead letters kept there, by group `workers`."""
    return _QUEUES + queue


def is_queue_stream(stream: str) -> bool:
    """Whether a stream is that of a task queue. No event is published to it."""
    return stream.startswith(_QUEUES)


class EnqueuedTask(NamedTuple):
    """A task on its way into its queue."""

    id: str
    event: bytes
    record: bytes  # what its enqueuer says of it: JSON
    due: str  # '' for now, '+' and ms from now, '=' and ms since 1970 by the server's clock
    unique: str  # its unique key; '' if it has none
    unique_until: str  # `start`, `end`, or for how many ms it has the key


class UniqueKeyHolder(NamedTuple):
    """A task that was not enqueued, and the id of the task that has its unique key."""

    task: EnqueuedTask
    holder: str


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a group still has to do on one stream, in entries, seen at one moment.

    If the server does not know how many entries wait, for example after some were deleted by hand, they are counted in
    several steps, so not at one moment. Redis 7.0 may report too many waiting entries, if they are more than 4,000,
    after unread entries were trimmed. `oldest_age_s` is the time since the oldest entry of `total` was published
    (None: there is no entry). Only two hundred retrying and two hundred delayed entries are looked at for it. Two
    backlogs with the same counts are equal, whatever their ages.
    """

    waiting: int  # never delivered
    pending: int  # delivered, not acknowledged
    retrying: int  # their wait is over: delivered again, or about to be
    delayed: int  # waiting for their next attempt
    dead: int  # in the dead-letter queue; not part of `total`
    parked: int = 0  # in an ordered group: behind an entry of the same key that is not settled
    oldest_age_s: float | None = field(default=None, compare=False)

    @property
    def total(self) -> int:
        return self.waiting + self.pending + self.retrying + self.delayed + self.parked


PauseAct = Literal["pause", "resume"]


@dataclass(frozen=True, slots=True)
class PauseRecord:
    """One time that a group was paused, or let go on: Unix seconds, who did it, and why."""

    act: PauseAct
    at_s: float
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class GroupPause:
    """Whether a group is paused on a stream, and the last 100 times that it was paused and let go on, newest first."""

    stream: str
    group: str
    paused: bool
    records: tuple[PauseRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class QueueHealth:
    """How a task queue stands, in tasks, seen at one moment.

    `waiting` may start, by priority; `oldest_age_s` is the time since the oldest of them was enqueued (None: none
    waits; of more than a hundred tenants, some are not looked at). `delayed` wait for their time or their next attempt.
    `blocked` wait for a limit, by name in `blocked_by`; `slots` are the slots in use, by limit. Of more than a hundred
    limits, some are not named. Tasks blocked by `(suspects)` ran when several workers ended: each waits for a worker
    that runs no other such task. The rates are of the last minute. A worker is alive if it was heard of lately: within
    `lease_s` as the App sets it for the queue, 30 s by default. `paused`: an operator lets the queue rest.
    """

    waiting: Mapping[Priority, int]
    oldest_age_s: Mapping[Priority, float | None]
    running: int
    delayed: int
    blocked: int
    dead: int
    workers: int
    enqueued_per_s: float
    started_per_s: float
    ended_per_s: float
    slots: Mapping[str, int]
    blocked_by: Mapping[str, int]
    paused: bool


class TrimmedGroup(NamedTuple):
    """How one group stood at a trim. `oldest_age_s` is the age of the oldest entry that it is not done with."""

    name: str
    exists: bool
    live: bool
    absent_s: float
    oldest_age_s: float | None
    dropped_now: int
    dropped: int


class Trimmed(NamedTuple):
    """One step of trimming. `dropped` counts the dropped entries; some groups may not have read them."""

    more: bool
    dropped: int
    entries: int
    retention: Retention
    groups: tuple[TrimmedGroup, ...]


@dataclass(frozen=True, slots=True)
class SlotRecord:
    """What became of a slot of a schedule, or of `count` slots from `slot_s` to `last_slot_s`. Times are Unix seconds.

    A slot `ran` as the task `task_id`, `late_s` seconds after its time. Or it was `skipped`, for a reason: it was
    missed, it overlapped, the schedule was paused or orphaned, too many slots waited (`queue_full`), or another task
    had the task's unique key (`unique_key`). A task that was run `by_hand` belongs to no slot: `slot_s` is its time.
    """

    slot_s: float
    last_slot_s: float
    count: int
    outcome: Literal["ran", "skipped", "by_hand"]
    reason: str | None
    task_id: str | None
    late_s: float | None
    recorded_s: float  # when this was recorded, by the server's clock


class DeadLetterQueueState(NamedTuple):
    """The state of a dead-letter queue. `first` and `last` are ids; both are empty if the queue is."""

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

    @classmethod
    def of(cls, told: Mapping[str, str]) -> "ServerInfo":
        """From the fields of INFO. A Valkey tells the version of Redis too that it is like."""
        if valkey := told.get("valkey_version"):
            return cls("Valkey", valkey)
        return cls("Redis", told.get("redis_version", "unknown"))

    def __str__(self) -> str:
        return f"{self.product} {self.version}"
