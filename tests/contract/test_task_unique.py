"""A unique key belongs to a task, not to a worker, and is free as soon as the task does not need it any more."""

import asyncio
from contextlib import nullcontext

import pytest
import redis.asyncio as redis

import eventlib as ev
from eventlib.broker.keys import Keys
from eventlib.testing.waiting import eventually
from tests.shop import AT_ONCE, Connect, for_ever

SOON_S = 30.0


async def test_a_key_is_in_use_until_its_task_has_ended_however_it_ends(connect: Connect) -> None:
    app = ev.App("shop")

    @app.task(unique_by=["order"], retry=AT_ONCE)
    async def ship(order: int, how: str) -> None:
        if how == "fail":
            raise ValueError("no")
        if how == "wait":
            await for_ever()

    async with connect(app) as bus:
        for how in ("succeed", "fail", "wait", "cancel before"):
            handle = await bus.enqueue(ship)(1, how)
            with pytest.raises(ev.UniqueKeyInUse) as in_use:
                await bus.enqueue(ship)(1, "other")
            assert (in_use.value.key, in_use.value.task_id)[1] == handle.id
            await (await bus.enqueue(ship)(2, how)).cancel()  # another order has another key
            if how == "cancel before":
                await handle.cancel()
                continue
            async with bus.running():
                if how == "wait":
                    await eventually(lambda task=handle: runs(task))  # type: ignore[misc]
                    with pytest.raises(ev.UniqueKeyInUse):
                        await bus.enqueue(ship)(1, "other")
                    await handle.cancel()
                with pytest.raises(ev.EventlibError) if how != "succeed" else nullcontext():
                    await handle.result(SOON_S)
        assert (await (await bus.enqueue(ship)(1, "succeed")).state()).state == "waiting"


async def runs(handle: ev.TaskHandle[None]) -> bool:
    return (await handle.state()).state == "running"


async def test_a_key_may_be_in_use_only_while_its_task_waits(connect: Connect) -> None:
    app, running, go_on = ev.App("shop"), asyncio.Event(), asyncio.Event()

    @app.task(unique_by=["order"], unique="queued")
    async def ship(order: int) -> None:
        running.set()
        await go_on.wait()

    async with connect(app) as bus:
        await bus.enqueue(ship)(1)
        with pytest.raises(ev.UniqueKeyInUse):
            await bus.enqueue(ship, delay_s=60.0)(1)
        async with bus.running():
            await running.wait()
            second = await bus.enqueue(ship)(1)
            go_on.set()
            await second.result(SOON_S)


async def test_a_key_may_be_in_use_for_a_time(connect: Connect) -> None:
    app = ev.App("shop")

    @app.task(unique_by=["order"], unique_for_s=3600.0)
    async def ship(order: int) -> None: ...

    @app.task(unique_by=["order"], unique_for_s=0.05)
    async def call(order: int) -> None: ...

    async with connect(app) as bus, bus.running():
        await (await bus.enqueue(ship)(1)).result(SOON_S)
        with pytest.raises(ev.UniqueKeyInUse):
            await bus.enqueue(ship)(1)

        async def free_again() -> bool:
            try:
                await bus.enqueue(call)(1)
            except ev.UniqueKeyInUse:
                return False
            return True

        assert await free_again()
        await eventually(free_again)


async def test_a_call_with_one_key_twice_enqueues_nothing(connect: Connect) -> None:
    app = ev.App("shop")

    @app.task(unique_by=["order"])
    async def ship(order: int, part: int) -> None: ...

    async with connect(app) as bus:
        with pytest.raises(ev.UniqueKeyInUse):
            await bus.tasks.enqueue_many([ship.call(1, 1), ship.call(2, 1), ship.call(1, 2)])
        assert sum((await bus.queue_health()).waiting.values()) == 0


async def test_trap_33_a_key_whose_task_is_gone_is_free(connect: Connect, raw: redis.Redis, namespace: str) -> None:
    app, running = ev.App("shop"), asyncio.Event()
    keys = Keys(namespace)

    @app.task(unique_by=["order"])
    async def ship(order: int) -> None:
        running.set()
        await for_ever()

    async with connect(app) as bus:
        handle = await bus.enqueue(ship)(1)
        await raw.hdel(keys.queue("tasks.default").records, handle.id)
        await bus.enqueue(ship)(1)
        async with bus.running(grace_s=0.0):
            await running.wait()
            with pytest.raises(ev.UniqueKeyInUse):
                await bus.enqueue(ship)(1)
            await raw.xtrim(keys.group("tasks.default", "workers").retry, maxlen=0, approximate=False)
            assert (await bus.enqueue(ship)(1)).id
