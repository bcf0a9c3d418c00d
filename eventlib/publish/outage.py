"""The outage policies: what a publish does while Redis does not answer. It waits, fails, or goes to a file.

With each of them batches are numbered and the server appends a number once, so every repeat is harmless.
"""

from dataclasses import dataclass
from pathlib import Path

from eventlib.errors import InvalidDeclaration

_WAIT_S_MAX = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class Wait:
    """During an outage, a publish is repeated for `patience_s` seconds since its call. Then it raises.

    A try that is under way then is not cut short. It lasts for as long as a server may be silent, about five seconds.
    """

    patience_s: float = 30.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.patience_s <= _WAIT_S_MAX:
            raise InvalidDeclaration("Wait", f"patience_s={self.patience_s}; it must be seconds, at most a week")


@dataclass(frozen=True, slots=True)
class Fail:
    """During an outage, a publish raises BrokerUnavailable at once. What was sent may have been appended, once."""


@dataclass(frozen=True, slots=True)
class Spool:
    """During an outage, events go to a file, and a publish returns once they are on disk (fdatasync).

    When the server answers again, a task replays the file in order. Until the server has all of it, later events go to
    the file too, so each stream keeps its order. A stream that the server keeps refusing holds up what is behind it.

    What is in the file when the bus closes or its process dies stays there. The next `connect` with this path and
    namespace replays it. Nothing is lost, whenever the process is killed. Nothing is doubled as long as a replay comes
    within 30 days of the event's first try: for so long the server remembers how far it got.

    One path serves one bus at a time, on a local file system. A spool that is full raises SpoolFull.
    """

    path: str | Path
    size_bytes_max: int = 256 * 2**20

    def __post_init__(self) -> None:
        if self.size_bytes_max < 1:
            raise InvalidDeclaration("Spool", f"size_bytes_max={self.size_bytes_max}; it must be above zero")


OutagePolicy = Wait | Fail | Spool


def patience_s(policy: OutagePolicy) -> float:
    """For how long a call that cannot go to a spool waits for a server that does not answer."""
    match policy:
        case Wait(patience_s):
            return patience_s
        case Fail():
            return 0.0
        case Spool():
            return Wait().patience_s
