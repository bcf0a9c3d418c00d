"""What a bus runs: the consumers of handlers, tasks and sagas, and what goes on beside them."""

import asyncio
import logging
import os
import secrets
import socket
import threading
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from eventlib.broker.connections import Broker
from eventlib.consume.consumer import GroupConsumer
from eventlib.consume.consumers import event_consumers
from eventlib.consume.liveness import ConsumerHealth
from eventlib.counts import ConsumerCounts, summed
from eventlib.declare.app import App
from eventlib.delivery import Observer, Publishing
from eventlib.errors import BrokerError, InvalidArgument
from eventlib.events.schema import valid_name
from eventlib.operate.trimming import trimmer
from eventlib.publish.publisher import Publisher
from eventlib.tasks.workers import task_workers

log = logging.getLogger("eventlib")

_ABANDON_S = 10.0  # longest wait for consumers whose handlers were cancelled
_NOTHING = "has no handlers to run; declare one with @app.subscribe or @app.task"

Names = Collection[str] | None
Loop = Callable[[], Coroutine[Any, Any, None]]  # runs until it is cancelled


class _Work(NamedTuple):
    """What runs together. Schedulers stop first, and what goes on beside the consumers stops last."""

    consumers: list[GroupConsumer]
    schedulers: list[Loop]
    beside: list[Loop]  # trims streams, ends tasks that are cancelled
    queues: list[str]  # those that are scheduled


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to run, by name. If one kind is named, no other kind of work is meant; if none is, all is."""

    groups: Names = None
    queues: Names = None
    sagas: Names = None

    def __post_init__(self) -> None:
        for kind in ("groups", "queues", "sagas"):
            if isinstance(names := getattr(self, kind), str):  # a collection too, of its letters
                raise InvalidArgument("running", f"{kind}={names!r}; give a list of names")

    def wants(self, names: Names) -> bool:
        """Whether a kind of work is meant, of which these were named."""
        return names is not None or (self.groups, self.queues, self.sagas) == (None, None, None)


class Running:
    """The consumers that one bus runs."""

    def __init__(self, app: App, broker: Broker, bus: Publishing, publisher: Publisher) -> None:
        self._app = app
        self._broker = broker
        self._bus = bus
        self._publisher = publisher
        self._running: dict[GroupConsumer, asyncio.Task[None]] = {}
        self._ended: dict[tuple[str, str], ConsumerCounts] = {}  # what consumers counted that do not run any more
        self._counting = threading.Lock()  # a scrape in another thread finds each count once
        self._queues: list[str] = []  # with a scheduler that runs

    @asynccontextmanager
    async def run(
        self,
        groups: Names,
        queues: Names,
        sagas: Names,
        consumer: str | None,
        grace_s: float,
        observe: Observer | None,
    ) -> AsyncIterator[None]:
        """See `Bus.running`."""
        name = _consumer_name() if consumer is None else valid_name(consumer, "consumer")
        work = self._work(Wanted(groups, queues, sagas), name, observe)
        try:
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(each.run()) for each in work.consumers]
                scheduling = [tasks.create_task(each()) for each in work.schedulers]
                beside = [tasks.create_task(each()) for each in work.beside]
                self._running.update(zip(work.consumers, running, strict=True))
                self._queues.extend(work.queues)
                try:
                    yield
                finally:
                    for task in scheduling:
                        task.cancel()
                    for queue in work.queues:
                        self._queues.remove(queue)
                    try:
                        await _stop(work.consumers, running, grace_s)
                    finally:
                        for task in beside:
                            task.cancel()
                        self._end(work.consumers)
        except BaseExceptionGroup as group:
            raise _single_error(group) from None

    def _end(self, consumers: Iterable[GroupConsumer]) -> None:
        with self._counting:
            for each in consumers:
                del self._running[each]
                self._ended[each.place] = summed([self._ended.get(each.place, ConsumerCounts()), each.counts])

    def health(self) -> list[ConsumerHealth]:
        """See `Bus.health`."""
        return [consumer.health(not task.done()) for consumer, task in self._running.copy().items()]

    def counts(self) -> dict[tuple[str, str], ConsumerCounts]:
        """What became of deliveries so far, by stream and group, those of consumers that have ended included."""
        with self._counting:
            found = {place: [counts] for place, counts in self._ended.items()}
            for consumer in self._running.copy():
                found.setdefault(consumer.place, []).append(consumer.counts)
        return {place: summed(counts) for place, counts in found.items()}

    @property
    def scheduling(self) -> tuple[str, ...]:
        """The queues whose scheduler runs."""
        return tuple(sorted(set(self._queues)))

    @property
    def left(self) -> bool:
        """Whether consumers ran, and none runs any more."""
        return bool(self._ended) and not self._running

    def _work(self, wanted: Wanted, name: str, observe: Observer | None) -> _Work:
        app, broker, place = self._app, self._broker, (self._broker, self._bus, name, observe)
        work = _Work([], [], [], [])
        if wanted.wants(wanted.groups):
            work.consumers.extend(event_consumers(app, wanted.groups, *place))
            streams = sorted({consumer.stream for consumer in work.consumers})
            work.beside.extend(trimmer(broker, app, stream).run for stream in streams)
        if wanted.wants(wanted.queues):
            workers = task_workers(app, wanted.queues, *place)
            work.consumers.extend(worker.consumer for worker in workers)
            work.beside.extend(worker.watch for worker in workers)
            if workers:
                from eventlib.schedules.scheduler import schedulers

                work.schedulers.extend(each.run for each in schedulers(app, broker, workers))
                work.queues.extend(worker.queue for worker in workers)
        if wanted.wants(wanted.sagas) and (app.sagas or wanted.sagas):
            from eventlib.sagas.workers import saga_consumers

            work.consumers.extend(saga_consumers(app, wanted.sagas, broker, self._bus, self._publisher, name, observe))
        if not work.consumers:
            raise InvalidArgument(f"App {app.name!r}", self._nothing_to_run())
        return work

    def _nothing_to_run(self) -> str:
        groups = sorted({s.group for s in self._app.subscriptions})
        queues = sorted({task.queue for task in self._app.tasks.values()})
        sagas = sorted({name for name, _ in self._app.sagas})
        if not (groups or queues or sagas):
            return _NOTHING
        return f"nothing to run is named; groups: {groups}, queues: {queues}, sagas: {sagas}"


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
