"""Whether a consumer hears the server: how long the answer to a read has been due, not whether a process runs."""

import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ConsumerHealth:
    """One consumer of this program, on one stream.

    `read_age_s` is the time in seconds since the server last answered a read. On a quiet stream it answers about once a
    second. `renew_age_s` is the time since it last renewed leases, which grows while nothing is held. Both are None
    before the first answer. `silent_s` is for how many seconds an answer to a read has been due. It is 0 while the
    consumer is `full`: its handlers have enough to do, so it does not ask. `full_s` is for how long it has been full.
    `leases_due_s` is for how many seconds an answer to a renewal of leases has been due. `problem` is the last error;
    None if the server has answered since. `in_hand` counts the entries that it holds. `leaving` is true from when it
    stops reading, to end. `circuit` is the state of its circuit breaker: closed, open or half-open; None without one.
    While it is open the consumer is `full`. `paused` is true while an operator lets its group rest (`Bus.pause`): it
    reads nothing then, and is neither full nor silent.
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
    full_s: float = 0.0
    leases_due_s: float = 0.0
    in_hand: int = 0
    leaving: bool = False
    circuit: str | None = None
    paused: bool = False

    @property
    def connected(self) -> bool:
        """Whether the server has answered since the last error."""
        return self.problem is None

    def hears(self, within_s: float = 10.0) -> bool:
        """Whether it runs and no answer to a read has been due for over `within_s` seconds: for a liveness probe."""
        return self.running and self.silent_s <= within_s


class Liveness:
    """Notes when the server answered a consumer. It takes two assignments for each read."""

    def __init__(self) -> None:
        self._due_since: float | None = time.monotonic()  # since when a read's answer is due; None while not reading
        self._read_at: float | None = None
        self._full_since: float | None = None
        self._renewed_at: float | None = None
        self._renewal_since: float | None = None  # since when the answer to a renewal is due
        self._failed_at: float | None = None
        self._problem: str | None = None

    def hears(self) -> None:
        """The read was answered, with entries or without. The next answer is due."""
        self._read_at = self._due_since = time.monotonic()

    def rests(self) -> None:
        """The consumer stops reading, because it has no capacity."""
        self._due_since = None
        self._full_since = time.monotonic()

    def resumes(self) -> None:
        """The consumer reads again. A read that is repeated after an error is the same read and is not noted here."""
        self._due_since = time.monotonic()
        self._full_since = None

    def goes_on(self) -> None:
        """The group is paused no more. What the pause took does not count as being full."""
        if self._full_since is not None:
            self._full_since = time.monotonic()

    def renewal_due(self) -> None:
        """Leases are to be renewed. One that is repeated after an error is the same renewal."""
        if self._renewal_since is None:
            self._renewal_since = time.monotonic()

    def renews(self) -> None:
        """The server renewed leases."""
        self._renewed_at = time.monotonic()
        self._renewal_since = None

    def holds_nothing(self) -> None:
        """There is nothing to renew any more."""
        self._renewal_since = None

    def fails(self, error: Exception) -> None:
        """The server did not answer, or refused."""
        self._failed_at = time.monotonic()
        self._problem = f"{type(error).__name__}: {error}"

    def look(
        self,
        identity: tuple[str, str, str],
        running: bool,
        *,
        leaving: bool = False,
        in_hand: int = 0,
        circuit: str | None = None,
        paused: bool = False,
    ) -> ConsumerHealth:
        """The consumer's health now."""
        now = time.monotonic()
        answered_at = max(self._read_at or 0.0, self._renewed_at or 0.0)
        return ConsumerHealth(
            *(*identity, running),
            full=self._due_since is None and not paused,
            read_age_s=None if self._read_at is None else now - self._read_at,
            renew_age_s=None if self._renewed_at is None else now - self._renewed_at,
            silent_s=_since(self._due_since, now),
            problem=self._problem if (self._failed_at or 0.0) > answered_at else None,
            full_s=0.0 if paused else _since(self._full_since, now),
            leases_due_s=_since(self._renewal_since, now),
            in_hand=in_hand,
            leaving=leaving,
            circuit=circuit,
            paused=paused,
        )


def _since(moment_s: float | None, now_s: float) -> float:
    return 0.0 if moment_s is None else now_s - moment_s
