"""What is declared of a group: how its consumers work, and which handler takes which event type."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

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


@dataclass(frozen=True, slots=True)
class Subscription:
    """One handler for one event type in one group. With a `batch` size, it takes up to that many events in one call."""

    event_class: type[Event]
    group: str
    handler: Callable[..., Awaitable[None]]
    retry: Retry
    timeout_s: float | None
    batch: int | None = None
