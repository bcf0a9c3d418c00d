"""The user's one door: connect, publish, run handlers, look at what is left to do."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from pydantic import BaseModel

from eventlib.arguments import called_as
from eventlib.broker.connections import Broker
from eventlib.broker.streams import StreamCommands
from eventlib.declare.app import App
from eventlib.declare.tasks import Task
from eventlib.delivery import Observer
from eventlib.errors import BrokerError, BusClosed, InvalidArgument
from eventlib.events.schema import Event
from eventlib.health.looking import Looking
from eventlib.health.probes import Probes
from eventlib.patience import Patience
from eventlib.pausing import Pausing
from eventlib.publish.outage import Fail, OutagePolicy, patience_s
from eventlib.publish.publisher import Publisher, publishing
from eventlib.queueing import Priority
from eventlib.records import ServerInfo
from eventlib.replies.requesting import Requesting
from eventlib.replies.waiting import Waits, waits
from eventlib.sagas.by_name import SagasByName
from eventlib.tasks.queues import TaskHandle, TaskQueues

if TYPE_CHECKING:  # each of these is imported when a program first uses it
    from eventlib.consume.liveness import ConsumerHealth
    from eventlib.counts import ConsumerCounts
    from eventlib.declare.sagas import Saga
    from eventlib.health.watch import Parts
    from eventlib.operate.dead_letters import DeadLetters
    from eventlib.running import Running
    from eventlib.sagas.operations import Sagas
    from eventlib.schedules.operations import Schedules
    from eventlib.settings import Settings

I = TypeVar("I", bound=BaseModel)  # noqa: E741 - the input of a saga
P = ParamSpec("P")
R = TypeVar("R")

log = logging.getLogger("eventlib")


@asynccontextmanager
async def connect(
    app: App,
    url: str | None = None,
    *,
    namespace: str | None = None,
    outage_policy: OutagePolicy | None = None,
    refuse_eviction: bool | None = None,
    settings: "Settings | None" = None,
) -> AsyncIterator["Bus"]:
    """Connect an App to Redis and yield its Bus. What is not given is taken from the `settings`.

    These are by default those of `load_settings`: REDIS_URL and other variables of the environment, and a file. A
    program that passes a `url` uses no user, password or certificate of theirs.

    All keys start with `namespace`. `outage_policy` says what a publish does while Redis does not answer: `Wait` (the
    default, for 30 s), `Fail`, or `Spool` to a file. `Spool` also replays what an earlier bus left in the file. With
    each policy, repeating never appends an event twice. Connecting itself needs a server that answers. A server that
    evicts keys when it is full may delete whole streams. It causes a warning, or is refused with `refuse_eviction`.

    Raises:
        BrokerError: there is no URL, or the server is unreachable, refuses the connection or lacks a command.
        InvalidSettings: a setting is unknown, or has a value that it cannot have.
        SpoolUnusable: another bus uses the spool, or it is damaged or cannot be written.
    """
    from eventlib.settings import load_settings

    settings = settings or load_settings()
    url = url or settings.redis.address()
    if not url:
        raise BrokerError("connect", "no Redis URL; pass url= or set REDIS_URL, for example redis://localhost:6379/0")
    broker = Broker(url, settings.bus.namespace if namespace is None else namespace)
    try:
        server = await broker.check(
            refuse_eviction=settings.bus.refuse_eviction if refuse_eviction is None else refuse_eviction
        )
        policy = outage_policy or settings.outage.outage_policy()
        patience = Patience(patience_s(policy))
        async with (
            aclosing(Probes()) as probes,  # they close last: a bus that sends what is queued is alive
            publishing(broker, app.name, policy) as publisher,
            waits(broker, app, patient=not isinstance(policy, Fail)) as all_waits,
            aclosing(TaskQueues(app, broker, patience)) as queues,
            aclosing(SagasByName(broker, app.name, patience)) as sagas,
        ):
            bus = Bus(app, broker, server, settings, patience, publisher, all_waits, queues, sagas, probes)
            await bus._declare_streams()
            try:
                yield bus
            finally:
                bus._closed = True
    finally:
        await broker.close()


def _running_of(bus: "Bus") -> "Running":
    """What the bus runs. A program that only publishes needs no code of consumers."""
    from eventlib.running import Running

    return Running(bus.app, bus._broker, bus, bus._publisher)


def _schedules_of(bus: "Bus") -> "Schedules":
    """The schedules of every task queue: to look at, add, pause, run at once and remove."""
    from eventlib.schedules.operations import Schedules

    return Schedules(bus.app, bus._broker, bus._patience)


class Bus(Requesting, Looking, Pausing):
    """A connected App. Made by `connect`."""

    def __init__(
        self,
        app: App,
        broker: Broker,
        server: ServerInfo,
        settings: "Settings",
        patience: Patience,
        publisher: Publisher,
        waits: Waits,
        tasks: TaskQueues,
        sagas: SagasByName,
        probes: Probes,
    ) -> None:
        self.app = app
        self.server = server
        self.settings = settings
        self.tasks = tasks
        self._broker = broker
        self._patience = patience
        self._sagas = sagas
        self._probes = probes
        self._streams = StreamCommands(broker)
        self._publisher = publisher
        self._waits = waits
        self._closed = False
        probes.parts = self._parts

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

    def _open_waits(self) -> Waits:
        return self._waits

    # Tasks

    @called_as("await bus.enqueue(task, delay_s=60.0)(arguments)")
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
        as the first task is known, for 60 s after its end at least, and returns its handle. Inside a handler or a task,
        correlation and trace context are taken over. More is in `bus.tasks`.

        Raises:
            InvalidArgument: the App does not declare the task, or its arguments or the time do not fit.
            UniqueKeyInUse: a task with the same unique key is there.
            BrokerUnavailable: no answer for as long as the outage policy waits. The task may have been enqueued, once.
            BusClosed, EventTooLarge, BrokerFull, AccessDenied, BrokerError: as for `publish`.
        """
        return self.tasks.enqueue(task, delay_s=delay_s, at=at, priority=priority, id=id)

    schedules = cached_property(_schedules_of)

    # Consuming

    _running = cached_property(_running_of)

    @asynccontextmanager
    async def running(
        self,
        *,
        groups: Collection[str] | None = None,
        queues: Collection[str] | None = None,
        sagas: Collection[str] | None = None,
        consumer: str | None = None,
        grace_s: float | None = None,
        observe: Observer | None = None,
    ) -> AsyncIterator[None]:
        """Run the App's handlers, tasks and sagas while the block runs. If some are named, only those.

        For each queue that runs, a scheduler decides about the slots of its schedules. It stops first.

        When the block ends, reading stops. Running handlers may end within `grace_s` seconds (the settings' are 30 by
        default); then they are cancelled. Entries that were not handled go back to their group at once. `consumer` must
        be unique among the group's processes; the default is unique. `observe` is called for everything that happens to
        a delivery.

        Raises:
            BusClosed, InvalidArgument: nothing runs. A name is of nothing that the App declares, or there is nothing.
            AccessDenied: at any time, because waiting would not help. The consumers wait until other trouble is over.
            ScheduleExists: at any time. A schedule that the App declares was added at run time, or by another App.
            BrokerUnavailable: when the block ends, if the server did not answer some acknowledgements within `grace_s`.
                Those events are delivered again.
        """
        if self._closed:
            raise BusClosed
        grace_s = self.settings.running.grace_s if grace_s is None else grace_s
        async with self._running.run(groups, queues, sagas, consumer, grace_s, observe):
            yield

    # Sagas

    @called_as('await bus.start(saga, Order(number=1), key="A1")')
    async def start(self, saga: "Saga[I]", input: I, *, key: str | None = None) -> str:
        """Start a saga. Returns its id once the server has it; some worker runs its steps.

        The id is the `key`, if one is given: while the saga with this key runs or is kept, and for 60 s after its end
        at least, another start with it starts nothing and returns the id. What the first one was given stays as it is.
        A server that does not answer is waited for as the outage policy says; `Spool` is as `Wait` with its 30 s.

        Raises:
            BusClosed, InvalidArgument (a saga that the App does not declare, an input of another class or one that JSON
                loses): nothing was started.
            BrokerUnavailable: no answer. The saga may have been started; with its key, a repeat starts no other.
        """
        from eventlib.declare.sagas import Saga

        given: object = saga  # of any type, where no checker looked
        if isinstance(given, Saga) and self.app.sagas.get((given.name, given.version)) is not given:
            problem = f"App {self.app.name!r} declares no saga {saga.name!r} version {saga.version}, or another one"
            raise InvalidArgument("start", problem)
        return await self.sagas(saga).start(saga, input, key)

    @overload
    def sagas(self, saga: "Saga[I]") -> "Sagas[I]": ...
    @overload
    def sagas(self, saga: str) -> "Sagas[Any]": ...
    def sagas(self, saga: "Saga[Any] | str") -> "Sagas[Any]":
        """The sagas of one name that were started: to look at, wait for, cancel, retry and resolve.

        Raises:
            InvalidArgument, InvalidDeclaration: it is no saga, and no name that one can have.
        """
        return self._sagas.of(saga)

    # Looking

    def health(self) -> "list[ConsumerHealth]":
        """How well each consumer that this bus runs hears the server. This sends no request.

        For probes, see `serve_health`. By hand: `all(each.hears() for each in bus.health())`.
        """
        return self._running.health()

    def counts(self) -> "dict[tuple[str, str], ConsumerCounts]":
        """What became of deliveries so far, by stream and group: of consumers that run here, and that have ended."""
        return self._running.counts()

    def dead_letters(self, stream: str, group: str) -> "DeadLetters":
        """The group's dead-letter queue on the stream: to look at, edit, replay and purge."""
        from eventlib.operate.dead_letters import DeadLetters

        return DeadLetters(self._broker, self.app, self._patience, stream, group)

    def _parts(self) -> "Parts":
        from eventlib.health.watch import Parts

        return Parts(
            *(self.app, self.server, self._broker, self._publisher, self.tasks, self._waits, self._running, self),
            closed=lambda: self._closed,
        )

    async def delete_all(self) -> int:
        """Delete every key of this namespace, events included; for tests and experiments. Returns how many."""
        return await self._broker.delete_all()
