"""Whether a consumer hears the server: for how long an answer to a read has been due, not whether a process runs."""

import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ConsumerHealth:
    """One consumer of this program, on one stream.

    `read_age_s` and `renew_age_s` are the seconds since the server last answered a read, which comes about once a
    second even on a quiet stream, and a renewal of leases, which grows old while nothing is held (None: not yet).
    `silent_s` is for how long an answer to a read has been due, in seconds; 0 while it is `full`: then it does not
    ask, for its handlers have enough to do. `problem` is the last error, where nothing has been heard since.
    """

    stream: str
    group: str
    consumer: str
    running: bool
    full: bool
    read_age_s: float | None
    renew_age_s: float | None
    silent_s: float
    problem: str | None

    @property
    def connected(self) -> bool:
        """Whether the last thing heard was an answer."""
        return self.problem is None

    def hears(self, within_s: float = 10.0) -> bool:
        """Whether it runs and, if it asks at all, was answered within `within_s` seconds: for a liveness probe."""
        return self.running and self.silent_s <= within_s


class Liveness:
    """What a consumer notes of its talk with the server: two assignments a read."""

    def __init__(self) -> None:
        self._due_since: float | None = time.monotonic()  # since when a read's answer is due; None while it rests
        self._read_at: float | None = None
        self._renewed_at: float | None = None
        self._failed_at: float | None = None
        self._problem: str | None = None

    def hears(self) -> None:
        """The read was answered, with entries or without; the next one is due."""
        self._read_at = self._due_since = time.monotonic()

    def rests(self) -> None:
        """It does not ask for more, for there is no room."""
        self._due_since = None

    def resumes(self) -> None:
        """There is room again; repeats of a read after an error are the same read."""
        self._due_since = time.monotonic()

    def renews(self) -> None:
        """The server renewed leases."""
        self._renewed_at = time.monotonic()

    def fails(self, error: Exception) -> None:
        """The server did not answer, or refused."""
        self._failed_at = time.monotonic()
        self._problem = f"{type(error).__name__}: {error}"

    def look(self, stream: str, group: str, consumer: str, running: bool) -> ConsumerHealth:
        """How it stands now."""
        now = time.monotonic()
        answered_at = max(self._read_at or 0.0, self._renewed_at or 0.0)
        return ConsumerHealth(
            *(stream, group, consumer, running),
            full=self._due_since is None,
            read_age_s=None if self._read_at is None else now - self._read_at,
            renew_age_s=None if self._renewed_at is None else now - self._renewed_at,
            silent_s=0.0 if self._due_since is None else now - self._due_since,
            problem=self._problem if (self._failed_at or 0.0) > answered_at else None,
        )
