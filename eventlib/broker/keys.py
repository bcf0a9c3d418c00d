"""Every Redis key, and the names of the fields that the library adds to an entry.

One stream's keys share one hash tag, so that every script also runs on a cluster.
"""

from dataclasses import dataclass

from eventlib.events.schema import valid_name

ATTEMPTS = b"attempts"  # field of a retried entry: attempts used up so far
ORIGIN = b"origin"  # field of a retried entry or a dead letter: the entry's id in the event stream
RAW_PREFIX = b"raw."  # a dead letter keeps each published field under this prefix


@dataclass(frozen=True, slots=True)
class GroupKeys:
    """The keys of one group on one stream."""

    stream: str  # stream: the events, shared by all groups
    retry: str  # stream: entries whose wait is over, for this group alone
    delayed: str  # sorted set: entries that wait for their next attempt, by due time in ms
    dead_letters: str  # stream: the dead-letter queue
    edits: str  # hash: edited events of dead letters, by their ids in the dead-letter queue
    sweep: str  # hash: when the next sweep is due, its position, the group's durable cursor
    key_queue_heads: str  # hash: in an ordered group, the head of each per-key queue: the entry that is handled
    key_queues: str  # sorted set: entries that are parked behind the head of their per-key queue
    group: str


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

    def sagas(self, stream: str, status: str) -> str:
        """Sorted set: the sagas of one status, by the time in ms when they got it; the ended ones, when they go."""
        return f"{self.namespace}:{{{stream}}}:sagas:{status}"

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
            group=group,
        )
