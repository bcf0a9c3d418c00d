"""Workers that are killed: every task ends, and no unique key and no slot is held for longer than a lease."""

import os

import redis.asyncio as redis

from eventlib.broker.keys import Keys
from eventlib.testing.waiting import eventually
from tests.live.conftest import ConsumerProcesses
from tests.live.task_worker import app_of
from tests.shop import Connect


async def test_killed_workers_take_no_task_no_slot_and_no_unique_key_with_them(
    connect: Connect, raw: redis.Redis, url: str, namespace: str, processes: ConsumerProcesses
) -> None:
    app, work = app_of(os.open(os.devnull, os.O_WRONLY), 0.0)
    async with connect(app) as bus:
        handles = await bus.tasks.enqueue_many([work.call(number) for number in range(60)])
        for _ in range(3):
            begun = len(processes.noted("begin"))
            victim = processes.start(url, namespace, work_s=0.02, program="task_worker")
            await eventually(lambda before=begun: len(processes.noted("begin")) > before + 6)  # type: ignore[misc]
            victim.kill()
            victim.wait()
        assert len(set(processes.noted("done"))) < 60
        processes.start(url, namespace, work_s=0.001, program="task_worker")
        assert [await handle.result(15.0) for handle in handles] == list(range(60))
        health = await bus.queue_health()
        assert (health.running, health.blocked, health.slots, health.dead) == (0, 0, {}, 0)
        keys = Keys(namespace).queue("tasks.default")
        assert not await raw.exists(keys.unique, keys.slots, keys.blocked, keys.bodies, keys.cancelling)
