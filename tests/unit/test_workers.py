"""Workers run items in order, up to a limit at once, each item in a context of its own."""

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


async def test_items_are_started_in_order(workers: Made, made: list[asyncio.Task[None]]) -> None:
    seen: list[int] = []

    async def work(item: int) -> None:
        seen.append(item)

    pool = workers(work, 8)
    for item in range(1000):
        pool.put(item)
    await pool.join()
    assert seen == list(range(1000))
    assert len(made) < 100  # items run concurrently


@pytest.mark.parametrize("limit", [1, 2, 7, 64])
async def test_as_many_items_run_at_once_as_the_limit_allows(workers: Made, limit: int) -> None:
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


async def test_an_item_that_waits_does_not_block_the_others(workers: Made) -> None:
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


async def test_a_context_variable_set_by_one_item_is_not_seen_by_the_next(workers: Made) -> None:
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


async def test_items_that_never_wait_let_other_tasks_run(workers: Made) -> None:
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


async def test_stopped_workers_finish_started_items_and_start_no_more(workers: Made) -> None:
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


async def test_cancelling_cancels_started_items(workers: Made) -> None:
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


async def test_after_a_worker_failed_the_others_run_the_remaining_items(
    workers: Made, made: list[asyncio.Task[None]]
) -> None:
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


async def test_a_worker_that_yields_to_other_tasks_counts_towards_the_limit(workers: Made) -> None:
    """Meanwhile another worker may start. Together they may not be more than the limit."""
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


async def test_one_worker_runs_all_items_that_come_one_by_one(workers: Made, made: list[asyncio.Task[None]]) -> None:
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
    """A handler can keep the task that it ran in, and cancel it long after it has returned."""
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


async def test_resting_workers_end_when_they_are_stopped(workers: Made, made: list[asyncio.Task[None]]) -> None:
    async def work(item: int) -> None:
        await asyncio.sleep(0)

    pool = workers(work, 4)
    for item in range(9):
        pool.put(item)
    await eventually(lambda: pool.busy == 0 and not pool.waiting)
    pool.stop()
    await asyncio.wait_for(pool.join(), 5.0)
    assert all(task.done() for task in made)
