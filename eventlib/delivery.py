"""What a handler gets beside the event, and what an observer gets for each thing that happens to a delivery."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, Literal, NamedTuple, Protocol, TypeVar

from eventlib.errors import DataError, InvalidArgument
from eventlib.events.envelope import Envelope
from eventlib.events.schema import Event
from eventlib.records import Entry

E = TypeVar("E", bound=Event)
Kind = Literal["started", "handled", "failed", "acked", "retried", "dead", "lost", "circuit_opened", "circuit_closed"]


class Publishing(Protocol):
    """The bus that delivered an event, as far as a handler needs it: see `Bus.publish` and `Bus.publish_many`."""

    async def publish(
        self,
        event: Event,
        *,
        id: str | None = None,
        unique_for_s: float | None = None,
        correlation_id: str | None = None,
        causation_id: str | None = None,
        traceparent: str | None = None,
        tracestate: str | None = None,
    ) -> str: ...

    async def publish_many(
        self,
        events: Sequence[Event],
        *,
        ids: Sequence[str] | None = None,
        unique_for_s: float | None = None,
        correlation_id: str | None = None,
        causation_id: str | None = None,
        traceparent: str | None = None,
        tracestate: str | None = None,
    ) -> list[str]: ...


@dataclass(slots=True, eq=False)
class Delivery:
    """One entry that one consumer holds: what a handler may know beside the event.

    `attempt` counts from 1. A handler publishes with `delivery.bus.publish` and `publish_many`. `lost` becomes true
    when another consumer takes the entry over, because this one did not renew it for a lease. The handler's work is
    then done again by that consumer.
    """

    stream: str
    group: str
    consumer: str
    attempt: int
    entry: Entry = field(repr=False)
    bus: Publishing = field(repr=False)  # for what the handler publishes
    envelope: Envelope | None = field(default=None, repr=False)  # None: the entry could not be read
    lost: bool = False
    read_at: float = field(default_factory=time.monotonic, repr=False)
    fault: DataError | None = field(default=None, repr=False)  # why the entry could not be read
    suspect: bool = field(default=False, repr=False)  # it may be what ended its consumers: it is handled alone
    settling: bool = field(default=False, repr=False)  # its outcome is on its way: the server says if it was lost

    @property
    def event_id(self) -> str:
        """The event's id, the same in every delivery. Empty if the entry could not be read: no handler sees that."""
        return self.envelope.id if self.envelope else ""

    @property
    def correlation_id(self) -> str | None:
        return self.envelope.correlation_id if self.envelope else None


class Batch(Generic[E]):
    """The events of one call of a batch handler, oldest first, and the delivery of each.

    Iterating gives (event, delivery) pairs.
    """

    def __init__(self, deliveries: list[Delivery]) -> None:
        self.deliveries = deliveries
        self.events: list[E] = [d.envelope.event for d in deliveries if d.envelope]  # type: ignore[misc]  # as subscribed
        self._errors: dict[Delivery, BaseException] = {}
        self._delivery_ids: set[int] | None = None  # made when the first one fails

    def __len__(self) -> int:
        return len(self.events)

    def __iter__(self) -> Iterator[tuple[E, Delivery]]:
        return zip(self.events, self.deliveries, strict=True)

    def fail(self, delivery: Delivery, error: BaseException) -> None:
        """Say that this one event failed with `error` (or `Reject`, `RetryAfter`, `Snooze`); the others did not.

        Raises:
            InvalidArgument: `delivery` is not in this batch, or `error` is not an exception.
        """
        if self._delivery_ids is None:
            self._delivery_ids = set(map(id, self.deliveries))
        if id(delivery) not in self._delivery_ids or not isinstance(error, BaseException):
            raise InvalidArgument("batch.fail", "it takes a delivery of this batch, not its event, and an exception")
        self._errors[delivery] = error

    @property
    def failed(self) -> bool:
        """Whether `fail` was called for any event so far."""
        return bool(self._errors)

    def error_of(self, delivery: Delivery) -> BaseException | None:
        """The error that the event failed with; None if it did not fail."""
        return self._errors.get(delivery)


class Observation(NamedTuple):
    """One thing that happened to a delivery. An observer is called with each.

    A circuit breaker opens and closes with the outcome of a delivery.
    """

    kind: Kind
    delivery: Delivery
    error: BaseException | None = None


Observer = Callable[[Observation], None]
