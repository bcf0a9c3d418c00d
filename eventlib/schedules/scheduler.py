"""The scheduler of one queue. Any number of programs run one each; none leads, and none waits for another.

Each looks which schedules are due, works out what becomes of their slots, and asks the server to do it. The server does
so only if these slots are not decided about yet. So several schedulers may try at once, and each may be killed.
"""

import asyncio
import logging
import random
import secrets
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress

from eventlib.broker.connections import Broker
from eventlib.broker.schedules import Look, ScheduleCommands
from eventlib.consume.session import Session
from eventlib.declare.app import App
from eventlib.declare.schedules import DeclaredSchedule
from eventlib.errors import AccessDenied, BrokerUnavailable, BusClosed, DataError, ScheduleExists
from eventlib.policy import Retry
from eventlib.schedules.deciding import settle, start_waiting
from eventlib.schedules.declaring import Declaring
from eventlib.steady import steady_s
from eventlib.tasks.workers import TaskWorker

log = logging.getLogger("eventlib")

LOOK_S = 0.5  # longest wait between two looks, as other programs may have added schedules
LOOK_WAITING_S = 0.1  # and while slots wait for tasks to end
LOOK_LIMIT = 200
_AGAIN = Retry(wait_s=0.2, wait_s_max=30.0, jitter="equal")  # after a failure that concerns one schedule
_MORE_S = 0.01
_JUMP_S = 0.05  # wait while the queue's workers put a clock right


def schedulers(app: App, broker: Broker, workers: Iterable[TaskWorker]) -> "list[Scheduler]":
    """A scheduler for the queue of each of these workers."""
    return [
        Scheduler(
            *(broker, app.name, worker.queue),
            [declared for declared in app.schedules.values() if declared.call.task.queue == worker.queue],
            worker.session,
        )
        for worker in workers
    ]


class Scheduler:
    """Decides about the slots of one queue's schedules, beside other schedulers.

    `declared` are the App's schedules of this queue. `session` is the one of this program's worker of the queue: its
    promoter notices when the server's clock jumps, and puts the group's time right.
    """

    def __init__(
        self, broker: Broker, app: str, queue: str, declared: Sequence[DeclaredSchedule], session: Session
    ) -> None:
        self._queue = queue
        self._commands = ScheduleCommands(broker, queue)
        self._clock = session.clock
        self._calls = session.calls
        self._declaring = Declaring(self._commands, app, declared, self._now_s, session.clock.expected)
        self._rng = random.Random()
        self._limit = LOOK_LIMIT
        self._at_work: set[str] = set()  # schedules that something is being done about
        self._wake = asyncio.Event()
        self._wakes_at_s = 0.0
        self._time = 0.0, 0.0  # a time of the group in seconds, and `steady_s` when it was told

    async def run(self) -> None:
        """Schedule until cancelled.

        Raises:
            AccessDenied: waiting would not help.
            ScheduleExists: a schedule that the App declares was added at run time, or by another App.
        """
        async with asyncio.TaskGroup() as tasks:
            looked, born = await self._look(), None
            while True:
                if born != looked.born:  # at the beginning, and after the server lost its data
                    born = looked.born
                    for name, work in self._declaring.works():
                        self._begin(tasks, name, work)
                for name in looked.due:
                    self._begin(tasks, name, self._decide)
                for name in looked.ready:
                    self._begin(tasks, name, self._start_waiting)
                await self._rest(looked)
                looked = await self._look()

    def _now_s(self) -> float:
        """The group's time, or a little less."""
        time_s, told_s = self._time
        return time_s + (steady_s() - told_s)

    async def _look(self) -> Look:
        while True:
            self._wake.clear()
            if self._clock.known:
                self._limit = LOOK_LIMIT + len(self._at_work)
                looked = await self._calls.until_answered(
                    lambda: self._commands.look(self._limit, self._clock.expected(), secrets.token_hex(8))
                )
                if not looked.unexpected_ms:
                    self._time = looked.group_ms / 1000.0, steady_s()
                    return looked
                await asyncio.sleep(_JUMP_S)
            else:
                await self._clock.until_known()

    async def _rest(self, looked: Look) -> None:
        wait_s = LOOK_S if looked.next_s is None else min(LOOK_S, looked.next_s)
        if len(looked.due) == self._limit:  # there may be more
            wait_s = _MORE_S
        elif looked.waiting:
            wait_s = min(wait_s, LOOK_WAITING_S)
        self._wakes_at_s = self._now_s() + wait_s
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._wake.wait()

    def _begin(self, tasks: asyncio.TaskGroup, name: str, work: Callable[[str], Awaitable[float | None]]) -> None:
        """Do something about a schedule, unless something is being done: one that hangs holds up no other one."""
        if name not in self._at_work:
            self._at_work.add(name)
            tasks.create_task(self._work(name, work))

    async def _work(self, name: str, work: Callable[[str], Awaitable[float | None]]) -> None:
        """Do it, again and again if it fails. Look again in time for the slot that follows."""
        try:
            following_s = await self._repeated(name, work)
            if following_s is not None and following_s < self._wakes_at_s:
                self._wake.set()
        finally:
            self._at_work.discard(name)

    async def _repeated(self, name: str, work: Callable[[str], Awaitable[float | None]]) -> float | None:
        failures = 0
        while True:
            try:
                return await work(name)
            except (AccessDenied, BusClosed, ScheduleExists):
                raise
            except Exception as error:  # of any kind: the other schedules go on
                failures += 1
                if failures == 1 and not isinstance(error, BrokerUnavailable):  # `Calls` tells of that
                    expected = isinstance(error, DataError)
                    log.warning("schedule %r of queue %r waits: %s", name, self._queue, error, exc_info=not expected)
            await asyncio.sleep(_AGAIN.delay_s(failures, self._rng))

    async def _decide(self, name: str) -> float | None:
        stored = await settle(self._commands, name, self._now_s, self._clock.expected)
        return None if stored is None else stored.next_s

    async def _start_waiting(self, name: str) -> float | None:
        stored = await self._commands.read(name)
        if stored is not None and stored.first_waiting_s is not None:
            await start_waiting(self._commands, stored, self._clock.expected)
        return None
