"""A pool of workers: runs one coroutine function for many items, a limited number at once, without a task for each.

Making and ending a task costs several times as much as a short handler. So a worker takes item after item. Before it
starts one, it calls another worker, which gets its turn if this one has to wait for something. A worker without an item
rests and is called first: on a quiet stream, an event then needs no new task.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context, copy_context
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_TURN_S = 0.001  # a worker whose items never wait lets the rest of the program run this often


class Workers(Generic[T]):
    """Runs `work(item)` for each item that is put in, first come first served, at most `limit` at once.

    `work` must not raise. If it does, the error goes to the owner of the tasks that `begin` makes. Each item runs in
    the context in which its worker was made: a worker ends after an item that changed a context variable.
    """

    def __init__(
        self,
        work: Callable[[T], Awaitable[None]],
        limit: int,
        begin: Callable[[Callable[[], Coroutine[Any, Any, None]]], "asyncio.Task[None]"],
    ) -> None:
        self.waiting: deque[T] = deque()
        self.busy = 0  # items that have begun and not ended
        self._work = work
        self._limit = limit
        self._begin = begin
        self._tasks: set[asyncio.Task[None]] = set()
        self._called = 0  # workers that were made or woken and have not begun
        self._resting: asyncio.Future[bool] | None = None  # the future that the one resting worker waits for
        self._calling = False  # whether a task is being made
        self._ending = False
        self._stopped = False

    def put(self, item: T) -> None:
        """Queue an item."""
        self.waiting.append(item)
        self._call()

    def stop(self) -> None:
        """Begin no other item. Items that wait stay in `waiting`."""
        self._stopped = True
        self._wake(to_work=False)

    def cancel(self) -> None:
        """Cancel the items that have begun."""
        for task in self._tasks:
            task.cancel()

    async def join(self) -> None:
        """Wait until no item runs and, unless stopped, no item waits."""
        self._ending = True
        self._wake(to_work=False)
        while self._tasks:
            await asyncio.wait(set(self._tasks))
        self._ending = False

    def _call(self) -> None:
        """Call workers for the waiting items: as many as are busy, so that items that block start in a few rounds."""
        self._calling = True
        try:
            while (
                not self._stopped
                and self._called <= self.busy
                and self._called < len(self.waiting)
                and self.busy + self._called < self._limit
            ):
                self._called += 1
                if not self._wake(to_work=True):
                    task = self._begin(self._worker)
                    self._tasks.add(task)
                    task.add_done_callback(self._ended)
        finally:
            self._calling = False

    def _wake(self, to_work: bool) -> bool:
        """Wake the resting worker. False if there is none."""
        resting, self._resting = self._resting, None
        if resting is None or resting.done():  # that worker was cancelled
            return False
        resting.set_result(to_work)
        return True

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        self._call()

    async def _worker(self) -> None:
        if self._calling:  # an eager task begins inside of `_call`: items would run out of order, and recurse
            await asyncio.sleep(0)
        self._called -= 1
        clean = copy_context()
        while await self._turns(clean) and await self._rest():
            pass

    async def _turns(self, clean: Context) -> bool:
        """Work as long as there is work. False if an item changed the context."""
        now_s = asyncio.get_running_loop().time
        turn_ends = now_s() + _TURN_S
        while self.waiting and self.busy < self._limit and not self._stopped:
            item = self.waiting.popleft()
            self.busy += 1
            if self._called <= self.busy and self.waiting:
                self._call()
            try:
                await self._work(item)
            finally:
                self.busy -= 1
            if _differs(copy_context(), clean):
                return False
            if now_s() > turn_ends:
                await asyncio.sleep(0)
                turn_ends = now_s() + _TURN_S
        return True

    async def _rest(self) -> bool:
        """Rest until there is work. False at once if another worker rests already, or if all workers have to end."""
        if self._resting is not None or self._ending or self._stopped:
            return False
        self._resting = resting = asyncio.get_running_loop().create_future()
        try:
            called: bool = await resting
            return called
        finally:
            if self._resting is resting:  # cancelled: a handler may keep its task and cancel it later
                self._resting = None
            elif not resting.cancelled() and resting.result():
                self._called -= 1


_UNSET = object()


def _differs(one: Context, other: Context) -> bool:
    """Whether two contexts differ, by the identity of their values: comparing the values could run any code."""
    return len(one) != len(other) or any(other.get(name, _UNSET) is not value for name, value in one.items())
