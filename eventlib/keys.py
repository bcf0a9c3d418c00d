"""Every Redis key and field name, and the scripts.

One stream's keys share one hash tag, so that every script also runs on a cluster.
"""

import hashlib
from dataclasses import dataclass
from importlib import resources

from eventlib.schema import valid_name

EVENT = b"event"  # field of an entry: the CloudEvents envelope
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
    sweep: str  # hash: when the next sweep is due, its position, the group's durable cursor
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

    def unique(self, stream: str, event_id: str) -> str:
        return f"{self.namespace}:{{{stream}}}:unique:{event_id}"

    def group(self, stream: str, group: str) -> GroupKeys:
        prefix = f"{self.namespace}:{{{stream}}}:group:{group}"
        return GroupKeys(
            self.stream(stream), f"{prefix}:retry", f"{prefix}:delayed", f"{prefix}:dlq", f"{prefix}:sweep", group
        )


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script and the SHA-1 that Redis knows it by."""

    name: str
    text: str
    sha: str


def _load(name: str) -> Script:
    text = resources.files("eventlib.scripts").joinpath(f"{name}.lua").read_text(encoding="utf-8")
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


PUBLISH = _load("publish")
ACK = _load("ack")
RETRY = _load("retry")
BURY = _load("bury")
PROMOTE = _load("promote")
RENEW = _load("renew")
SWEEP = _load("sweep")
LEAVE = _load("leave")
BACKLOG = _load("backlog")
