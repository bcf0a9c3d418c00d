"""Every Redis key, and the names of the fields that the library adds to an entry.

One stream's keys share one hash tag, so that every script also runs on a cluster.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple

from eventlib.events.schema import valid_name

ATTEMPTS = b"attempts"  # field of a retried entry: attempts used up so far
ORIGIN = b"origin"  # field of a retried entry or a dead letter: the entry's id in the event stream
RAW_PREFIX = b"raw."  # a dead letter keeps each published field under this prefix
OWN = r"(?P<namespace>[^:]+):[{](?P<stream>.+)[}]:(?P<purpose>.+)"  # the form of all keys of eventlib


class GroupKeys(NamedTuple):
    """The keys of one group on one stream."""

    stream: str  # stream: the events, shared by all groups
    retry: str  # stream: entries whose wait is over, for this group alone
    delayed: str  # sorted set: entries that wait for their next attempt, by due time in ms
    dead_letters: str  # stream: the dead-letter queue
    edits: str  # hash: edited events of dead letters, by their ids in the dead-letter queue
    sweep: str  # hash: when the next sweep is due, its position, the group's durable cursor, whether it is paused
    key_queue_heads: str  # hash: in an ordered group, the head of each per-key queue: the entry that is handled
    key_queues: str  # sorted set: entries that are parked behind the head of their per-key queue
    pauses: str  # list: who paused the group and let it go on, the newest first
    group: str


class QueueKeys(NamedTuple):
    """The keys of one task queue, beside those of group `workers` on its stream. Times are the group's, in ms.

    The scripts take them in this order, after the group's retry stream, dead-letter queue and sweep hash.
    """

    due: str  # sorted set: ids of tasks that start later, by due time
    blocked: str  # sorted set by bytes: tasks that wait for a limit: limit, priority, start tag, number, id
    slots: str  # sorted set by bytes: limit, id of a task that runs
    starts: str  # sorted set by bytes: limit, time, id of a start that counts for a rate
    timers: str  # sorted set: limits of rate with blocked tasks, by the time when the next one may start
    records: str  # hash: by task id, all that is known of a task but for its event: JSON
    bodies: str  # hash: by task id, the event of a task that does not run
    results: str  # hash: by task id, what the task returned: JSON
    progress: str  # hash: by task id, how far the task is: JSON
    expiries: str  # sorted set: `task ID` and `key UNIQUE`, by the time when they are forgotten
    unique: str  # hash: by unique key, the id of the task that has it, and until when if it has it for a time
    cancelling: str  # set: ids of running tasks that are to end
    counters: str  # hash: whose turn it is, the last number, the virtual time of each priority
    rates: str  # hash: how many tasks were enqueued, started and ended, by five seconds
    bell: str  # stream: one entry that is new when a task has become ready
    cancels: str  # stream: ids of running tasks that are to end, so that workers hear of it at once
    finished: str  # stream: ids of tasks that have ended, for those who wait for their results
    waiting_critical: str  # sorted set by bytes: tenant, number, id of a task that may start
    waiting_high: str
    waiting_normal: str
    waiting_low: str
    tenants_critical: str  # sorted set: tenants, by the start tag of their next task
    tenants_high: str
    tenants_normal: str
    tenants_low: str
    woken_critical: str  # sorted set: ids of tasks that were blocked and may start, by start tag
    woken_high: str
    woken_normal: str
    woken_low: str


class ScheduleKeys(NamedTuple):
    """The keys of one schedule of a queue; the first two are those of all its schedules. Times are in ms.

    The scripts take them in this order, after the keys of the queue.
    """

    schedules: str  # sorted set: the names of all schedules, by their next slots (infinite if there is none)
    held_back: str  # hash: by the name of a schedule with slots that wait, the id of the task that they wait for
    schedule: str  # hash: what is kept of the schedule
    queued: str  # list: slots of the schedule that wait, oldest first
    history: str  # stream: what became of the schedule's slots


@dataclass(frozen=True, slots=True)
class Keys:
    """Key names under one namespace."""

    namespace: str

    def __post_init__(self) -> None:
        valid_name(self.namespace, "namespace")

    def stream(self, stream: str) -> str:
        return f"{self.namespace}:{{{stream}}}:events"

    def producer(self, stream: str, producer: str) -> str:
        return f"{self.namespace}:{{{stream}}}:producer:{producer}"

    def retention(self, stream: str) -> str:
        """Hash: what the stream keeps, when the next trim is due, how its groups stood at the last one."""
        return f"{self.namespace}:{{{stream}}}:retention"

    def probe(self, stream: str) -> str:
        """A stream that exists only while one script runs."""
        return f"{self.namespace}:{{{stream}}}:probe"

    def unique(self, stream: str, event_id: str) -> str:
        return f"{self.namespace}:{{{stream}}}:unique:{event_id}"

    def saga(self, stream: str, saga_id: str) -> str:
        """Hash: how one saga stands. It expires when the saga has ended."""
        return f"{self.namespace}:{{{stream}}}:saga:{saga_id}"

    def saga_history(self, stream: str, saga_id: str) -> str:
        """List: what happened to one saga, oldest first. It expires with the saga."""
        return f"{self.namespace}:{{{stream}}}:saga_history:{saga_id}"

    def saga_notices(self, stream: str) -> str:
        """Stream: ids of sagas that have ended or were parked, for those who wait for them."""
        return f"{self.namespace}:{{{stream}}}:saga_notices"

    def sagas(self, stream: str, status: str) -> str:
        """Sorted set: the sagas of one status, by the time in ms when they got it; the ended ones, when they go."""
        return f"{self.namespace}:{{{stream}}}:sagas:{status}"

    def schedule(self, stream: str, schedule: str) -> ScheduleKeys:
        """The keys of a schedule of the task queue that has this stream."""
        prefix = f"{self.namespace}:{{{stream}}}:schedules"
        return ScheduleKeys(
            schedules=prefix,
            held_back=f"{prefix}:held_back",
            schedule=f"{prefix}:schedule:{schedule}",
            queued=f"{prefix}:queued:{schedule}",
            history=f"{prefix}:history:{schedule}",
        )

    def group(self, stream: str, group: str) -> GroupKeys:
        prefix = f"{self.namespace}:{{{stream}}}:group:{group}"
        return GroupKeys(
            stream=self.stream(stream),
            retry=f"{prefix}:retry",
            delayed=f"{prefix}:delayed",
            dead_letters=f"{prefix}:dlq",
            edits=f"{prefix}:edits",
            sweep=f"{prefix}:sweep",
            key_queue_heads=f"{prefix}:heads",
            key_queues=f"{prefix}:lanes",
            pauses=f"{prefix}:pauses",
            group=group,
        )

    def queue(self, stream: str) -> QueueKeys:
        """The keys of the task queue that has this stream."""
        prefix = f"{self.namespace}:{{{stream}}}:queue"
        return QueueKeys(*(f"{prefix}:{name}" for name in QueueKeys._fields))


def below(namespace: str, stream: str, pattern: str) -> str:
    """A pattern of keys of one stream."""
    return f"{namespace}:{{{stream}}}:{pattern}"


class OwnKey(NamedTuple):
    """A key of eventlib: its namespace, its stream, and what it is for."""

    namespace: str
    stream: str
    purpose: str

    @property
    def events(self) -> str:
        """The key of the stream itself."""
        return Keys(self.namespace).stream(self.stream)

    @property
    def stream_name(self) -> str:
        """The stream's name, with the namespace unless it is the usual one."""
        return self.stream if self.namespace == "ev" else f"{self.namespace}:{self.stream}"

    def group_of(self, purpose: str) -> str | None:
        """The group that has this key for a purpose: `dlq` or `retry`. None: the key is for something else."""
        found = re.fullmatch(f"group:(.+):{purpose}", self.purpose)
        return None if found is None else found[1]


def own_key(key: str) -> OwnKey | None:
    """What a key says, if it has the form of eventlib's own."""
    found = re.fullmatch(OWN, key)
    return None if found is None else OwnKey(found["namespace"], found["stream"], found["purpose"])
