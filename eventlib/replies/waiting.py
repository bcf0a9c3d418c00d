"""All waits of one bus, and one of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, cast

from eventlib import tracing
from eventlib.broker.connections import Broker
from eventlib.broker.listening import ListeningCommands
from eventlib.declare.app import App
from eventlib.errors import BrokerError, BrokerUnavailable, BusClosed, EventWaitTimeout, InvalidArgument
from eventlib.events.correlation import made_at_ms
from eventlib.events.schema import Event
from eventlib.operate.trimming import trimmer
from eventlib.replies.listening import Listener
from eventlib.replies.waiters import Awaited, Waiter, Waiters

E = TypeVar("E", bound=Event)

_SKEW_MS = 3_600_000  # by so much, the clock that made a correlation id may be ahead of the server's
_LATE_S = 0.02  # a timer that is later says that this process, or its event loop, stood still
_LAST_LOOK_S = 0.05  # long enough to hear what came meanwhile: it is in the connection already
_LAST_LOOKS = 3  # a machine that is too busy for more has to end a wait all the same


@asynccontextmanager
async def waits(broker: Broker, app: App, *, patient: bool) -> AsyncIterator["Waits"]:
    """The waits of one bus. They end with BusClosed at the end of the block.

    With `patient=False`, a wait that begins while the server is away raises at once.
    """
    made = Waits(broker, app, patient=patient)
    try:
        yield made
    finally:
        await made.close()


class Waits:
    """Listens to the streams that are waited on, and keeps them trimmed: they may have no group that does."""

    def __init__(self, broker: Broker, app: App, *, patient: bool) -> None:
        self.where = broker.where
        self._waiters = Waiters()
        self._broker = broker
        self._app = app
        self._patient = patient
        self._listeners: dict[str, Listener] = {}
        self._trimming: dict[str, asyncio.Task[None]] = {}
        self._closed = False

    @property
    def outstanding(self) -> int:
        """How many wait."""
        return self._waiters.count

    @property
    def streams(self) -> list[str]:
        """The streams that are listened to."""
        return sorted(stream for stream, listener in self._listeners.items() if not listener.ended)

    def begin(self, waiter: Waiter) -> list[Listener]:
        """Let a caller wait. It hears what comes when all the listeners have begun."""
        if self._closed:
            raise BusClosed
        self._waiters.add(waiter)
        listeners = [self._listener_to(stream) for stream in waiter.awaited.streams]
        for listener in listeners:
            listener.attend()
        return listeners

    def end(self, waiter: Waiter, listeners: list[Listener]) -> None:
        self._waiters.remove(waiter)
        for listener in listeners:
            listener.leave()

    async def close(self) -> None:
        """End all waits with BusClosed."""
        self._closed = True
        self._waiters.fail(None, BusClosed())
        for task in self._trimming.values():
            task.cancel()
        await asyncio.gather(*self._trimming.values(), return_exceptions=True)
        await asyncio.gather(*(listener.close() for listener in self._listeners.values()))

    def _listener_to(self, stream: str) -> Listener:
        listener = self._listeners.get(stream)
        if listener is None or listener.ended:
            commands = ListeningCommands(self._broker, stream)
            listener = self._listeners[stream] = Listener(commands, stream, self._waiters, patient=self._patient)
        if stream not in self._trimming:
            trims = trimmer(self._broker, self._app, stream, listening=True).run()
            self._trimming[stream] = asyncio.create_task(trims)
        return listener


class _TimeIsOver(Exception):
    """What a wait ends with; what is then known makes the error that the caller gets."""


class Waiting(Generic[E]):
    """One wait for an event: it begins with the block, and the block ends when the event is there."""

    def __init__(
        self,
        waits: Waits,
        awaited: Awaited,
        correlation_id: str,
        timeout_s: float,
        *,
        own: str | None = None,
        looks_back: bool = False,
    ) -> None:
        self.deadline_s = 0.0  # by the loop's clock
        self.sent = True  # False: the server did not answer the publish that the event would follow
        self._waits = waits
        self._awaited = awaited
        self._correlation_id = correlation_id
        self._timeout_s = timeout_s
        self._own = own
        self._looks_back = looks_back
        self._event: E | None = None
        self._tracing = ExitStack()
        self._receiving: tracing.Receiving | None = None

    @property
    def event(self) -> E:
        """The event. It is there when the block has ended.

        Raises:
            InvalidArgument: the block runs, or has failed.
        """
        if self._event is None:
            raise InvalidArgument("waiting_for", "the event is not there yet; ask for it when the block has ended")
        return self._event

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self.deadline_s = loop.time() + self._timeout_s
        self._event = None
        self._waiter = Waiter(self._awaited, self._correlation_id, self._looks_back, self._own)
        self._listeners = self._waits.begin(self._waiter)
        self._timer = loop.call_at(self.deadline_s, self._end_in_time, self.deadline_s, _LAST_LOOKS)
        if tracing.active is not None:
            receiving = tracing.active.receiving(self._awaited.streams, self._correlation_id)
            self._receiving = self._tracing.enter_context(receiving)
        try:
            for listener in self._listeners:
                if not listener.began.done():
                    either: set[asyncio.Future[Any]] = {listener.began, self._waiter.event}
                    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                if self._waiter.event.done() and self._waiter.event.exception():
                    await self._finish()
                if self._looks_back:
                    made_ms = made_at_ms(self._correlation_id)
                    listener.history.look(self._waiter, max(0, (made_ms or 0) - _SKEW_MS))
        except BaseException as error:
            self._end(error)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                await self._finish()
        except BaseException as failed:
            error = failed
            raise
        finally:
            self._end(error)

    def _end_in_time(self, due_s: float, looks: int) -> None:
        """End the wait that was to end then. If this process stood still, what came meanwhile is heard first."""
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        if looks and now_s - due_s > _LATE_S:
            again_s = now_s + _LAST_LOOK_S
            self._timer = loop.call_at(again_s, self._end_in_time, again_s, looks - 1)
        else:
            self._waiter.fail(_TimeIsOver())

    async def _finish(self) -> None:
        try:
            self._event = cast(E, await self._waiter.event)
            if self._receiving is not None and self._waiter.envelope is not None:
                self._receiving.got(self._waiter.envelope)
        except _TimeIsOver:
            about = self._awaited.types, self._correlation_id, self._timeout_s, tuple(self._waiter.seen)
            raise EventWaitTimeout(*about) from self._outage()

    def _outage(self) -> BrokerError | None:
        """What kept the server from answering, if it does not answer now."""
        for listener in self._listeners:
            if listener.problem is not None:
                return listener.problem
        if self.sent and all(listener.began.done() for listener in self._listeners):
            return None
        return BrokerUnavailable(self._waits.where, f"Redis has not answered within {self._timeout_s:g} s")

    def _end(self, error: BaseException | None) -> None:
        self._timer.cancel()
        self._waits.end(self._waiter, self._listeners)
        self._tracing.__exit__(None if error is None else type(error), error, None)
