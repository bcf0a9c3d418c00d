"""What now? Pure decisions: no clock, no I/O, every random number from a generator that the caller passes in.

Both worlds call these functions: the delivery loop with what really happened, the simulator with what it drew.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from eventlib.errors import DataError, Reject, RetryAfter, Snooze, UsageError

DeadReason = Literal["rejected", "exhausted", "undecodable", "unsupported_version", "usage", "poison"]


class Uniform(Protocol):
    """Anything with `random() -> float in [0, 1)`: `random.Random` or a NumPy generator."""

    def random(self) -> float: ...


class Retry(BaseModel):
    """How often and how soon a failing event is tried again.

    `attempts` counts the first one. The wait before attempt n+1 is
    `min(wait_s_max, wait_s * factor ** (n - 1))`, then jittered: `full` draws from [0, wait], `equal` from
    [wait / 2, wait], `none` keeps it. Source: Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    attempts: int = Field(default=5, ge=1)
    wait_s: float = Field(default=0.1, ge=0.0)
    wait_s_max: float = Field(default=30.0, ge=0.0)
    factor: float = Field(default=2.0, ge=1.0)
    jitter: Literal["full", "equal", "none"] = "full"

    def delay_s(self, attempt: int, rng: Uniform) -> float:
        """Seconds to wait after attempt number `attempt` (1-based) failed."""
        try:
            wait_s = min(self.wait_s_max, self.wait_s * self.factor ** (attempt - 1))
        except OverflowError:  # far past any cap
            wait_s = self.wait_s_max if self.wait_s else 0.0
        if self.jitter == "full":
            return wait_s * rng.random()
        if self.jitter == "equal":
            return wait_s * (1.0 + rng.random()) / 2.0
        return wait_s


@dataclass(frozen=True, slots=True)
class Ack:
    """Handled: the group is done with it."""


@dataclass(frozen=True, slots=True)
class RetryIn:
    """Deliver again to this group after `delay_s`; `counts` says whether this attempt is used up."""

    delay_s: float
    counts: bool = True


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Give up and keep it in the group's dead-letter queue."""

    reason: DeadReason


Decision = Ack | RetryIn | DeadLetter
ACK = Ack()


def admit(retry: Retry, attempt: int) -> DeadLetter | None:
    """Before a handler runs: an entry that came back more often than the policy allows killed its consumers."""
    return DeadLetter("poison") if attempt > retry.attempts else None


def decide(retry: Retry, attempt: int, error: BaseException | None, rng: Uniform) -> Decision:
    """After attempt number `attempt` (1-based) ended with `error`, or well (None)."""
    match error:
        case None:
            return ACK
        case Reject():
            return DeadLetter("rejected")
        case Snooze():
            return RetryIn(error.delay_s, counts=False)
        case UsageError():
            return DeadLetter("usage")
        case DataError():
            return DeadLetter("undecodable")
    if attempt >= retry.attempts:
        return DeadLetter("exhausted")
    if isinstance(error, RetryAfter):
        return RetryIn(error.delay_s)
    return RetryIn(retry.delay_s(attempt, rng))


@dataclass(frozen=True, slots=True)
class Lease:
    """How long a consumer may be silent about an entry it holds before another one takes it over.

    A live consumer renews three times a lease, so two renewals may fail. A consumer offers to look for expired entries
    about twice a lease, jittered; the group looks at most that often. So takeover comes one to two leases after the
    last renewal.
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


def room(concurrency: int, prefetch: int, held: int) -> int:
    """How many entries a consumer that holds `held` may ask for."""
    return max(0, concurrency + prefetch - held)
