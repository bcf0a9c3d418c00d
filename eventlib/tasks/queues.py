"""What a program does with tasks: enqueue them, look at them, wait for them, cancel them."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Generic, ParamSpec, TypeVar

from eventlib import measuring, tracing
from eventlib.arguments import called_as, is_number
from eventlib.broker.connections import Broker
from eventlib.broker.publishing import BATCH_BYTES, BATCH_LIMIT
from eventlib.broker.tasks import QueueCommands, TaskRecord
from eventlib.counts import EnqueueCounts
from eventlib.declare.app import App
from eventlib.declare.tasks import QueueSettings, Task, TaskCall
from eventlib.errors import (
    BusClosed,
    InvalidArgument,
    MissingQueue,
    MissingTask,
    TaskCancelled,
    TaskFailed,
    TaskWaitTimeout,
    UniqueKeyInUse,
    shown,
)
from eventlib.events.schema import valid_name
from eventlib.notices import Notices
from eventlib.patience import Patience
from eventlib.queueing import PRIORITIES, Priority
from eventlib.records import EnqueuedTask, QueueHealth, queue_stream
from eventlib.tasks.results import read_result
from eventlib.tasks.state import ENDED, Cancelled, State, TaskState, state_of
from eventlib.tasks.writing import written_task

P = ParamSpec("P")
R = TypeVar("R")

_PAGE = 500
_DELAY_S_MAX = 100 * 366 * 86_400.0


class TaskHandle(Generic[R]):
    """One task that was enqueued. `id` names it in other programs too: see `TaskQueues.handle`."""

    def __init__(self, queues: "TaskQueues", task: Task[..., R], id_: str) -> None:
        self.id = id_
        self.task = task
        self._queues = queues

    def __repr__(self) -> str:
        return f"TaskHandle({self.task.name!r}, {self.id!r})"

    async def result(self, timeout_s: float | None = None) -> R:
        """Wait for the task to end, and return what it returned. Without `timeout_s`, the wait may be endless.

        Raises:
            TaskFailed: it was given up.
            TaskCancelled: it was cancelled.
            TaskWaitTimeout: it had not ended in time.
            MissingTask: its result was kept for long enough and is forgotten.
            DecodeError: it returned something else than this program declares.
        """
        return await self._queues.result(self.task, self.id, timeout_s)

    async def state(self) -> TaskState:
        """The task as it is now.

        Raises:
            MissingTask: it is forgotten.
        """
        return await self._queues.state(self.task.queue, self.id)

    async def cancel(self) -> Cancelled:
        """Cancel the task, and say what came of it. Cancelling again is harmless.

        `cancelled`: it will not run, or not again. `cancelling`: it runs; its function gets a CancelledError within
        about a second, and its end is no failure. `ended`: it had ended before. `unknown`: it is forgotten.
        """
        return await self._queues.cancel(self.task.queue, self.id)


class TaskQueues:
    """The task queues of a bus. Each call waits for an answer as long as the outage policy says; `Spool` does not hold
    tasks, so it is as `Wait` with its 30 s.
    """

    def __init__(self, app: App, broker: Broker, patience: Patience) -> None:
        self._app = app
        self._broker = broker
        self._at = f"at {broker.where}, namespace {broker.keys.namespace}"
        self._answer = patience
        self._counts: dict[str, EnqueueCounts] = {}
        self._notices: dict[str, Notices] = {}
        self._closed = False

    @called_as("await bus.tasks.enqueue(task, delay_s=60.0)(arguments)")
    def enqueue(
        self,
        task: Task[P, R],
        *,
        delay_s: float | None = None,
        at: datetime | None = None,
        priority: Priority | None = None,
        id: str | None = None,
    ) -> Callable[P, Awaitable[TaskHandle[R]]]:
        """See `Bus.enqueue`."""
        declared = self._declared(task)
        enqueue_many = partial(self.enqueue_many, delay_s=delay_s, at=at, priority=priority, ids=id and [id])

        async def enqueue(*args: P.args, **kwargs: P.kwargs) -> TaskHandle[R]:
            [handle] = await enqueue_many([declared.call(*args, **kwargs)])
            return handle

        return _Enqueueing(enqueue)

    @called_as("await bus.tasks.enqueue_many([task.call(arguments), ...])")
    async def enqueue_many(
        self,
        calls: Sequence[TaskCall[R]],
        *,
        delay_s: float | None = None,
        at: datetime | None = None,
        priority: Priority | None = None,
        ids: Sequence[str] | None = None,
    ) -> list[TaskHandle[R]]:
        """Enqueue tasks, made by `Task.call`, as `Bus.enqueue` does. Up to 500 of one queue, or 4 MiB, go together.

        Those that go together are all enqueued, or none. Larger calls go in parts, in order, and no part follows one
        that fails. Repeating the call with the same `ids` enqueues each task once.

        Raises what `Bus.enqueue` raises.
        """
        due = due_text(delay_s, at)
        if priority is not None and priority not in PRIORITIES:
            raise InvalidArgument("enqueue", f"priority={priority!r}; it is one of {', '.join(PRIORITIES)}")
        for name, given in (("calls", calls), ("ids", ids)):  # a text is a sequence too, of its letters
            if given is not None and (isinstance(given, str) or not isinstance(given, Sequence)):
                raise InvalidArgument("enqueue_many", f"{name}={shown(given)[:200]}; give a list")
        if ids is not None and len(ids) != len(calls):
            raise InvalidArgument("enqueue_many", f"{len(ids)} ids for {len(calls)} tasks; give one for each")
        if tracing.active is None or not calls:
            return await self._enqueue_many(calls, due, priority, ids)
        whatever: Sequence[object] = calls  # of any type, where no checker looked
        queues = {queue_stream(call.task.queue) for call in whatever if isinstance(call, TaskCall)}
        queue = queues.pop() if len(queues) == 1 else None
        with tracing.active.writing(queue, len(calls), tracing.NONE) as sending:
            handles = await self._enqueue_many(calls, due, priority, ids)
        sending.end()
        return handles

    async def _enqueue_many(
        self, calls: Sequence[TaskCall[R]], due: str, priority: Priority | None, ids: Sequence[str] | None
    ) -> list[TaskHandle[R]]:
        handles: list[TaskHandle[R]] = []
        parts: dict[str, list[EnqueuedTask]] = {}
        for index, call in enumerate(calls):
            if not isinstance(call, TaskCall):
                raise InvalidArgument(
                    "enqueue_many", f"{call!r} is not a call of a task; make it with `task.call(...)`"
                )
            task = self._declared(call.task)
            written = written_task(call, self._app.name, ids[index] if ids else None, due, priority)
            parts.setdefault(task.queue, []).append(written)
            handles.append(TaskHandle(self, task, written.id))
        for queue, tasks in parts.items():
            for part in _sliced(tasks):
                await self._enqueue(queue, part)
        return handles

    async def _enqueue(self, queue: str, tasks: Sequence[EnqueuedTask]) -> None:
        commands, counts = self._commands(queue), self._counts.setdefault(queue, EnqueueCounts())
        begun_s, failed = time.perf_counter(), None
        try:
            if (in_use := await self._answer(lambda: commands.enqueue(tasks))) is not None:
                raise UniqueKeyInUse(in_use.task.unique, in_use.holder)
            counts.enqueued += len(tasks)
        except Exception as error:
            failed, counts.failed = error, counts.failed + len(tasks)
            raise
        finally:
            if measuring.active is not None:
                measuring.active.asked("publish", queue_stream(queue), "", time.perf_counter() - begun_s, failed)

    def counts(self) -> dict[str, EnqueueCounts]:
        """What became of the tasks that this bus enqueued, by queue. What a schedule enqueues is not counted."""
        return dict(self._counts)

    def handle(self, task: Task[..., R], id_: str) -> TaskHandle[R]:
        """The handle of a task that was enqueued before, perhaps by another program.

        Raises:
            InvalidArgument: the App does not declare the task.
        """
        return TaskHandle(self, self._declared(task), id_)

    async def state(self, queue: str, task_id: str) -> TaskState:
        """See `TaskHandle.state`."""
        commands = self._commands(queue)
        found = await self._answer(lambda: commands.look(task_id))
        if found is None:
            raise self._missing(queue, task_id)
        return state_of(task_id, found)

    async def cancel(self, queue: str, task_id: str) -> Cancelled:
        """See `TaskHandle.cancel`."""
        commands = self._commands(queue)
        state, _ = await self._answer(lambda: commands.cancel(task_id))
        if not state:
            return "unknown"
        if state == "cancelling":
            return "cancelling"
        return "cancelled" if state == "cancelled" else "ended"

    async def check(self, queue: str) -> None:
        """Make sure that the name is right: a misspelt queue looks empty.

        Raises:
            MissingQueue: no task was enqueued to it, it has no schedule, and no worker of it has run.
        """
        if not await self._answer(self._commands(queue).exists):
            problem = "there is none of this name: it never had a task, a schedule or a worker"
            raise MissingQueue(f"queue {queue!r} {self._at}", problem)

    async def health(self, queue: str) -> QueueHealth:
        """See `Bus.queue_health`."""
        commands = self._commands(queue)
        lease_s = self._app.queues.get(queue, QueueSettings()).group.lease.duration_s
        return await self._answer(lambda: commands.health(lease_s))

    async def find(
        self, queue: str, *, state: State | None = None, name: str | None = None, count: int = 100
    ) -> list[TaskState]:
        """Up to `count` tasks of the queue that are known, in no order. This goes through all that are known."""
        commands, cursor, found = self._commands(queue), 0, list[TaskState]()
        while True:
            cursor, page = await self._answer(lambda at=cursor: commands.page(at, _PAGE))  # type: ignore[misc]
            for task_id, record in page:
                if state in (None, record["state"]) and name in (None, record["name"]):
                    found.append(state_of(task_id, TaskRecord(record, None, b"", "")))
            if not cursor or len(found) >= count:
                return found[:count]

    async def run_now(self, queue: str, task_id: str) -> TaskState:
        """Let a delayed task start as soon as a worker is free. Returns its state.

        Raises:
            MissingTask: it is forgotten.
        """
        commands = self._commands(queue)
        await self._answer(lambda: commands.run_now(task_id))
        return await self.state(queue, task_id)

    async def result(self, task: Task[..., R], task_id: str, timeout_s: float | None) -> R:
        """See `TaskHandle.result`."""
        if timeout_s is not None and (not is_number(timeout_s) or math.isnan(timeout_s)):
            raise InvalidArgument("result", f"timeout_s={shown(timeout_s)}; it must be seconds, or None")
        commands, found = self._commands(task.queue), list[Any]()

        async def ended() -> bool:
            look = await self._answer(lambda: commands.look(task_id, with_result=True))
            if look is None:
                raise self._missing(task.queue, task_id)
            found[:] = [look]
            return look.record["state"] in ENDED

        if task.queue not in self._notices:
            self._notices[task.queue] = Notices(commands.watch_finished)
        try:
            async with asyncio.timeout(None if timeout_s == math.inf else timeout_s) as limit:
                await self._notices[task.queue].wait_until(ended, task_id)
        except TimeoutError:
            if not limit.expired():
                raise
            raise TaskWaitTimeout(task_id, timeout_s or 0.0) from None
        state = state_of(task_id, found[0])
        if state.state == "failed":
            raise TaskFailed(task_id, state.reason, state.error, state.dead_letter_id)
        if state.state == "cancelled":
            raise TaskCancelled(task_id)
        result: R = read_result(task, found[0].result)
        return result

    async def aclose(self) -> None:
        """End all waits for results."""
        self._closed = True
        for notices in self._notices.values():
            await notices.close()

    def _missing(self, queue: str, task_id: str) -> MissingTask:
        problem = f"it knows no task {task_id}; it ended and is no longer kept, or was never enqueued there"
        return MissingTask(f"queue {queue!r} {self._at}", problem)

    def _declared(self, task: Task[P, R]) -> Task[P, R]:
        if not isinstance(task, Task):
            raise InvalidArgument("enqueue", f"{task!r} is not a task; declare it with @app.task")
        if self._app.tasks.get(task.name) is not task:
            raise InvalidArgument("enqueue", f"App {self._app.name!r} declares no task {task.name!r}, or another one")
        return task

    def _commands(self, queue: str) -> QueueCommands:
        if self._closed:
            raise BusClosed
        return QueueCommands(self._broker, valid_name(queue, "queue"))


class _Enqueueing(Generic[P, R]):
    """What `enqueue` returns: it is called with the task's arguments. Awaited as it is, it says so."""

    def __init__(self, enqueue: Callable[P, Awaitable[TaskHandle[R]]]) -> None:
        self._enqueue = enqueue

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Awaitable[TaskHandle[R]]:
        return self._enqueue(*args, **kwargs)

    def __await__(self) -> Iterator[None]:
        raise InvalidArgument("enqueue", "nothing was enqueued; call it as `await bus.enqueue(task)(arguments)`")


def _sliced(tasks: Sequence[EnqueuedTask]) -> list[list[EnqueuedTask]]:
    slices: list[list[EnqueuedTask]] = [[]]
    size_bytes = 0
    for task in tasks:
        if slices[-1] and (len(slices[-1]) == BATCH_LIMIT or size_bytes + len(task.event) > BATCH_BYTES):
            slices.append([])
            size_bytes = 0
        slices[-1].append(task)
        size_bytes += len(task.event)
    return slices


def due_text(delay_s: float | None, at: object) -> str:
    """When a task may start, as the scripts take it.

    A time that has passed means now. So does a delay of zero.

    Raises:
        InvalidArgument: both are given, the delay is negative or over a hundred years, or the time has no zone.
    """
    if delay_s is not None and at is not None:
        raise InvalidArgument("enqueue", "give either delay_s= or at=")
    if delay_s is not None:
        if not (is_number(delay_s) and 0.0 <= delay_s <= _DELAY_S_MAX):
            raise InvalidArgument("enqueue", f"delay_s={shown(delay_s)}; it must be seconds, zero or more")
        return f"+{round(delay_s * 1000.0)}" if delay_s else ""
    if at is None:
        return ""
    if not isinstance(at, datetime) or at.utcoffset() is None:
        raise InvalidArgument("enqueue", f"at={at!r}; give a datetime with its zone, such as datetime.now(UTC)")
    return f"={round(at.timestamp() * 1000.0)}"
