"""Every Redis key and field name, and the scripts.

One stream's keys share one hash tag, so that every script also runs on a cluster.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from eventlib.events.schema import valid_name

ATTEMPTS = b"attempts"  # field of a retried entry: attempts used up so far
ORIGIN = b"origin"  # field of a retried or dead entry: its id in the event stream
RAW_PREFIX = b"raw."  # a dead entry keeps each original field under this prefix


@dataclass(frozen=True, slots=True)
class GroupKeys:
    """The keys of one group on one stream."""

    stream: str  # stream: the events, shared by all groups
    retry: str  # stream: entries whose wait is over, for this group alone
    delayed: str  # sorted set: entries that wait for their next attempt, by due time in ms
    dlq: str  # stream: the dead-letter queue
    edits: str  # hash: edited events of dead letters, by their ids in the dead-letter queue
    sweep: str  # hash: when the next sweep is due, its position, the group's durable cursor
    key_queue_heads: str  # hash: in an ordered group, the entry of each key that is being handled
    key_queues: str  # sorted set: entries parked behind the head of their key
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
        """A key that exists within one script only."""
        return f"{self.namespace}:{{{stream}}}:probe"

    def unique(self, stream: str, event_id: str) -> str:
        return f"{self.namespace}:{{{stream}}}:unique:{event_id}"

    def group(self, stream: str, group: str) -> GroupKeys:
        prefix = f"{self.namespace}:{{{stream}}}:group:{group}"
        return GroupKeys(
            stream=self.stream(stream),
            retry=f"{prefix}:retry",
            delayed=f"{prefix}:delayed",
            dlq=f"{prefix}:dlq",
            edits=f"{prefix}:edits",
            sweep=f"{prefix}:sweep",
            key_queue_heads=f"{prefix}:heads",
            key_queues=f"{prefix}:lanes",
            group=group,
        )


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script and the SHA-1 that Redis knows it by."""

    name: str
    text: str
    sha: str


def _load(name: str, *, after: Sequence[str] = ()) -> Script:
    """The script, after the functions that it shares with others: Redis lets no script call another."""
    files = resources.files("eventlib.broker.scripts")
    text = "".join(files.joinpath(f"{part}.lua").read_text(encoding="utf-8") for part in (*after, name))
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


PUBLISH = _load("publish")
_MOVES = ("fields", "key_queues")  # what a script that moves or settles entries begins with
ACK = _load("ack", after=_MOVES)
RETRY = _load("retry", after=_MOVES)
BURY = _load("bury", after=_MOVES)
PROMOTE = _load("promote", after=_MOVES)
RENEW = _load("renew")
SWEEP = _load("sweep")
LEAVE = _load("leave", after=_MOVES)
BACKLOG = _load("backlog")
READ_ORDERED = _load("read_ordered", after=_MOVES)
FREE_KEY_QUEUES = _load("free_key_queues", after=_MOVES)
DLQ = _load("dlq")
LETTERS = _load("letters")
EDIT = _load("edit")
REPLAY = _load("replay", after=["fields"])
PURGE = _load("purge")
JOIN = _load("join")
COUNT = _load("count")
PROBE = _load("probe")
TRIM = _load("trim")
