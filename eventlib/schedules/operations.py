"""What a program and its operators do with schedules: add them, look at them, pause, resume and remove them."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, ParamSpec, cast

from uuid_utils import uuid7

from eventlib.arguments import TOLERANCE_S
from eventlib.broker.connections import Broker
from eventlib.broker.schedules import Fired, ScheduleCommands, StoredSchedule
from eventlib.declare.app import App
from eventlib.declare.tasks import QUEUE, Task
from eventlib.errors import InvalidArgument, MissingSchedule, ScheduleExists, UniqueKeyInUse
from eventlib.events.schema import valid_name
from eventlib.records import SlotRecord
from eventlib.schedules.deciding import settle
from eventlib.schedules.spec import Spec, spec_of, spec_text
from eventlib.schedules.state import Schedule, schedule_of
from eventlib.scheduling import Missed, Overlap, ScheduleRule
from eventlib.steady import steady_s

P = ParamSpec("P")

_READ_TOGETHER = 100

Answer = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


class Schedules:
    """The schedules of the App's queues. All calls wait for an answer as long as the outage policy says.

    `queue` names a queue that the App does not know, or makes a call faster.
    """

    def __init__(self, app: App, broker: Broker, answer: Answer) -> None:
        self._app = app
        self._broker = broker
        self._answer = answer
        self._by_queue: dict[str, ScheduleCommands] = {}

    def add(
        self,
        name: str,
        task: Task[P, Any],
        *,
        cron: str | None = None,
        tz: str = "UTC",
        every_s: float | None = None,
        offset_s: float = 0.0,
        missed: Missed = "once",
        overlap: Overlap = "allow",
        tolerance_s: float = TOLERANCE_S,
    ) -> Callable[P, Awaitable[Schedule]]:
        """Add a schedule while the program runs: call the result with the task's arguments. It is kept on the server.

        The first slot is the first one after now. The settings are as in `App.schedule`.

        Raises:
            InvalidArgument: a setting or an argument is wrong, or the App does not declare the task.
            ScheduleExists: the name is in use.
            BrokerError: the server did not answer or refused; after `BrokerUnavailable`, the schedule may be there.
        """
        where = f"schedule {valid_name(name, 'schedule')!r}"
        if task not in self._app.tasks.values():
            raise InvalidArgument(where, f"{task!r} is not a task of this App; declare it with @app.task")
        try:
            rule = ScheduleRule(cron, tz, every_s, offset_s, missed, overlap, tolerance_s)
        except ValueError as error:
            raise InvalidArgument(where, str(error)) from error

        async def add(*args: P.args, **kwargs: P.kwargs) -> Schedule:
            spec = Spec.of(task.call(*args, **kwargs), rule, self._app.name, declared_by=None)
            return await self._add(name, task.queue, spec)

        return add

    async def _add(self, name: str, queue: str, spec: Spec) -> Schedule:
        if name in self._app.schedules:
            raise ScheduleExists(name, self._app.name)
        for other in self._queues() - {queue}:
            if await self._read(name, other) is not None:
                raise ScheduleExists(name, "")
        commands, revision = self._commands(queue), secrets.token_hex(8)
        now_s = await self._time(commands)
        next_s = spec.rule.slots.after(now_s())
        if not await self._answer(lambda: commands.put(name, "", revision, spec_text(spec), next_s)):
            raise ScheduleExists(name, (await self.get(name, queue=queue)).declared_by or "")
        return await self.get(name, queue=queue)

    async def list(self, *, queue: str | None = None) -> tuple[Schedule, ...]:
        """All schedules, in the order of their names."""
        found = []
        for each in sorted({queue} if queue is not None else self._queues()):
            commands = self._commands(each)
            names = await self._answer(commands.names)
            for at in range(0, len(names), _READ_TOGETHER):
                page = names[at : at + _READ_TOGETHER]
                stored = await asyncio.gather(*(self._read(name, each) for name in page))
                found += [schedule_of(each, one) for one in stored if one is not None]
        return tuple(sorted(found, key=lambda schedule: schedule.name))

    async def get(self, name: str, *, queue: str | None = None) -> Schedule:
        """A schedule as it is now.

        Raises:
            MissingSchedule: there is none of this name.
        """
        where, stored = await self._find(name, queue)
        return schedule_of(where, stored)

    async def pause(self, name: str, *, queue: str | None = None) -> Schedule:
        """Let a schedule run nothing. Its slots are recorded as skipped until it is resumed; tasks that run go on.

        Raises:
            MissingSchedule: there is none of this name.
        """
        where, _ = await self._find(name, queue)
        commands, revision = self._commands(where), secrets.token_hex(8)
        if await self._answer(lambda: commands.halt(name, revision, "paused", on=True)) is None:
            raise _missing(name)
        return await self.get(name, queue=where)

    async def resume(self, name: str, *, queue: str | None = None) -> Schedule:
        """Let a paused schedule go on with the first slot after now.

        Raises:
            MissingSchedule: there is none of this name.
        """
        where, _ = await self._find(name, queue)
        commands, revision = self._commands(where), secrets.token_hex(8)
        while True:
            now_s = await self._time(commands)
            await self._answer(partial(settle, commands, name, now_s, lambda: None))
            done = await self._answer(lambda: commands.halt(name, revision, "paused", on=False))
            if done is None:
                raise _missing(name)
            if done:
                return await self.get(name, queue=where)

    async def remove(self, name: str, *, queue: str | None = None) -> None:
        """Remove a schedule with its history. Its slots that wait do not run. Tasks that are enqueued stay.

        A schedule that the App still declares comes back at the next start.

        Raises:
            MissingSchedule: there is none of this name.
        """
        where, _ = await self._find(name, queue)
        await self._answer(lambda: self._commands(where).remove(name))

    async def run_now(self, name: str, *, queue: str | None = None) -> str:
        """Enqueue the schedule's task now, beside its slots, also if it is paused. Returns the task's id.

        Raises:
            MissingSchedule: there is none of this name.
            UniqueKeyInUse: another task has the task's unique key.
        """
        where, stored = await self._find(name, queue)
        commands, spec = self._commands(where), spec_of(stored.spec)
        now_s = await self._time(commands)
        task = spec.task_as(str(uuid7()), now_s())

        async def run() -> Fired | None:
            stored = await commands.read(name)
            if stored is None:
                raise _missing(name)
            fired = await commands.run_now(stored, spec.rule.overlap, task)
            return fired if fired.done else None

        fired = None
        while fired is None:  # the schedule was changed meanwhile
            fired = await self._answer(run)
        if fired.forbidden_by:
            raise UniqueKeyInUse(task.unique, fired.forbidden_by)
        return task.id

    async def history(self, name: str, *, limit: int = 100, queue: str | None = None) -> tuple[SlotRecord, ...]:
        """What became of the newest slots, newest first. The server keeps about 1,000 records of a schedule.

        Slots that follow each other and were skipped for one reason are one record.

        Raises:
            MissingSchedule: there is none of this name.
        """
        where, _ = await self._find(name, queue)
        return tuple(await self._answer(lambda: self._commands(where).history(name, limit)))

    async def _find(self, name: str, queue: str | None) -> tuple[str, StoredSchedule]:
        for each in sorted({queue} if queue is not None else self._queues()):
            if (stored := await self._read(name, each)) is not None:
                return each, stored
        raise _missing(name)

    async def _read(self, name: str, queue: str) -> StoredSchedule | None:
        commands = self._commands(queue)
        found: StoredSchedule | None = await self._answer(lambda: commands.read(valid_name(name, "schedule")))
        return found

    def _queues(self) -> set[str]:
        return {task.queue for task in self._app.tasks.values()} | set(self._app.queues) or {QUEUE}

    def _commands(self, queue: str) -> ScheduleCommands:
        if queue not in self._by_queue:
            self._by_queue[queue] = ScheduleCommands(self._broker, valid_name(queue, "queue"))
        return self._by_queue[queue]

    async def _time(self, commands: ScheduleCommands) -> Callable[[], float]:
        """The queue's time from now on."""
        look = await self._answer(lambda: commands.look(0, None))
        told_s = steady_s()
        return lambda: cast(float, look.group_ms / 1000.0 + steady_s() - told_s)


def _missing(name: str) -> MissingSchedule:
    return MissingSchedule(f"schedule {name!r}", "there is none of this name")
