"""The user's one door: connect, publish, run handlers, look at what is left to do."""

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager

from eventlib.app import App, Subscription
from eventlib.broker.connections import Broker
from eventlib.broker.streams import StreamCommands
from eventlib.consume.consumer import GroupConsumer
from eventlib.consume.liveness import ConsumerHealth
from eventlib.consume.session import Session
from eventlib.delivery import Observer
from eventlib.errors import BrokerError, BusClosed, InvalidArgument
from eventlib.events.schema import Event, spec_of, valid_name
from eventlib.operate.dead_letters import DeadLetters
from eventlib.operate.trimming import Trimmer, look_at
from eventlib.publish.outage import OutagePolicy, Wait
from eventlib.publish.publisher import Publisher, publishing
from eventlib.records import Backlog, ServerInfo
from eventlib.retention import StreamHealth

log = logging.getLogger("eventlib")

_ABANDON_S = 10.0  # longest wait for consumers whose handlers were cancelled
_LOOK_S = 0.01  # between two looks at a backlog that is to become empty


@asynccontextmanager
async def connect(
    app: App,
    url: str | None = None,
    *,
    namespace: str = "ev",
    outage_policy: OutagePolicy | None = None,
    refuse_eviction: bool = False,
) -> AsyncIterator["Bus"]:
    """Connect an App to Redis and yield its Bus; `url` defaults to the environment's REDIS_URL.

    All keys start with `namespace`. `outage_policy` says what a publish does while Redis does not answer: `Wait` (the
    default, for 30 s), `Fail` or `Spool` to a file, which also replays what an earlier bus left there. Whichever it is,
    repeating never appends an event twice. Connecting itself needs a server that answers. One that evicts keys when it
    is full is warned of, or refused with `refuse_eviction`: it may delete whole streams.

    Raises:
        BrokerError: no URL, or the server is unreachable, refuses us or lacks a command.
        SpoolUnusable: the spool is another bus's, damaged, or cannot be written.
    """
    url = url or os.environ.get("REDIS_URL")
    if not url:
        raise BrokerError("connect", "no Redis URL; pass url= or set REDIS_URL, for example redis://localhost:6379/0")
    broker = Broker(url, namespace)
    try:
        server = await broker.check(refuse_eviction=refuse_eviction)
        async with publishing(broker, app.name, outage_policy or Wait()) as publisher:
            bus = Bus(app, broker, server, publisher)
            await bus._declare_streams()
            try:
                yield bus
            finally:
                bus._closed = True
    finally:
        await broker.close()


class Bus:
    """A connected App. Made by `connect`."""

    def __init__(self, app: App, broker: Broker, server: ServerInfo, publisher: Publisher) -> None:
        self.app = app
        self.server = server
        self._broker = broker
        self._streams = StreamCommands(broker)
        self._publisher = publisher
        self._closed = False
        self._running: dict[GroupConsumer, asyncio.Task[None]] = {}

    async def _declare_streams(self) -> None:
        for stream, retention in self.app.streams.items():
            if before := await self._streams.declare_retention(stream, retention):
                log.warning("stream %s keeps %s from now on; before, %s was declared", stream, retention, before)

    # Publishing

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
    ) -> str:
        """Append one event to its stream; returns its id once the server has it (or the spool).

        `id` is made up where none is given. With `unique_for_s`, nothing is appended if an event of this id was
        published to the stream, by anyone who asked for the same, in so many seconds before; the first one stays as it
        is, whatever the second one says, and its window is not prolonged; what is returned is the same. Waits for room
        while very much is queued.

        Inside a handler, correlation, causation and W3C trace context are taken from the handled event where they are
        not given.

        Raises:
            BusClosed, EventTooLarge (over 16 MiB), InvalidArgument: nothing was sent.
            BrokerUnavailable: no answer for as long as `outage_policy` waits. The event may have been appended, once.
            BrokerFull, AccessDenied, BrokerError: refused; not appended, unless a try before went unanswered.
            SpoolFull, SpoolUnusable: Redis is away and the file takes no more; as BrokerUnavailable.

        Cancelling the call takes back what is queued, not what is on its way.
        """
        publisher = self._publisher
        if not publisher.capacity.available:
            await publisher.capacity.wait_until_available()
        envelope_id, sent = publisher.publish(
            event, id, unique_for_s, correlation_id, causation_id, traceparent, tracestate
        )
        await sent
        return envelope_id

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
    ) -> list[str]:
        """Append events, in order within each stream; returns their ids once the server has them all.

        Up to 500 events, or 4 MiB, of one stream are appended together or not at all; larger calls go in slices, and
        the first that fails is the last. `ids` has one for each event; `unique_for_s` is as in `publish`. Calls made
        at the same time share round trips.

        Raises:
            PartlyPublished: the events of its `ids` were appended, the others were not or may not have been.
            What `publish` raises: none was appended, or what is said there.
        """
        about = (correlation_id, causation_id, traceparent, tracestate)
        return await self._publisher.publish_many(events, ids, unique_for_s, about)

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

        Raises:
            AccessDenied: at any time; waiting would not mend it. Other trouble with the server is waited out.
            BrokerUnavailable: on leaving, where handlers ended whose acknowledgement the server did not answer within
                `grace_s`: their events come again.
        """
        if self._closed:
            raise BusClosed
        name = _consumer_name() if consumer is None else valid_name(consumer, "consumer")
        consumers = self._consumers(groups, name, observe)
        try:
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(c.run()) for c in consumers]
                keeping = [tasks.create_task(trimmer.run()) for trimmer in self._trimmers(consumers)]
                self._running.update(zip(consumers, running, strict=True))
                try:
                    yield
                finally:
                    for task in keeping:
                        task.cancel()
                    try:
                        await _stop(consumers, running, grace_s)
                    finally:
                        for each in consumers:
                            del self._running[each]
        except BaseExceptionGroup as group:
            raise _one_of(group) from None

    def _consumers(self, groups: Collection[str] | None, name: str, observe: Observer | None) -> list[GroupConsumer]:
        by_loop: dict[tuple[str, str], list[Subscription]] = {}
        for s in self.app.subscriptions:
            if groups is None or s.group in groups:
                by_loop.setdefault((spec_of(s.event_class).stream, s.group), []).append(s)
        unknown = set(groups or ()) - {group for _, group in by_loop}
        known = sorted({s.group for s in self.app.subscriptions})
        if unknown or not by_loop:
            raise InvalidArgument(f"App {self.app.name!r}", f"nothing to run for {sorted(unknown)}; groups: {known}")
        if idle := set(self.app.groups) - {s.group for s in self.app.subscriptions}:
            problem = f"groups {sorted(idle)} are set and have no handler; is one misspelt? With handlers: {known}"
            raise InvalidArgument(f"App {self.app.name!r}", problem)
        return [
            GroupConsumer(Session(self._broker, stream, group, name, self.app.settings(group), subscriptions, observe))
            for (stream, group), subscriptions in by_loop.items()
        ]

    def _trimmers(self, consumers: Iterable[GroupConsumer]) -> list[Trimmer]:
        """One for each stream that is read, with all groups of the App on it, whether they run here or not."""
        return [
            Trimmer(
                self._broker,
                stream,
                sorted({s.group for s in self.app.subscriptions if spec_of(s.event_class).stream == stream}),
                self.app.streams.get(stream),
            )
            for stream in sorted({consumer.stream for consumer in consumers})
        ]

    # Looking

    def health(self) -> list[ConsumerHealth]:
        """How well each consumer that this bus runs hears the server; asks nobody.

        For a liveness probe: `all(each.hears() for each in bus.health())`.
        """
        return [consumer.health(not task.done()) for consumer, task in self._running.items()]

    async def stream_health(self, stream: str) -> StreamHealth:
        """What the stream keeps and how all of its groups stand, those of other programs and libraries included."""
        return await look_at(self._streams, stream, self.app.streams.get(stream))

    async def backlog(self, stream: str, group: str) -> Backlog:
        """What the group has still to do on the stream; of a group that does not exist, all that is there."""
        return await self._streams.backlog(stream, group)

    async def drained(self, stream: str, group: str) -> None:
        """Return once the group has nothing left to do on the stream, delayed retries included.

        It may wait for ever, so put it into an `asyncio.timeout`. What is published meanwhile counts.

        Raises:
            MissingGroup: neither the App nor the server knows the group on this stream.
            BrokerUnavailable: the server does not answer.
        """
        if not any(s.group == group and spec_of(s.event_class).stream == stream for s in self.app.subscriptions):
            await self.dead_letters(stream, group).check()
        while (await self.backlog(stream, group)).total:  # noqa: ASYNC110 - only the server knows
            await asyncio.sleep(_LOOK_S)

    def dead_letters(self, stream: str, group: str) -> DeadLetters:
        """The group's dead-letter queue on the stream: to look at, edit, replay and purge."""
        return DeadLetters(self._broker, self.app, stream, group)

    async def delete_all(self) -> int:
        """Delete every key of this namespace, events included; for tests and experiments. Returns how many."""
        return await self._broker.delete_all()


async def _stop(consumers: list[GroupConsumer], running: list[asyncio.Task[None]], grace_s: float) -> None:
    for consumer in consumers:
        consumer.stop()
    _, late = await asyncio.wait(running, timeout=grace_s)
    if late:
        log.warning(
            "in %s s, %d of %d consumers were not done, for handlers run or the server is away; "
            "their entries go back to the group",
            grace_s,
            len(late),
            len(running),
        )
        for consumer in consumers:
            consumer.abandon()
        # Here, and not at the end of their task group: after an error that would cancel them while they give back.
        await asyncio.wait(late, timeout=_ABANDON_S)


def _one_of(error: BaseException) -> BaseException:
    """The block's own exception, or what made consumers fail: they nearly always fail of one thing."""
    while isinstance(error, BaseExceptionGroup) and (len(error.exceptions) == 1 or error.split(BrokerError)[1] is None):
        error = error.exceptions[0]
    return error


def _consumer_name() -> str:
    """Unique to this process and readable: two processes of one name would take each other's entries."""
    host = "".join(c if c.isalnum() or c in "-_." else "-" for c in socket.gethostname())
    return f"{host}-{os.getpid()}-{secrets.token_hex(3)}"
