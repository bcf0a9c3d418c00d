"""Decides what happens next to an event. Pure functions: no clock, no I/O; callers pass in a random generator.

Both worlds call them: the consumer with what really happened, the simulator with what it drew.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from eventlib.errors import BusClosed, DataError, UsageError
from eventlib.signals import Reject, RetryAfter, Snooze

DeadReason = Literal["rejected", "exhausted", "undecodable", "unsupported_version", "unknown_task", "usage", "poison"]


T = TypeVar("T")


class Uniform(Protocol):
    """Anything with `random() -> float in [0, 1)`: `random.Random` or a NumPy generator."""

    def random(self) -> float: ...


class Retry(BaseModel):
    """How often and how soon a failing event is tried again.

    `attempts` includes the first attempt. The first `immediate` retries come at once. After those, the wait before the
    n-th retry is `min(wait_s_max, wait_s * factor ** (n - 1))` seconds, then jittered: `full` draws from [0, wait],
    `equal` from [wait / 2, wait], `none` keeps it.

    Source: Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    attempts: int = Field(default=5, ge=1)
    wait_s: float = Field(default=0.1, ge=0.0)
    wait_s_max: float = Field(default=30.0, ge=0.0)
    factor: float = Field(default=2.0, ge=1.0)
    jitter: Literal["full", "equal", "none"] = "full"
    immediate: int = Field(default=0, ge=0)

    def delay_s(self, attempt: int, rng: Uniform) -> float:
        """Seconds to wait after attempt number `attempt` (1-based) failed."""
        if attempt <= self.immediate:
            return 0.0
        try:
            wait_s = min(self.wait_s_max, self.wait_s * self.factor ** (attempt - self.immediate - 1))
        except OverflowError:  # far past any cap
            wait_s = self.wait_s_max if self.wait_s else 0.0
        if self.jitter == "full":
            return wait_s * rng.random()
        if self.jitter == "equal":
            return wait_s * (1.0 + rng.random()) / 2.0
        return wait_s


# The waits between tries while the server does not answer. Jittered, so that programs do not all try at one moment.
RECONNECT = Retry(wait_s=0.05, wait_s_max=0.5, jitter="equal")
# For the undo of a saga's step: nothing else can undo it.
UNDO_RETRY = Retry(attempts=20, wait_s=0.5, wait_s_max=60.0, jitter="equal")


@dataclass(frozen=True, slots=True)
class Ack:
    """Handled: the group is done with it."""


@dataclass(frozen=True, slots=True)
class RetryIn:
    """Deliver again to this group after `delay_s` seconds. `counts` says whether this attempt is used up."""

    delay_s: float
    counts: bool = True


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Stop trying and move the entry to the group's dead-letter queue."""

    reason: DeadReason


Decision = Ack | RetryIn | GiveUp
ACK = Ack()


class RetryBudget(BaseModel):
    """How many retries one consumer may run, however many events fail. It protects a failing service from retries.

    Each handled event earns `ratio` of a retry, and each second earns `per_s` retries. At most `burst` retries are
    saved up. If none is left, a retry waits about `wait_s` seconds and asks again. That uses up no attempt. First
    attempts are never held back.

    Source: Brooker, "Fixing retries with token buckets and circuit breakers", 2022.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    ratio: float = Field(default=0.2, ge=0.0)
    per_s: float = Field(default=1.0, ge=0.0)
    burst: float = Field(default=10.0, ge=1.0)
    wait_s: float = Field(default=1.0, gt=0.0)


class TokenBucket:
    """What one consumer has left of its retry budget. Times are seconds of any monotonic clock."""

    __slots__ = ("_at_s", "_budget", "_left")

    def __init__(self, budget: RetryBudget, now_s: float) -> None:
        self._budget = budget
        self._left = budget.burst
        self._at_s = now_s

    def earn(self, events: int = 1) -> None:
        """Add what `events` handled events earn."""
        self._left = min(self._budget.burst, self._left + self._budget.ratio * events)

    def spend(self, now_s: float, rng: Uniform) -> RetryIn | None:
        """Take a token for a retry that runs now. If none is left, return how long to wait: `wait_s` +-50 %."""
        earned = max(0.0, now_s - self._at_s) * self._budget.per_s
        self._left = min(self._budget.burst, self._left + earned)
        self._at_s = now_s
        if self._left < 1.0:
            return RetryIn(self._budget.wait_s * (0.5 + rng.random()), counts=False)
        self._left -= 1.0
        return None


def admit(
    retry: Retry, bucket: TokenBucket | None, attempt: int, used: int, now_s: float, rng: Uniform
) -> RetryIn | GiveUp | None:
    """Decide whether attempt number `attempt` (1-based) may run now: None if it may, else what to do instead.

    An entry that was delivered more often than the policy allows is poison: its consumers ended each time. A retry, an
    entry with `used` attempts used up before, takes a token from the retry budget's `bucket`, if there is one.
    """
    if attempt > retry.attempts:
        return GiveUp("poison")
    return bucket.spend(now_s, rng) if bucket is not None and used else None


def for_newer_program(age_s: float, wait_s: float, rng: Uniform) -> RetryIn | GiveUp:
    """Decide about an event of a newer version than this program reads, appended `age_s` seconds ago.

    While a new version of a service is rolled out, newer consumers of the group can read it. So it waits for one, which
    uses up no attempt: for about a tenth of its age each time, 0.2 s to 30 s. Then it comes at most so much later than
    it could, and old consumers are not kept busy. After `wait_s` seconds it is given up.
    """
    if age_s >= wait_s:
        return GiveUp("unsupported_version")
    return RetryIn(min(30.0, max(0.2, age_s / 10.0)) * (0.5 + rng.random()), counts=False)


def is_suspect(attempt: int, deliveries: int, attempts: int) -> bool:
    """Whether an entry may be what ended its consumers. A suspect is taken over alone, one at a time by a consumer.

    `deliveries` counts those from the stream that holds it, this one included, so a second one was taken over. It is a
    suspect when it was taken over twice, or when attempt number `attempt` is the last that is allowed. Otherwise, what
    was held beside the culprit would run out of attempts together with it.
    """
    return deliveries > 2 or (deliveries > 1 and attempt >= attempts)


def decide(retry: Retry, attempt: int, error: BaseException | None, rng: Uniform) -> Decision:
    """Decide what follows attempt number `attempt` (1-based). It ended with `error`, or succeeded (None).

    Of an exception group, its `cause_of` counts.
    """
    error = None if error is None else cause_of(error)
    match error:
        case None:
            return ACK
        case Reject():
            return GiveUp("rejected")
        case Snooze():
            return RetryIn(error.delay_s, counts=False)
        case UsageError() if not isinstance(error, BusClosed):  # BusClosed: the program ends, it is not wrong
            return GiveUp("usage")
        case DataError():
            return GiveUp("undecodable")
    if attempt >= retry.attempts:
        return GiveUp("exhausted")
    if isinstance(error, RetryAfter):
        return RetryIn(error.delay_s)
    return RetryIn(retry.delay_s(attempt, rng))


def cause_of(error: BaseException) -> BaseException:
    """The error that decides what follows. In an exception group, it is the one that leaves the fewest choices.

    A rejection comes first, then errors that no retry can mend, then `RetryAfter` with the longest delay, then any
    other failure, then `Snooze` with the longest delay. Among equals, the first one counts.
    """
    if not isinstance(error, BaseExceptionGroup):
        return error
    leaves, rest = list[BaseException](), list[BaseException]([error])
    while rest:  # a loop, because groups may be nested deeper than Python recurses
        each = rest.pop()
        if isinstance(each, BaseExceptionGroup):
            rest += reversed(each.exceptions)
        else:
            leaves.append(each)
    return min(leaves, key=_precedence)


def _precedence(error: BaseException) -> tuple[int, float]:
    if isinstance(error, Reject):
        return 0, 0.0
    if isinstance(error, UsageError | DataError) and not isinstance(error, BusClosed):
        return 1, 0.0
    if isinstance(error, RetryAfter):
        return 2, -error.delay_s
    return (4, -error.delay_s) if isinstance(error, Snooze) else (3, 0.0)


@dataclass(frozen=True, slots=True)
class Lease:
    """How long a consumer may hold an entry without renewing it, before another consumer takes it over.

    A live consumer renews three times per lease, so two renewals may fail. About twice per lease, jittered, a consumer
    offers to look for expired entries; the group looks at most twice per lease. So an entry is taken over one to two
    leases after its last renewal.
    """

    duration_s: float

    @property
    def renew_every_s(self) -> float:
        return self.duration_s / 3.0

    @property
    def sweep_every_s(self) -> float:
        return self.duration_s / 2.0

    def sweep_wait_s(self, rng: Uniform) -> float:
        """Seconds until a consumer next offers to sweep, within +-20 % of `sweep_every_s`."""
        return self.sweep_every_s * (0.8 + 0.4 * rng.random())


def batch_wait_s(waiting: int, size: int, wait_s: float, oldest_s: float, now_s: float) -> float:
    """How much longer a batch of up to `size` events waits to fill, in seconds; 0.0 where it begins now.

    `waiting` events are there, the oldest since `oldest_s`. That one waits for `wait_s` at most. What is less than a
    nanosecond is now, because a timer may be early by its rounding.
    """
    left_s = oldest_s + wait_s - now_s
    return 0.0 if waiting >= size or left_s < 1e-9 else left_s


def take_batch(waiting: deque[T], size: int, is_suspect: Callable[[T], bool]) -> list[T]:
    """Take up to `size` of those that wait, oldest first. A suspect is a batch of its own: see `is_suspect`."""
    taken = [waiting.popleft()]
    while waiting and len(taken) < size and not (is_suspect(taken[0]) or is_suspect(waiting[0])):
        taken.append(waiting.popleft())
    return taken


def capacity_left(concurrency: int, prefetch: int, held: int) -> int:
    """How many more entries a consumer may ask for. It holds `held` and handles `concurrency` at once."""
    return max(0, concurrency + prefetch - held)
