"""Who waits for which event. What an entry costs does not depend on how many wait: they are found by correlation id."""

import asyncio
from collections.abc import Iterable
from functools import lru_cache
from types import UnionType
from typing import NamedTuple, get_args

from pydantic_core import from_json

from eventlib.errors import DataError, InvalidArgument
from eventlib.events.correlation import correlation_id_of
from eventlib.events.envelope import Decoder, Envelope
from eventlib.events.opening import opened
from eventlib.events.schema import Event, spec_of


class Awaited(NamedTuple):
    """The events that a caller waits for: one type, or several of which one comes."""

    types: tuple[str, ...]
    streams: tuple[str, ...]
    decoder: Decoder


@lru_cache(maxsize=256)
def awaited(reply: type[Event] | UnionType) -> Awaited:
    """What an event class, or a union of event classes such as `QuoteGiven | QuoteRefused`, stands for.

    Raises:
        UnknownEventType: it is no event class, or one without a type.
        InvalidArgument: two classes have one type.
    """
    members = get_args(reply) or (reply,)
    classes: dict[str, type[Event]] = {}
    for member in members:
        if classes.setdefault(spec_of(member).type, member) is not member:
            problem = (
                f"{classes[spec_of(member).type].__name__} and {member.__name__} are both {spec_of(member).type!r}"
            )
            raise InvalidArgument("reply", f"{problem}; wait for one of them")
    streams = tuple(sorted({spec_of(each).stream for each in classes.values()}))
    return Awaited(tuple(classes), streams, Decoder(classes))


class Waiter:
    """One caller who waits for an event with a correlation id. `event` has it, or what is wrong with it.

    With `looks_back`, events that came before count too. Events of type `own` are the caller's own and no news.
    """

    __slots__ = ("awaited", "correlation_id", "envelope", "event", "looks_back", "own", "seen")

    def __init__(self, awaited: Awaited, correlation_id: str, looks_back: bool, own: str | None) -> None:
        self.awaited = awaited
        self.correlation_id = correlation_id
        self.event: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        self.envelope: Envelope | None = None  # that of the event
        self.looks_back = looks_back
        self.own = own
        self.seen: dict[str, None] = {}  # the types of other events with this correlation id, in their order

    def hear(self, event: bytes) -> None:
        """Take the event if it is awaited."""
        if self.event.done():
            return
        try:
            envelope = opened(self.awaited.decoder, event)
        except DataError as error:
            self.event.set_exception(error)
            return
        if envelope is None:
            if (type_ := str(from_json(event)["type"])) != self.own:
                self.seen[type_] = None
        elif envelope.correlation_id == self.correlation_id:
            self.envelope = envelope
            self.event.set_result(envelope.event)

    def fail(self, error: Exception) -> None:
        """Tell the caller that waiting does not help."""
        if not self.event.done():
            self.event.set_exception(error)


class Waiters:
    """All who wait on one bus."""

    def __init__(self) -> None:
        self._by_id: dict[str, list[Waiter]] = {}
        self.count = 0

    def add(self, waiter: Waiter) -> None:
        self._by_id.setdefault(waiter.correlation_id, []).append(waiter)
        self.count += 1

    def remove(self, waiter: Waiter) -> None:
        """Nothing that comes from now on changes what it has."""
        same = self._by_id[waiter.correlation_id]
        same.remove(waiter)
        if not same:
            del self._by_id[waiter.correlation_id]
        self.count -= 1
        if not waiter.event.cancel():
            waiter.event.exception()  # seen, so that the event loop does not report it

    def hear(self, stream: str, event: bytes, *, earlier: bool = False) -> None:
        """Give an event of a stream to who waits for it; one that came `earlier`, to those who look back."""
        correlation_id = correlation_id_of(event)
        if correlation_id is None or correlation_id not in self._by_id:  # nearly always, on a stream of many events
            return
        for waiter in self._by_id[correlation_id]:
            if stream in waiter.awaited.streams and (waiter.looks_back or not earlier):
                waiter.hear(event)

    def fail(self, stream: str | None, error: Exception) -> None:
        """Tell all who wait on a stream, or on any, that waiting does not help."""
        for waiter in self._all():
            if stream is None or stream in waiter.awaited.streams:
                waiter.fail(error)

    def _all(self) -> Iterable[Waiter]:
        return [waiter for same in self._by_id.values() for waiter in same]
