"""What is declared of a group: how its consumers work, and which handler takes which event type."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from eventlib.arguments import is_count, is_number, is_seconds
from eventlib.circuit_breaker import CircuitBreaker
from eventlib.errors import InvalidDeclaration
from eventlib.events.schema import Event
from eventlib.policy import Lease, Retry, RetryBudget


@dataclass(frozen=True, slots=True)
class GroupSettings:
    """How one consumer of a group works, on each stream the group reads."""

    concurrency: int = 16
    prefetch: int = 0
    lease: Lease = field(default_factory=lambda: Lease(30.0))
    retry_budget: RetryBudget | None = None
    ordered_by: str | None = None
    newer_version_wait_s: float = 3600.0
    circuit_breaker: CircuitBreaker | None = None


def group_settings(
    where: str,
    concurrency: int,
    prefetch: int,
    lease_s: float,
    retry_budget: RetryBudget | None,
    ordered_by: str | None = None,
    newer_version_wait_s: float = 3600.0,
    circuit_breaker: CircuitBreaker | None = None,
) -> GroupSettings:
    """The settings, checked.

    Raises:
        InvalidDeclaration: one of them is out of its range; `where` says of what.
    """
    if not (is_count(concurrency, 1) and is_count(prefetch, 0) and is_seconds(lease_s, 1e6)):
        raise InvalidDeclaration(
            where, "needs concurrency >= 1 and prefetch >= 0, whole numbers up to 1,000,000, and 0 < lease_s <= 1e6"
        )
    if not isinstance(retry_budget, RetryBudget | None):
        raise InvalidDeclaration(where, f"retry_budget={retry_budget!r}; give a RetryBudget")
    if not (is_number(newer_version_wait_s) and 0.0 <= newer_version_wait_s <= 1e9):
        raise InvalidDeclaration(where, f"newer_version_wait_s={newer_version_wait_s!r}; give seconds, 0 for no wait")
    if not isinstance(circuit_breaker, CircuitBreaker | None):
        raise InvalidDeclaration(where, f"circuit_breaker={circuit_breaker!r}; give a CircuitBreaker")
    return GroupSettings(
        concurrency, prefetch, Lease(lease_s), retry_budget, ordered_by, newer_version_wait_s, circuit_breaker
    )


@dataclass(frozen=True, slots=True)
class Subscription:
    """One handler for one event type in one group. With a `batch` size, it takes up to that many events in one call.

    A batch that is not full waits for more until its oldest event has waited for `batch_wait_s`.
    """

    event_class: type[Event]
    group: str
    handler: Callable[..., Awaitable[None]]
    retry: Retry
    timeout_s: float | None
    batch: int | None = None
    batch_wait_s: float = 0.0
