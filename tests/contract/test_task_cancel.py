"""Cancelling: what waits ends at once, what runs is told to, and what has ended stays as it is."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest
import redis.asyncio as redis

import eventlib as ev
from eventlib.broker.keys import Keys
from eventlib.broker.notices import Watch
from eventlib.testing.waiting import eventually
from tests.shop import AT_ONCE, Connect, for_ever

SOON_S = 30.0


def endless(app: ev.App, **settings: Any) -> tuple[ev.Task[[int], None], list[int], list[int]]:
    """A task that runs until it is cancelled, and the numbers of those that began and those that were cancelled."""
    began, cancelled = list[int](), list[int]()

    @app.task(**settings)
    async def wait(number: int) -> None:
        began.append(number)
        try:
            await for_ever()
        except asyncio.CancelledError:
            cancelled.append(number)
            raise

    return wait, began, cancelled


async def test_a_task_is_cancelled_wherever_it_waits(connect: Connect) -> None:
    app = ev.App("shop")
    wait, began, _ = endless(app, limit=1, retry=ev.Retry(attempts=2, wait_s=60.0, jitter="none"))

    async with connect(app) as bus:
        delayed = await bus.enqueue(wait, delay_s=60.0)(1)
        running, blocked = await bus.tasks.enqueue_many([wait.call(2), wait.call(3)])
        waiting = await bus.enqueue(wait, priority="low")(4)
        assert await waiting.cancel() == "cancelled"
        async with bus.running(grace_s=0.0):
            await eventually(lambda: began == [2])
            assert (await blocked.state()).blocked_by == "wait"
            for handle in (delayed, blocked, waiting):
                assert await handle.cancel() == "cancelled"
                with pytest.raises(ev.TaskCancelled):
                    await handle.result(SOON_S)
            assert await running.cancel() == "cancelling"
            with pytest.raises(ev.TaskCancelled):
                await running.result(SOON_S)
            assert await running.cancel() == "cancelled"
        assert await bus.dead_letters("tasks.default", "workers").size() == 0


async def test_cancelling_what_has_ended_says_so(connect: Connect) -> None:
    app = ev.App("shop")

    @app.task(retry=AT_ONCE)
    async def divide(number: int) -> float:
        return 1 / number

    async with connect(app) as bus, bus.running():
        for number in (1, 0):
            handle = await bus.enqueue(divide)(number)
            await eventually(lambda task=handle: has_ended(task))  # type: ignore[misc]
            assert await handle.cancel() == "ended"
        assert await bus.tasks.handle(divide, "none").cancel() == "unknown"


async def has_ended(handle: ev.TaskHandle[float]) -> bool:
    return (await handle.state()).ended


async def test_a_cancelled_task_that_fails_while_it_cleans_up_is_cancelled_all_the_same(connect: Connect) -> None:
    app, began = ev.App("shop"), asyncio.Event()

    @app.task(retry=AT_ONCE, timeout_s=30.0)
    async def work() -> None:
        began.set()
        try:
            await for_ever()
        finally:
            raise ValueError("while cleaning up")

    @app.task()
    async def after() -> int:
        return 1

    async with connect(app) as bus, bus.running():
        handle = await bus.enqueue(work)()
        await began.wait()
        await handle.cancel()
        with pytest.raises(ev.TaskCancelled):
            await handle.result(SOON_S)
        assert await (await bus.enqueue(after)()).result(SOON_S) == 1  # the worker goes on


async def test_a_task_that_ends_in_spite_of_being_cancelled_has_its_result(connect: Connect) -> None:
    app, began = ev.App("shop"), asyncio.Event()

    @app.task()
    async def work() -> int:
        began.set()
        with suppress(asyncio.CancelledError):
            await for_ever()
        return 1

    async with connect(app) as bus, bus.running():
        handle = await bus.enqueue(work)()
        await began.wait()
        await handle.cancel()
        assert await handle.result(SOON_S) == 1


async def test_trap_34_a_cancellation_whose_hint_is_lost_is_noticed_by_its_flag(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = ev.App("shop")
    wait, began, cancelled = endless(app)
    heard = Watch.next

    async def deaf(watch: Watch, block_s: float) -> list[str]:
        ids = await heard(watch, block_s)
        return [] if watch._field == b"id" else ids

    monkeypatch.setattr(Watch, "next", deaf)
    async with connect(app) as bus, bus.running():
        handle = await bus.enqueue(wait)(1)
        await eventually(lambda: began == [1])
        await handle.cancel()
        with pytest.raises(ev.TaskCancelled):
            await handle.result(SOON_S)
        assert cancelled == [1]


async def test_trap_34_a_cancelled_task_whose_worker_died_does_not_run_again(
    connect: Connect, raw: redis.Redis, namespace: str
) -> None:
    app = ev.App("shop")
    app.queue("default", lease_s=0.3)
    wait, began, _ = endless(app)

    async with connect(app) as bus:
        handle = await bus.enqueue(wait)(1)
        async with bus.running(grace_s=0.0):
            await eventually(lambda: began == [1])
        async with bus.running(grace_s=0.0):  # the first one gave it back
            await eventually(lambda: began == [1, 1])
            [held] = await raw.xpending_range(
                Keys(namespace).group("tasks.default", "workers").retry, "workers", "-", "+", 1
            )
        keys = Keys(namespace).group("tasks.default", "workers")
        await raw.xgroup_createconsumer(keys.retry, "workers", "dead")
        commands = bus.tasks._commands("default")
        assert held
        from eventlib.broker.tasks import TaskCommands

        dead = TaskCommands(bus._broker, "default", "dead", [2], {})
        assert len((await dead.dispatch(1, None)).entries) == 1
        assert (await commands.cancel(handle.id))[0] == "cancelling"
        async with bus.running(grace_s=0.0):
            with pytest.raises(ev.TaskCancelled):
                await handle.result(SOON_S)
        assert began == [1, 1]


async def test_a_cancelled_task_that_is_given_back_or_retried_ends(connect: Connect) -> None:
    app = ev.App("shop")

    @app.task(retry=AT_ONCE)
    async def fail(number: int) -> None:
        await handles[number].cancel()
        raise ValueError("no")

    async with connect(app) as bus:
        handles = {1: await bus.enqueue(fail)(1)}
        async with bus.running():
            with pytest.raises(ev.TaskCancelled):
                await handles[1].result(SOON_S)
        state = await handles[1].state()
        assert (state.state, state.attempts) == ("cancelled", 0)
