"""Workers run what is put in, so many at once, in order, each item with a clean context."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar

import pytest

from eventlib.consume.workers import Workers
from eventlib.testing.waiting import eventually

Made = Callable[[Callable[[int], Awaitable[None]], int], Workers[int]]


@pytest.fixture
def made() -> list[asyncio.Task[None]]:
    """Every task that the workers under test were."""
    return []


@pytest.fixture
def workers(made: list[asyncio.Task[None]]) -> Made:
    def make(work: Callable[[int], Awaitable[None]], limit: int) -> Workers[int]:
        def begin(worker: Callable[[], Coroutine[None, None, None]]) -> asyncio.Task[None]:
            made.append(asyncio.create_task(worker()))
            return made[-1]

        return Workers(work, limit, begin)

    return make


async def test_all_are_worked_on_in_order(workers: Made, made: list[asyncio.Task[None]]) -> None:
    seen: list[int] = []

    async def work(item: int) -> None:
        seen.append(item)

    pool = workers(work, 8)
    for item in range(1000):
        pool.put(item)
    await pool.join()
    assert seen == list(range(1000))
    assert len(made) < 100  # the point of it all


@pytest.mark.parametrize("limit", [1, 2, 7, 64])
async def test_as_many_run_at_once_as_may_and_no_more(workers: Made, limit: int) -> None:
    begun, release = list[int](), asyncio.Event()

    async def work(item: int) -> None:
        begun.append(item)
        await release.wait()

    pool = workers(work, limit)
    for item in range(100):
        pool.put(item)
    await eventually(lambda: len(begun) == min(limit, 100))
    for _ in range(50):
        await asyncio.sleep(0)
    assert (len(begun), pool.busy) == (min(limit, 100), min(limit, 100))
    release.set()
    await pool.join()
    assert begun == list(range(100))


async def test_an_item_that_waits_holds_up_no_other(workers: Made) -> None:
    done, release = list[int](), asyncio.Event()

    async def work(item: int) -> None:
        if item == 0:
            await release.wait()
        done.append(item)

    pool = workers(work, 2)
    for item in range(50):
        pool.put(item)
    await eventually(lambda: done == list(range(1, 50)))
    release.set()
    await pool.join()
    assert done[-1] == 0


async def test_what_one_leaves_in_a_context_variable_the_next_one_does_not_find(workers: Made) -> None:
    mark: ContextVar[int] = ContextVar("mark")
    found: list[int | None] = []

    async def work(item: int) -> None:
        found.append(mark.get(None))
        if item % 2:
            mark.set(item)

    pool = workers(work, 3)
    for item in range(20):
        pool.put(item)
    await pool.join()
    assert found == [None] * 20


async def test_items_that_never_wait_let_others_run(workers: Made) -> None:
    others = 0

    async def work(item: int) -> None:
        until = asyncio.get_running_loop().time() + 0.001
        while asyncio.get_running_loop().time() < until:
            pass

    async def other() -> None:
        nonlocal others
        while True:
            others += 1
            await asyncio.sleep(0)

    pool = workers(work, 1)
    for item in range(50):
        pool.put(item)
    running = asyncio.create_task(other())
    await pool.join()
    running.cancel()
    assert others >= 5


async def test_stopped_workers_finish_what_has_begun_and_begin_nothing(workers: Made) -> None:
    begun, release = list[int](), asyncio.Event()

    async def work(item: int) -> None:
        begun.append(item)
        await release.wait()

    pool = workers(work, 2)
    for item in range(5):
        pool.put(item)
    await eventually(lambda: len(begun) == 2)
    pool.stop()
    pool.put(5)
    release.set()
    await pool.join()
    assert (begun, list(pool.waiting)) == ([0, 1], [2, 3, 4, 5])


async def test_cancelling_reaches_what_has_begun(workers: Made) -> None:
    begun, cancelled = list[int](), list[int]()

    async def work(item: int) -> None:
        begun.append(item)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(item)
            raise

    pool = workers(work, 2)
    for item in range(5):
        pool.put(item)
    await eventually(lambda: len(begun) == 2)
    pool.stop()
    pool.cancel()
    await pool.join()
    assert sorted(cancelled) == [0, 1] and list(pool.waiting) == [2, 3, 4]


async def test_a_worker_that_fails_leaves_the_rest_to_others(workers: Made, made: list[asyncio.Task[None]]) -> None:
    done: list[int] = []

    async def work(item: int) -> None:
        if item == 1:
            raise ValueError("no")
        done.append(item)

    pool = workers(work, 1)
    for item in range(4):
        pool.put(item)
    await pool.join()
    assert done == [0, 2, 3] and pool.busy == 0
    assert [str(task.exception()) for task in made if task.exception()] == ["no"]


async def test_a_worker_that_lets_others_run_keeps_its_place(workers: Made) -> None:
    """While it does, another one may be called: together they may still not be more than the limit."""
    begun, release = list[int](), asyncio.Event()

    async def work(item: int) -> None:
        begun.append(item)
        if item:
            await release.wait()
            return
        loop = asyncio.get_running_loop()
        for later in (1, 2, 3):
            loop.call_soon(pool.put, later)
        until = loop.time() + 0.005
        while loop.time() < until:
            pass

    pool = workers(work, 1)
    pool.put(0)
    await eventually(lambda: len(begun) > 1)
    for _ in range(50):
        await asyncio.sleep(0)
    assert (begun, pool.busy) == ([0, 1], 1)
    release.set()
    await pool.join()
    assert begun == [0, 1, 2, 3]


class Incomparable:
    """As a NumPy array: comparing it gives no truth."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("ambiguous")

    __hash__ = object.__hash__


async def test_values_in_context_variables_are_never_compared(workers: Made) -> None:
    mark: ContextVar[Incomparable] = ContextVar("mark")
    mark.set(Incomparable())
    done: list[int] = []

    async def work(item: int) -> None:
        mark.set(Incomparable())
        done.append(item)

    pool = workers(work, 2)
    for item in range(5):
        pool.put(item)
    await pool.join()
    assert done == list(range(5))


async def test_on_a_quiet_stream_one_worker_does_it_all(workers: Made, made: list[asyncio.Task[None]]) -> None:
    seen: list[int] = []

    async def work(item: int) -> None:
        await asyncio.sleep(0)
        seen.append(item)

    pool = workers(work, 8)
    for item in range(20):
        pool.put(item)
        await eventually(lambda: len(seen) == item + 1 and pool._resting is not None)  # noqa: B023 - awaited in the loop
    assert len(made) == 1
    await pool.join()
    assert all(task.done() for task in made)


@pytest.mark.parametrize("called", [False, True])
async def test_a_resting_worker_that_is_cancelled_is_replaced(
    workers: Made, made: list[asyncio.Task[None]], called: bool
) -> None:
    """A handler can keep the task it ran in, and cancel it when it has long ended."""
    seen: list[int] = []

    async def work(item: int) -> None:
        seen.append(item)

    pool = workers(work, 1)
    pool.put(0)
    await eventually(lambda: seen == [0] and pool._resting is not None)
    if called:
        pool.put(1)
    made[0].cancel()
    if not called:
        await asyncio.wait({made[0]})
        pool.put(1)
    await eventually(lambda: seen == [0, 1])
    pool.put(2)
    await eventually(lambda: seen == [0, 1, 2])
    await pool.join()


async def test_whoever_rests_goes_when_told_to_stop(workers: Made, made: list[asyncio.Task[None]]) -> None:
    async def work(item: int) -> None:
        await asyncio.sleep(0)

    pool = workers(work, 4)
    for item in range(9):
        pool.put(item)
    await eventually(lambda: pool.busy == 0 and not pool.waiting)
    pool.stop()
    await asyncio.wait_for(pool.join(), 5.0)
    assert all(task.done() for task in made)
