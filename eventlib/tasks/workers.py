"""The workers that an App's tasks need: one for each queue. A worker is a consumer whose handlers run functions."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from typing import Any

from pydantic_core import from_json

from eventlib.broker.connections import Broker
from eventlib.broker.tasks import WORKERS, Clock, TaskCommands
from eventlib.consume.consumer import GroupConsumer
from eventlib.consume.session import Session
from eventlib.declare.app import App
from eventlib.declare.subscriptions import Subscription
from eventlib.declare.tasks import QueueSettings, Task
from eventlib.delivery import Delivery, Observer, Publishing
from eventlib.errors import InvalidArgument, UnknownTask
from eventlib.events.schema import Event
from eventlib.queueing import PRIORITIES, pattern_of
from eventlib.reconnect import unless_denied, until_answered
from eventlib.records import queue_stream
from eventlib.tasks.current import CurrentTask, current
from eventlib.tasks.results import write_result

_HINT_S = 5.0  # longest wait for a hint; then the next one is waited for
_LOOK_S = 1.0  # wait between two looks at the flags of the tasks that run


def task_workers(
    app: App, queues: Collection[str] | None, broker: Broker, bus: Publishing, name: str, observe: Observer | None
) -> "list[TaskWorker]":
    """Workers called `name` for `queues`, or for all queues that have tasks.

    Raises:
        InvalidArgument: a queue has no tasks.
    """
    declared = sorted({task.queue for task in app.tasks.values()})
    if unknown := set(queues or ()) - set(declared):
        raise InvalidArgument(f"App {app.name!r}", f"no tasks to run for {sorted(unknown)}; queues: {declared}")
    if idle := set(app.queues) - set(declared):
        problem = f"queues {sorted(idle)} are set and have no task; is one misspelt? With tasks: {declared}"
        raise InvalidArgument(f"App {app.name!r}", problem)
    return [
        TaskWorker(app, queue, broker, bus, name, observe) for queue in declared if queues is None or queue in queues
    ]


class TaskWorker:
    """One worker of one queue: a consumer, and what watches for cancellations beside it."""

    def __init__(
        self, app: App, queue: str, broker: Broker, bus: Publishing, name: str, observe: Observer | None
    ) -> None:
        settings = app.queues.get(queue, QueueSettings())
        tasks = [task for task in app.tasks.values() if task.queue == queue]
        pattern = pattern_of([settings.weights[priority] for priority in PRIORITIES])
        self._commands = TaskCommands(broker, queue, name, pattern, settings.fair_weights)
        self._running: dict[str, _Run] = {}
        self._to_end: set[str] = set()  # tasks that are held, and were cancelled before their function began
        session = Session(
            (queue_stream(queue), WORKERS, name),
            self._commands,
            settings.group,
            [self._subscription(task) for task in tasks],
            observe,
            bus,
            partial(_unknown_task, queue),
        )
        self.queue = queue
        self.session = session
        self._commands.attempts_max = session.attempts_max
        self._commands.clock = lambda: Clock(session.clock.known, session.clock.expected())
        self.consumer = GroupConsumer(session)

    def _subscription(self, task: Task[..., Any]) -> Subscription:
        async def run(event: Event, delivery: Delivery) -> None:
            await self._run(task, event, delivery)

        run.__module__ = task.function.__module__
        run.__qualname__ = getattr(task.function, "__qualname__", task.name)
        return Subscription(task.event_class, WORKERS, run, task.settings.retry, task.settings.timeout_s)

    async def _run(self, task: Task[..., Any], event: Event, delivery: Delivery) -> None:
        """Run a task's function, and note how it ended. A failure is raised."""
        place = delivery.entry.place
        if await self._is_cancelled(delivery):
            self._commands.note(place, "cancelled", b"")
            return
        run = _Run()
        self._running[delivery.event_id] = run
        token = current.set(CurrentTask(task.name, delivery, partial(self._keep_progress, delivery)))
        try:
            returned = await task.function(**task.arguments_of(event))
        except BaseException:
            if not run.cancelled or self.session.calls.abandoned:
                raise
            self._commands.note(place, "cancelled", b"")
        else:
            run.end()
            self._commands.note(place, "succeeded", write_result(task, returned))
        finally:
            run.end()
            if self._running.get(delivery.event_id) is run:
                del self._running[delivery.event_id]
            current.reset(token)

    async def _keep_progress(self, delivery: Delivery, progress: Any) -> bool:
        return await self.session.calls.until_answered(lambda: self._commands.progress(delivery.entry, progress))

    async def _is_cancelled(self, delivery: Delivery) -> bool:
        """Whether a task is to end that has not begun. Of one that was taken over, only the server knows."""
        task_id = delivery.event_id
        if task_id in self._to_end:
            self._to_end.discard(task_id)
            return True
        if delivery.entry.deliveries == 1:
            return False
        return bool(await self.session.calls.until_answered(lambda: self._commands.queue.cancelling([task_id])))

    # Cancelling

    async def watch(self) -> None:
        """End functions that are to end, until cancelled. A hint makes it fast; the flag on the server decides."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch_hints())
            tasks.create_task(self._watch_flags())

    async def _watch_hints(self) -> None:
        watch = self._commands.queue.watch_cancels()
        try:
            while True:
                self._cancel(await self._answer(lambda: watch.next(_HINT_S)))
        finally:
            await watch.close()

    async def _watch_flags(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            held = self._held()
            self._to_end &= set(held)
            if held:
                self._cancel(await self._answer(lambda ids=held: self._commands.queue.cancelling(ids)))  # type: ignore[misc]

    def _held(self) -> list[str]:
        return [delivery.event_id for delivery in self.session.in_hand.deliveries() if delivery.event_id]

    def _cancel(self, task_ids: list[str]) -> None:
        for task_id in task_ids:
            if task_id in self._running:
                self._running[task_id].cancel()
            elif task_id in self._held():
                self._to_end.add(task_id)

    async def _answer(self, call: Callable[[], Awaitable[list[str]]]) -> list[str]:
        return (await until_answered(call, unless_denied, self.session.rng)).value


class _Run:
    """One run of a function, which may be cancelled until it has ended."""

    def __init__(self) -> None:
        self.cancelled = False
        self._task = asyncio.current_task()

    def cancel(self) -> None:
        """Cancel the function, once."""
        if self._task is not None and not self.cancelled:
            self.cancelled = True
            self._task.cancel()

    def end(self) -> None:
        """From now on, the asyncio task does other work."""
        self._task = None


def _unknown_task(queue: str, event: bytes) -> UnknownTask:
    return UnknownTask(str(from_json(event)["type"]), queue)
