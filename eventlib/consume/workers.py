"""A pool of workers: runs one coroutine function for many items, so many at once, without a task for each.

Making and ending a task costs several times what a short handler does. A worker goes on with the next item as long as
there is one, and calls another worker before it starts, who gets his turn should this one have to wait for something.
One that has nothing more to do rests, and is called first: on a quiet stream an event then needs no new task at all.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context, copy_context
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_TURN_S = 0.001  # a worker whose items never wait lets the rest of the program run this often


class Workers(Generic[T]):
    """Runs `work(item)` for what is put in, first come first served, `limit` at once.

    `work` must not raise; what it raises all the same goes to whoever owns the tasks that `begin` makes. Each
    item has the context that the worker was made in: one whose item left something in a context variable retires.
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
        self._resting: asyncio.Future[bool] | None = None  # what one worker waits for
        self._ending = False
        self._stopped = False

    def put(self, item: T) -> None:
        """Work on it when its turn comes."""
        self.waiting.append(item)
        self._call()

    def stop(self) -> None:
        """Begin no other item: what waits stays in `waiting`."""
        self._stopped = True
        self._wake(to_work=False)

    def cancel(self) -> None:
        """Cancel what has begun."""
        for task in self._tasks:
            task.cancel()

    async def join(self) -> None:
        """Wait until nothing is being worked on and, unless stopped, nothing waits."""
        self._ending = True
        self._wake(to_work=False)
        while self._tasks:
            await asyncio.wait(set(self._tasks))
        self._ending = False

    def _call(self) -> None:
        """Make sure that somebody comes: as many as are busy, so that items that all wait start in a few rounds."""
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

    def _wake(self, to_work: bool) -> bool:
        """Whether there was one who rests."""
        resting, self._resting = self._resting, None
        if resting is None or resting.done():  # that one was cancelled
            return False
        resting.set_result(to_work)
        return True

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        self._call()

    async def _worker(self) -> None:
        self._called -= 1
        clean = copy_context()
        while await self._turns(clean) and await self._rest():
            pass

    async def _turns(self, clean: Context) -> bool:
        """Work as long as there is work; False where an item left something in the context."""
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
        """Until there is work; False at once where another one rests already, or all are to end."""
        if self._resting is not None or self._ending or self._stopped:
            return False
        self._resting = resting = asyncio.get_running_loop().create_future()
        try:
            called: bool = await resting
            return called
        finally:
            if self._resting is resting:  # cancelled: a handler may have kept its task, to cancel it later
                self._resting = None
            elif not resting.cancelled() and resting.result():
                self._called -= 1


_UNSET = object()


def _differs(one: Context, other: Context) -> bool:
    """By identity: the values are anybody's, and comparing them may do anything."""
    return len(one) != len(other) or any(other.get(name, _UNSET) is not value for name, value in one.items())
