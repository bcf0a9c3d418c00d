"""The user's one door: connect, publish, run handlers, look at what is left to do."""

import asyncio
import logging
import os
import random
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager

from eventlib.app import App, Subscription
from eventlib.broker import Backlog, Broker, ServerInfo
from eventlib.delivery import RECONNECT, GroupConsumer, Observer
from eventlib.dlq import DeadLetters
from eventlib.envelope import encode, seal
from eventlib.errors import BrokerError, BrokerUnavailable, BusClosed, InvalidDeclaration
from eventlib.health import ConsumerHealth
from eventlib.housekeeping import Housekeeper, look_at
from eventlib.retention import StreamHealth
from eventlib.schema import Event, spec_of

log = logging.getLogger("eventlib")

_RNG = random.Random()
_LOOK_S = 0.01  # between two looks at a backlog that is to become empty
BATCH_LIMIT = 500  # bodies in one round trip: past this the server gains nothing and others wait longer


@asynccontextmanager
async def connect(
    app: App,
    url: str | None = None,
    *,
    namespace: str = "ev",
    patience_s: float = 30.0,
    refuse_eviction: bool = False,
) -> AsyncIterator["Bus"]:
    """Connect an App to Redis and yield its Bus; `url` defaults to the environment's REDIS_URL.

    All keys start with `namespace`. A publish that gets no answer is repeated for `patience_s` seconds, then raises;
    repeating never appends an event twice. A server that evicts keys when it is full is warned of, or refused if so
    asked: it may delete whole streams.

    Raises:
        BrokerError: no URL, or the server is unreachable, refuses us or lacks a command.
    """
    url = url or os.environ.get("REDIS_URL")
    if not url:
        raise BrokerError("connect", "no Redis URL; pass url= or set REDIS_URL, for example redis://localhost:6379/0")
    broker = Broker(url, namespace)
    try:
        bus = Bus(app, broker, await broker.check(refuse_eviction=refuse_eviction), patience_s)
        await bus._declare_streams()
        try:
            yield bus
        finally:
            await bus._close()
    finally:
        await broker.close()


class Bus:
    """A connected App. Made by `connect`."""

    def __init__(self, app: App, broker: Broker, server: ServerInfo, patience_s: float) -> None:
        self.app = app
        self.server = server
        self._broker = broker
        self._patience_s = patience_s
        self._publishers: dict[str, _Publisher] = {}
        self._closed = False
        self._running: dict[GroupConsumer, asyncio.Task[None]] = {}

    async def _declare_streams(self) -> None:
        for stream, retention in self.app.streams.items():
            if before := await self._broker.declare_retention(stream, retention):
                log.warning("stream %s keeps %s from now on; before, %s was declared", stream, retention, before)

    # Publishing

    async def publish(
        self,
        event: Event,
        *,
        correlation_id: str | None = None,
        causation_id: str | None = None,
        traceparent: str | None = None,
        tracestate: str | None = None,
    ) -> str:
        """Append one event to its stream; returns its id once the server has it.

        Inside a handler, correlation, causation and W3C trace context are taken from the handled event where they are
        not given.

        Raises:
            InvalidArgument: the event has no JSON form, or the trace context is malformed; nothing was appended.
            BrokerUnavailable: no answer for `patience_s`. The event may or may not have been appended, once.
            BrokerError: the server refused; nothing was appended, unless a try before it went unanswered.

        Cancelling the call does not take back what is on its way.
        """
        ids = await self.publish_many(
            [event],
            correlation_id=correlation_id,
            causation_id=causation_id,
            traceparent=traceparent,
            tracestate=tracestate,
        )
        return ids[0]

    async def publish_many(
        self,
        events: Sequence[Event],
        *,
        correlation_id: str | None = None,
        causation_id: str | None = None,
        traceparent: str | None = None,
        tracestate: str | None = None,
    ) -> list[str]:
        """Append events, in order within each stream; returns their ids once the server has them all.

        Calls made at the same time share round trips. Raises as `publish` does; events of other streams, and earlier
        batches of the same stream, may then have been appended.
        """
        if self._closed:
            raise BusClosed
        ids: list[str] = []
        bodies: dict[str, list[bytes]] = {}
        for event in events:
            envelope = seal(event, self.app.name, correlation_id, causation_id, traceparent, tracestate)
            bodies.setdefault(spec_of(type(event)).stream, []).append(encode(envelope))
            ids.append(envelope.id)
        if len(bodies) == 1:
            [(stream, batch)] = bodies.items()
            await self._publisher(stream).append(batch)
        elif bodies:
            await _all(self._publisher(stream).append(batch) for stream, batch in bodies.items())
        return ids

    def _publisher(self, stream: str) -> "_Publisher":
        if stream not in self._publishers:
            self._publishers[stream] = _Publisher(self._broker, stream, self._patience_s)
        return self._publishers[stream]

    # Consuming

    @asynccontextmanager
    async def running(
        self,
        *,
        groups: Collection[str] | None = None,
        consumer: str | None = None,
        grace_s: float = 30.0,
        observe: Observer | None = None,
    ) -> AsyncIterator[None]:
        """Run the App's handlers (of `groups`, or all) while the block runs.

        Leaving the block stops reading, lets running handlers end within `grace_s` seconds, then cancels them; what
        was not handled goes back to its group at once. `consumer` must be unique among the group's processes; by
        default it is made so. `observe` is called for everything that happens to a delivery.
        """
        if self._closed:
            raise BusClosed
        consumers = self._consumers(groups, consumer or _consumer_name(), observe)
        try:
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(c.run()) for c in consumers]
                keeping = [tasks.create_task(housekeeper.run()) for housekeeper in self._housekeepers(consumers)]
                self._running.update(zip(consumers, running, strict=True))
                try:
                    yield
                finally:
                    for task in keeping:
                        task.cancel()
                    await _stop(consumers, running, grace_s)
                    for consumer_ in consumers:
                        del self._running[consumer_]
        except BaseExceptionGroup as group:
            raise _one_of(group) from None

    def _consumers(self, groups: Collection[str] | None, name: str, observe: Observer | None) -> list[GroupConsumer]:
        by_loop: dict[tuple[str, str], list[Subscription]] = {}
        for s in self.app.subscriptions:
            if groups is None or s.group in groups:
                by_loop.setdefault((spec_of(s.event_class).stream, s.group), []).append(s)
        unknown = set(groups or ()) - {group for _, group in by_loop}
        if unknown or not by_loop:
            known = sorted({s.group for s in self.app.subscriptions})
            raise InvalidDeclaration(f"App {self.app.name!r}", f"nothing to run for {sorted(unknown)}; groups: {known}")
        return [
            GroupConsumer(self._broker, stream, group, name, self.app.settings(group), subscriptions, observe)
            for (stream, group), subscriptions in by_loop.items()
        ]

    def _housekeepers(self, consumers: Iterable[GroupConsumer]) -> list[Housekeeper]:
        """One for each stream that is read, with all groups of the App on it, whether they run here or not."""
        return [
            Housekeeper(
                self._broker,
                stream,
                sorted({s.group for s in self.app.subscriptions if spec_of(s.event_class).stream == stream}),
                self.app.streams.get(stream),
            )
            for stream in sorted({consumer.health(True).stream for consumer in consumers})
        ]

    # Looking

    def health(self) -> list[ConsumerHealth]:
        """How well each consumer that this bus runs hears the server; asks nobody."""
        return [consumer.health(not task.done()) for consumer, task in self._running.items()]

    async def stream_health(self, stream: str) -> StreamHealth:
        """What the stream keeps and how all of its groups stand, those of other programs and libraries included."""
        return await look_at(self._broker, stream, self.app.streams.get(stream))

    async def backlog(self, stream: str, group: str) -> Backlog:
        """What the group has still to do on the stream."""
        return await self._broker.backlog(stream, group)

    async def drained(self, stream: str, group: str) -> None:
        """Return once the group has nothing left to do on the stream, delayed retries included.

        It may wait for ever, so put it into an `asyncio.timeout`. What is published meanwhile counts.
        """
        while (await self.backlog(stream, group)).total:  # noqa: ASYNC110 - only the server knows
            await asyncio.sleep(_LOOK_S)

    def dead_letters(self, stream: str, group: str) -> DeadLetters:
        """The group's dead-letter queue on the stream: to look at, edit, replay and purge."""
        return DeadLetters(self._broker, self.app, stream, group, self._patience_s)

    async def delete_all(self) -> int:
        """Delete every key of this namespace, events included; for tests and experiments. Returns how many."""
        return await self._broker.delete_all()

    async def _close(self) -> None:
        self._closed = True
        for publisher in self._publishers.values():
            await publisher.close()


class _Publisher:
    """Appends to one stream, one batch on its way at a time; what comes meanwhile makes the next batch.

    Numbering the bodies makes repeats harmless, and one batch at a time keeps the numbers in order.
    """

    def __init__(self, broker: Broker, stream: str, patience_s: float) -> None:
        self._broker = broker
        self._stream = stream
        self._patience_s = patience_s
        self._producer = secrets.token_hex(8)
        self._next = 1
        self._queue: list[tuple[Sequence[bytes], asyncio.Future[None]]] = []
        self._sender: asyncio.Task[None] | None = None

    async def append(self, bodies: Sequence[bytes]) -> None:
        sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((bodies, sent))
        if self._sender is None or self._sender.done():
            self._sender = asyncio.create_task(self._send_all())
        await sent

    async def _send_all(self) -> None:
        while self._queue:
            calls: list[asyncio.Future[None]] = []
            bodies: list[bytes] = []
            while self._queue and (not bodies or len(bodies) + len(self._queue[0][0]) <= BATCH_LIMIT):
                call = self._queue.pop(0)
                calls.append(call[1])
                bodies.extend(call[0])
            error: Exception | None = None
            try:
                for start in range(0, len(bodies), BATCH_LIMIT):
                    await self._send(bodies[start : start + BATCH_LIMIT])
            except Exception as refused:  # whatever it is, those who wait must hear of it
                error = refused
            for sent in calls:
                if not sent.done():
                    sent.set_result(None) if error is None else sent.set_exception(error)

    async def _send(self, bodies: Sequence[bytes]) -> None:
        first, self._next = self._next, self._next + len(bodies)
        give_up_at = asyncio.get_running_loop().time() + self._patience_s
        failures = 0
        while True:
            try:
                return await self._broker.publish(self._stream, self._producer, first, bodies)
            except BrokerUnavailable as error:
                failures += 1
                delay_s = RECONNECT.delay_s(failures, _RNG)
                if asyncio.get_running_loop().time() + delay_s > give_up_at:
                    raise
                if failures == 1:
                    log.warning("publishing to %s waits for the server: %s", self._stream, error)
                await asyncio.sleep(delay_s)

    async def close(self) -> None:
        """Wait for what is being sent; then nothing will be repeated, so the server may forget us."""
        if self._sender is not None:
            await self._sender
            try:
                await self._broker.forget_producer(self._stream, self._producer)
            except BrokerError:
                log.debug("the key of producer %s will expire by itself", self._producer)


async def _stop(consumers: list[GroupConsumer], running: list[asyncio.Task[None]], grace_s: float) -> None:
    for consumer in consumers:
        consumer.stop()
    _, late = await asyncio.wait(running, timeout=grace_s)
    if late:
        log.warning("%d consumers did not finish within %s s; their entries go back to the group", len(late), grace_s)
        for consumer in consumers:
            consumer.abandon()


def _one_of(error: BaseException) -> BaseException:
    """The block's own exception, or what made consumers fail: they nearly always fail of one thing."""
    while isinstance(error, BaseExceptionGroup) and (
        len(error.exceptions) == 1 or error.subgroup(BrokerError) == error
    ):
        error = error.exceptions[0]
    return error


async def _all(coroutines: Iterable[Awaitable[None]]) -> None:
    """Await all; then raise the first error, so that no batch is left on its way unseen."""
    results = await asyncio.gather(*coroutines, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result


def _consumer_name() -> str:
    """Unique to this process and readable: two processes of one name would take each other's entries."""
    host = "".join(c if c.isalnum() or c in "-_." else "-" for c in socket.gethostname())
    return f"{host}-{os.getpid()}-{secrets.token_hex(3)}"
