"""The user's one door: connect, publish, run handlers, look at what is left to do."""

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import ParamSpec, TypeVar

from eventlib.broker.connections import Broker
from eventlib.broker.streams import StreamCommands
from eventlib.consume.consumer import GroupConsumer
from eventlib.consume.consumers import event_consumers
from eventlib.consume.liveness import ConsumerHealth
from eventlib.declare.app import App
from eventlib.declare.tasks import Task
from eventlib.delivery import Observer
from eventlib.errors import BrokerError, BusClosed, InvalidArgument
from eventlib.events.schema import Event, spec_of, valid_name
from eventlib.operate.dead_letters import DeadLetters
from eventlib.operate.trimming import Trimmer, look_at
from eventlib.publish.outage import OutagePolicy, Wait, patience_s
from eventlib.publish.publisher import Publisher, publishing
from eventlib.queueing import Priority
from eventlib.records import Backlog, QueueHealth, ServerInfo
from eventlib.retention import StreamHealth
from eventlib.tasks.queues import TaskHandle, TaskQueues
from eventlib.tasks.workers import TaskWorker, task_workers

P = ParamSpec("P")
R = TypeVar("R")

log = logging.getLogger("eventlib")

_ABANDON_S = 10.0  # longest wait for consumers whose handlers were cancelled
_LOOK_S = 0.01  # wait between two looks at a backlog that should become empty
_NO_HANDLERS = "has no handlers to run; declare one with @app.subscribe or @app.task"


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
    default, for 30 s), `Fail`, or `Spool` to a file. `Spool` also replays what an earlier bus left in the file. With
    each policy, repeating never appends an event twice. Connecting itself needs a server that answers. A server that
    evicts keys when it is full may delete whole streams. It causes a warning, or is refused with `refuse_eviction`.

    Raises:
        BrokerError: there is no URL, or the server is unreachable, refuses the connection or lacks a command.
        SpoolUnusable: another bus uses the spool, or it is damaged or cannot be written.
    """
    url = url or os.environ.get("REDIS_URL")
    if not url:
        raise BrokerError("connect", "no Redis URL; pass url= or set REDIS_URL, for example redis://localhost:6379/0")
    broker = Broker(url, namespace)
    try:
        server = await broker.check(refuse_eviction=refuse_eviction)
        async with publishing(broker, app.name, outage_policy or Wait()) as publisher:
            queues = TaskQueues(app, broker, patience_s(outage_policy or Wait()))
            bus = Bus(app, broker, server, publisher, queues)
            await bus._declare_streams()
            try:
                yield bus
            finally:
                bus._closed = True
                await queues.close()
    finally:
        await broker.close()


class Bus:
    """A connected App. Made by `connect`."""

    def __init__(self, app: App, broker: Broker, server: ServerInfo, publisher: Publisher, tasks: TaskQueues) -> None:
        self.app = app
        self.server = server
        self.tasks = tasks
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
        """Append one event to its stream. Returns its id once the server, or the spool, has the event.

        An `id` is made if none is given. With `unique_for_s`, the stream remembers the id for that many seconds. During
        that time, a publish with this id and with `unique_for_s`, by any program, appends nothing and returns the id.
        The first event stays as it is, even if the second one differs, and its time is not extended.

        The call waits while very many events are queued. Inside a handler, correlation, causation and W3C trace context
        that are not given are taken from the handled event.

        Raises:
            BusClosed, EventTooLarge (over 16 MiB), InvalidArgument: nothing was sent.
            BrokerUnavailable: no answer for as long as `outage_policy` waits. The event may have been appended, once.
            BrokerFull, AccessDenied, BrokerError: the server refused. The event was not appended, unless an earlier try
                got no answer.
            SpoolFull, SpoolUnusable: Redis does not answer and the spool takes no more. The event may have been
                appended, once.

        Cancelling the call withdraws an event that is queued, but not one that is on its way.
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
        """Append events, in order within each stream. Returns their ids once the server has them all.

        Up to 500 events, or 4 MiB, of one stream are appended together or not at all. Larger calls are sent in slices,
        and no slice is sent after one that fails. `ids` has one id for each event; `unique_for_s` works as in
        `publish`. Calls made at the same time share round trips.

        Raises:
            PartlyPublished: the events with its `ids` were appended. The others were not, or may not have been.
            What `publish` raises: no event was appended, except as it is described there.
        """
        about = (correlation_id, causation_id, traceparent, tracestate)
        return await self._publisher.publish_many(events, ids, unique_for_s, about)

    # Tasks

    def enqueue(
        self,
        task: Task[P, R],
        *,
        delay_s: float | None = None,
        at: datetime | None = None,
        priority: Priority | None = None,
        id: str | None = None,
    ) -> Callable[P, Awaitable[TaskHandle[R]]]:
        """Let a worker run a task: `handle = await bus.enqueue(send_receipt, delay_s=60.0)("A1")`.

        It starts after `delay_s` seconds, or at the time `at`, by the server's clock; a time that has passed means now.
        `priority` is the task's own if none is given. With an `id` of your own, a second call enqueues nothing as long
        as the first task is known, and returns its handle. Inside a handler or a task, correlation and trace context
        are taken over. More is in `bus.tasks`.

        Raises:
            InvalidArgument: the App does not declare the task, or its arguments or the time do not fit.
            UniqueKeyInUse: a task with the same unique key is there.
            BrokerUnavailable: no answer for as long as the outage policy waits. The task may have been enqueued, once.
            BusClosed, EventTooLarge, BrokerFull, AccessDenied, BrokerError: as for `publish`.
        """
        return self.tasks.enqueue(task, delay_s=delay_s, at=at, priority=priority, id=id)

    # Consuming

    @asynccontextmanager
    async def running(
        self,
        *,
        groups: Collection[str] | None = None,
        queues: Collection[str] | None = None,
        consumer: str | None = None,
        grace_s: float = 30.0,
        observe: Observer | None = None,
    ) -> AsyncIterator[None]:
        """Run the App's handlers and tasks while the block runs: of `groups` and `queues`, or all if neither is given.

        When the block ends, reading stops. Running handlers may end within `grace_s` seconds; then they are cancelled.
        Entries that were not handled go back to their group at once. `consumer` must be unique among the group's
        processes; the default is unique. `observe` is called for everything that happens to a delivery.

        Raises:
            AccessDenied: at any time, because waiting would not help. The consumers wait until other trouble is over.
            BrokerUnavailable: when the block ends, if the server did not answer some acknowledgements within `grace_s`.
                Those events are delivered again.
        """
        if self._closed:
            raise BusClosed
        name = _consumer_name() if consumer is None else valid_name(consumer, "consumer")
        consumers, workers = self._consumers(groups, queues, name, observe)
        trimmers = self._trimmers(consumers)
        consumers += [worker.consumer for worker in workers]
        try:
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(c.run()) for c in consumers]
                beside = [tasks.create_task(trimmer.run()) for trimmer in trimmers]
                beside += [tasks.create_task(worker.watch()) for worker in workers]
                self._running.update(zip(consumers, running, strict=True))
                try:
                    yield
                finally:
                    try:
                        await _stop(consumers, running, grace_s)
                    finally:
                        for task in beside:
                            task.cancel()
                        for each in consumers:
                            del self._running[each]
        except BaseExceptionGroup as group:
            raise _single_error(group) from None

    def _consumers(
        self, groups: Collection[str] | None, queues: Collection[str] | None, name: str, observe: Observer | None
    ) -> tuple[list[GroupConsumer], list[TaskWorker]]:
        """What is asked for. If only groups or only queues are named, no other kind of work is meant."""
        named = groups is not None or queues is not None
        consumers = (
            [] if named and groups is None else event_consumers(self.app, groups, self._broker, self, name, observe)
        )
        workers = [] if named and queues is None else task_workers(self.app, queues, self._broker, self, name, observe)
        if consumers or workers:
            return consumers, workers
        handled = sorted({s.group for s in self.app.subscriptions})
        problem = f"nothing to run for {groups}; groups: {handled}" if handled else _NO_HANDLERS
        raise InvalidArgument(f"App {self.app.name!r}", problem)

    def _trimmers(self, consumers: Iterable[GroupConsumer]) -> list[Trimmer]:
        """One trimmer for each stream that is read. It has all groups of the App on the stream, running here or not."""
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
        """How well each consumer that this bus runs hears the server. This sends no request.

        For a liveness probe: `all(each.hears() for each in bus.health())`.
        """
        return [consumer.health(not task.done()) for consumer, task in self._running.items()]

    async def stream_health(self, stream: str) -> StreamHealth:
        """What the stream keeps and how all of its groups stand, those of other programs and libraries included."""
        return await look_at(self._streams, stream, self.app.streams.get(stream))

    async def backlog(self, stream: str, group: str) -> Backlog:
        """What the group still has to do on the stream. For a group that does not exist, that is the whole stream.

        Raises:
            InvalidArgument: the stream is a task queue; see `queue_health`.
        """
        if stream.startswith("tasks."):
            raise InvalidArgument("backlog", f"stream {stream!r} is a task queue; call bus.queue_health")
        return await self._streams.backlog(stream, group)

    async def drained(self, stream: str, group: str) -> None:
        """Wait until the group has nothing left to do on the stream, delayed retries included.

        The wait may be endless, so use `asyncio.timeout`. Events that are published meanwhile count too.

        Raises:
            MissingGroup: neither the App nor the server knows the group on this stream.
            BrokerUnavailable: the server does not answer.
        """
        if not any(s.group == group and spec_of(s.event_class).stream == stream for s in self.app.subscriptions):
            await self.dead_letters(stream, group).check()
        while (await self.backlog(stream, group)).total:  # noqa: ASYNC110 - the server sends no notice
            await asyncio.sleep(_LOOK_S)

    async def queue_health(self, queue: str = "default") -> QueueHealth:
        """How a task queue stands: what waits, runs and is held up, how fast, and by how many workers."""
        return await self.tasks.health(queue)

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
            "after %s s, %d of %d consumers are not done: handlers run, or the server does not answer; "
            "their entries go back to the group",
            grace_s,
            len(late),
            len(running),
        )
        for consumer in consumers:
            consumer.abandon()
        # Wait here, because after an error their task group would cancel them while they give back their entries.
        await asyncio.wait(late, timeout=_ABANDON_S)


def _single_error(error: BaseException) -> BaseException:
    """The block's own exception, or the one that made consumers fail: they nearly always fail for one reason."""
    while isinstance(error, BaseExceptionGroup) and (len(error.exceptions) == 1 or error.split(BrokerError)[1] is None):
        error = error.exceptions[0]
    return error


def _consumer_name() -> str:
    """A readable name that is unique to this process. With one name, two processes would take each other's entries."""
    host = "".join(c if c.isalnum() or c in "-_." else "-" for c in socket.gethostname())
    return f"{host}-{os.getpid()}-{secrets.token_hex(3)}"
