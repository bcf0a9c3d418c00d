"""What a handler is given beside the event, and what an observer is told of it."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic, Literal, NamedTuple, TypeVar

from eventlib.errors import DataError, InvalidArgument
from eventlib.events.envelope import Envelope
from eventlib.events.schema import Event
from eventlib.records import Entry

E = TypeVar("E", bound=Event)
Kind = Literal["started", "handled", "failed", "acked", "retried", "dead", "lost"]


@dataclass(slots=True, eq=False)
class Delivery:
    """One entry in the hands of one consumer: what a handler may know beside the event.

    `attempt` counts from 1. `lost` turns true when another consumer took the entry over, because this one was silent
    for a lease: what the handler then does will be done again elsewhere.
    """

    stream: str
    group: str
    consumer: str
    attempt: int
    entry: Entry = field(repr=False)
    envelope: Envelope | None = field(default=None, repr=False)  # None: the entry could not be read
    lost: bool = False
    read_at: float = field(default_factory=time.monotonic, repr=False)
    fault: DataError | None = field(default=None, repr=False)  # why the entry could not be read
    settling: bool = field(default=False, repr=False)  # it ended; who owns the entry is the server's to say

    @property
    def event_id(self) -> str | None:
        return self.envelope.id if self.envelope else None

    @property
    def correlation_id(self) -> str | None:
        return self.envelope.correlation_id if self.envelope else None


class Batch(Generic[E]):
    """What a batch handler takes in one call: events, oldest first, and the delivery of each.

    Iterating gives (event, delivery) pairs.
    """

    def __init__(self, deliveries: list[Delivery]) -> None:
        self.deliveries = deliveries
        self.events: list[E] = [d.envelope.event for d in deliveries if d.envelope]  # type: ignore[misc]  # as subscribed
        self._errors: dict[Delivery, BaseException] = {}
        self._mine: set[int] | None = None  # ids of its deliveries; made where one fails

    def __len__(self) -> int:
        return len(self.events)

    def __iter__(self) -> Iterator[tuple[E, Delivery]]:
        return zip(self.events, self.deliveries, strict=True)

    def fail(self, delivery: Delivery, error: BaseException) -> None:
        """This one event failed with `error` (or `Reject`, `RetryAfter`, `Snooze`); the rest of the batch did not.

        Raises:
            InvalidArgument: `delivery` is none of this batch, or `error` no exception.
        """
        if self._mine is None:
            self._mine = set(map(id, self.deliveries))
        if id(delivery) not in self._mine or not isinstance(error, BaseException):
            raise InvalidArgument("batch.fail", "it takes a delivery of this batch, not its event, and an exception")
        self._errors[delivery] = error

    @property
    def failed(self) -> bool:
        """Whether any event was failed so far."""
        return bool(self._errors)

    def error_of(self, delivery: Delivery) -> BaseException | None:
        """What the event was failed with."""
        return self._errors.get(delivery)


class Observation(NamedTuple):
    """One thing that happened to a delivery, for whoever observes."""

    kind: Kind
    delivery: Delivery
    error: BaseException | None = None


Observer = Callable[[Observation], None]
