"""What a bus offers to callers who wait for an event: `waiting_for`, `request` and `reply`."""

import asyncio
from abc import ABC, abstractmethod
from types import UnionType
from typing import Any, TypeVar, overload

from pydantic_core import to_json

from eventlib.errors import InvalidArgument, shown
from eventlib.events.correlation import new_correlation_id
from eventlib.events.schema import Event, spec_of
from eventlib.replies.waiters import awaited
from eventlib.replies.waiting import Waiting, Waits

E = TypeVar("E", bound=Event)

_TIMEOUT_S_MAX = 7 * 86_400.0


class Requesting(ABC):
    """Waits for events by their correlation id.

    An event class says what to wait for, or a union of some (`QuoteGiven | QuoteRefused`), of which one comes. No
    consumer group is needed and no key is made. Thousands may wait at once: one connection for each stream that is
    waited on serves them all. Such a stream is trimmed to its declared or default retention, even if it has no group.
    """

    @abstractmethod
    def _open_waits(self) -> Waits:
        """Raises BusClosed if there is no connection."""

    @abstractmethod
    async def publish(self, event: Event, *, correlation_id: str | None = None) -> str: ...

    @overload
    def waiting_for(self, reply: type[E], *, correlation_id: str, timeout_s: float) -> Waiting[E]: ...
    @overload
    def waiting_for(self, reply: UnionType, *, correlation_id: str, timeout_s: float) -> Waiting[Event]: ...
    def waiting_for(self, reply: type[Event] | UnionType, *, correlation_id: str, timeout_s: float) -> Waiting[Any]:
        """Wait for the next event with this correlation id. Listening begins before the block runs.

            async with bus.waiting_for(OrderPaid, correlation_id=id_, timeout_s=5.0) as paid:
                await bus.publish(OrderPlaced(...), correlation_id=id_)
            print(paid.event)

        When the block has ended, the event is there. What the block raises goes on at once.

        Raises:
            UnknownEventType, InvalidArgument: the event, the correlation id or the timeout is none.
            EventWaitTimeout: no such event came within `timeout_s` seconds from the beginning of the block. What came
                while this process stood still counts: such a wait ends 0.05 s after the process goes on, or 0.15 s
                where it stands still again.
            DecodeError, UnsupportedVersion: it came, and this program cannot read it.
            BrokerUnavailable: the server is away as the block begins, and the outage policy is `Fail`. With the others,
                the wait goes on through an outage, and an outage at its end is the cause of the EventWaitTimeout.
            AccessDenied, BrokerError: the server refuses to let this program listen.
            BusClosed: the bus was closed, or closes meanwhile.
        """
        return self._waiting("waiting_for", reply, correlation_id, timeout_s)

    @overload
    async def request(
        self, event: Event, reply: type[E], *, timeout_s: float, correlation_id: str | None = None
    ) -> E: ...
    @overload
    async def request(
        self, event: Event, reply: UnionType, *, timeout_s: float, correlation_id: str | None = None
    ) -> Event: ...
    async def request(
        self, event: Event, reply: type[Event] | UnionType, *, timeout_s: float, correlation_id: str | None = None
    ) -> Event:
        """Publish an event and wait for the event that replies to it: the first one with its correlation id.

        A service replies by publishing in its handler, where the correlation id is taken over by itself. A correlation
        id is made if none is given, inside a handler too. `timeout_s` covers publishing and waiting. To
        get the reply even if this process is killed, make the id with `new_correlation_id`, keep it, and call `reply`.

        Raises what `publish` and `waiting_for` raise. After an EventWaitTimeout the request may have been published.
        """
        id_ = new_correlation_id() if correlation_id is None else correlation_id
        own = spec_of(type(event)).type
        waiting: Waiting[Event] = self._waiting("request", reply, id_, timeout_s, own=own)
        async with waiting:
            try:
                async with asyncio.timeout_at(waiting.deadline_s):
                    await self.publish(event, correlation_id=id_)
            except TimeoutError:
                waiting.sent = False
        return waiting.event

    @overload
    async def reply(self, correlation_id: str, reply: type[E], *, timeout_s: float) -> E: ...
    @overload
    async def reply(self, correlation_id: str, reply: UnionType, *, timeout_s: float) -> Event: ...
    async def reply(self, correlation_id: str, reply: type[Event] | UnionType, *, timeout_s: float) -> Event:
        """The event with this correlation id, whether it came before or comes within `timeout_s` seconds.

        For a caller that was killed, or whose `request` timed out. What the stream still keeps is found, the newest
        first. With a correlation id that `request` or `new_correlation_id` made, only what came since then is looked
        at, and an hour more, because clocks differ. With another one, that is the whole stream.

        Raises what `waiting_for` raises.
        """
        waiting: Waiting[Event] = self._waiting("reply", reply, correlation_id, timeout_s, looks_back=True)
        async with waiting:
            pass  # it ends when the event is there
        return waiting.event

    def _waiting(
        self,
        where: str,
        reply: type[Event] | UnionType,
        correlation_id: str,
        timeout_s: float,
        *,
        own: str | None = None,
        looks_back: bool = False,
    ) -> Waiting[Any]:
        if not isinstance(reply, type | UnionType):
            raise InvalidArgument(
                where, f"{shown(reply)} is no event class; give one, or a union such as `Given | Refused`"
            )
        expected = awaited(reply)
        if own in expected.types:
            raise InvalidArgument(where, f"a {own} cannot be the reply to a {own}: it would be taken for its own reply")
        _check_correlation_id(where, correlation_id)
        _check_timeout(where, timeout_s)
        return Waiting(self._open_waits(), expected, correlation_id, timeout_s, own=own, looks_back=looks_back)


def _check_correlation_id(where: str, id_: object) -> None:
    try:
        right = isinstance(id_, str) and bool(id_) and bool(to_json(id_))
    except ValueError:  # such as half of a surrogate pair
        right = False
    if not right:
        problem = f"correlation_id={shown(id_)}; give the text that the awaited event has, not empty"
        raise InvalidArgument(where, problem)


def _check_timeout(where: str, timeout_s: object) -> None:
    if not isinstance(timeout_s, int | float) or not 0.0 < timeout_s <= _TIMEOUT_S_MAX:
        problem = f"timeout_s={shown(timeout_s)}; it must be seconds above zero, at most a week"
        raise InvalidArgument(where, problem)
