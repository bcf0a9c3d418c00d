"""When a consumer stops calling what fails, and when it tries again. Pure: no clock, no I/O; callers pass in the time.

Both worlds call it: the consumer with what really happened, the simulator with what it drew.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from eventlib.errors import BusClosed, DataError, UsageError
from eventlib.policy import cause_of
from eventlib.signals import Reject, Snooze

State = Literal["closed", "open", "half-open"]

_SLOTS = 10  # a window is counted in so many slots, so it is exact to a tenth


class CircuitBreaker(BaseModel):
    """When one consumer pauses, because what its handlers call is out of order.

    It opens when at least `failures` of the attempts that ended within the last `window_s` seconds have failed, and
    these are at least `failure_share` of them. While it is open, no attempt begins and nothing is read, so no attempt
    is used up. After `open_s` seconds it is half-open: up to `probes` attempts may run. When that many have succeeded
    it closes; when one fails it opens again.

    Source: Nygard, "Release It!", 2nd ed., 2018, "Circuit Breaker"; the count and the share are those of resilience4j.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    failures: int = Field(default=10, ge=1, le=1_000_000)
    failure_share: float = Field(default=0.5, gt=0.0, le=1.0)
    window_s: float = Field(default=10.0, ge=0.01, le=86_400.0)
    open_s: float = Field(default=5.0, ge=0.01, le=86_400.0)
    probes: int = Field(default=1, ge=1, le=1000)


class Circuit:
    """One consumer's circuit. Times are seconds of any monotonic clock."""

    __slots__ = ("_generation", "_opened_at", "_passed", "_probing", "_rule", "_slot", "_slots", "_state")

    def __init__(self, rule: CircuitBreaker) -> None:
        self._rule = rule
        self._state: State = "closed"
        self._generation = 0  # how often it has changed: the outcome of an attempt that began before does not count
        self._opened_at = 0.0
        self._probing = 0  # probes that run
        self._passed = 0  # probes that have succeeded
        self._slot = 0
        self._slots = [[0, 0] for _ in range(_SLOTS)]  # how many attempts ended, and how many of these failed

    def state(self, now_s: float) -> State:
        """Whether attempts begin (closed), or none (open), or a few to try (half-open)."""
        if self._state == "open" and now_s >= self.half_open_at_s:
            self._change("half-open")
        return self._state

    @property
    def half_open_at_s(self) -> float:
        """When a circuit that is open lets probes through."""
        return self._opened_at + self._rule.open_s

    def room(self, now_s: float, capacity: int, unhandled: int) -> int:
        """How many entries a consumer may ask for that has `capacity`, and `unhandled` entries in hand."""
        state = self.state(now_s)
        if state == "closed":
            return capacity
        return 0 if state == "open" else min(capacity, max(0, self._rule.probes - self._passed - unhandled))

    def may_begin(self, now_s: float) -> bool:
        """Whether an attempt may begin now."""
        state = self.state(now_s)
        return state == "closed" or (state == "half-open" and self._probes_left > 0)

    def began(self) -> int:
        """An attempt begins. Returns what `ended` is to be called with."""
        if self._state == "half-open":
            self._probing += 1
        return self._generation

    def ended(self, began: int, now_s: float, *, succeeded: int = 0, failed: int = 0) -> State | None:
        """An attempt has ended, of so many events. Neither counts where the outcome says nothing of what was called.

        Returns the state that the circuit changes to; None if it stays as it is.
        """
        if began != self._generation:
            return None
        if self._state == "closed":
            return self._note(now_s, succeeded, failed)
        if self._state != "half-open":
            return None
        self._probing -= 1
        if failed and failed >= self._rule.failure_share * (succeeded + failed):
            return self._open(now_s)
        if succeeded:
            self._passed += 1
            if self._passed >= self._rule.probes:
                return self._change("closed")
        return None

    @property
    def _probes_left(self) -> int:
        return self._rule.probes - self._passed - self._probing

    def _note(self, now_s: float, succeeded: int, failed: int) -> State | None:
        slot = int(now_s / self._rule.window_s * _SLOTS)
        if slot != self._slot:
            for passed in range(max(self._slot + 1, slot - _SLOTS + 1), slot + 1):
                self._slots[passed % _SLOTS] = [0, 0]
            self._slot = slot
        counts = self._slots[slot % _SLOTS]
        counts[0] += succeeded + failed
        counts[1] += failed
        if not failed:
            return None
        ended, bad = (sum(each) for each in zip(*self._slots, strict=True))
        if bad >= self._rule.failures and bad >= self._rule.failure_share * ended:
            return self._open(now_s)
        return None

    def _open(self, now_s: float) -> State:
        self._opened_at = now_s
        return self._change("open")

    def _change(self, state: State) -> State:
        self._state = state
        self._generation += 1
        self._probing = self._passed = 0
        self._slots = [[0, 0] for _ in range(_SLOTS)]
        return state


def speaks_of_dependency(error: BaseException) -> bool:
    """Whether a failed attempt says something of what its handler calls, and not only of its event or of the program.

    A rejection, an event that cannot be read, a wrong call of the library and a postponement (`Snooze`) do not.
    `RetryAfter` does: that is how a handler passes on that it was refused.
    """
    cause = cause_of(error)
    return not isinstance(cause, Reject | DataError | UsageError | Snooze | BusClosed)
