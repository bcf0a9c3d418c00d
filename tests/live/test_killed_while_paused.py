"""Consumers that are killed and started while their group is paused: nothing begins, and nothing is lost."""

import redis.asyncio as redis

import eventlib as ev
from eventlib.testing.waiting import eventually
from tests.live.conftest import WORKS_S, ConsumerProcesses
from tests.shop import Connect, nothing_left, orders


async def nothing_is_read(raw: redis.Redis) -> bool:
    """Whether no consumer waits in a read any more."""
    return int((await raw.info("clients"))["blocked_clients"]) == 0


async def scripts_run(raw: redis.Redis) -> int:
    return int((await raw.info("commandstats"))["cmdstat_evalsha"]["calls"])


async def test_kills_and_starts_while_a_group_is_paused_lose_nothing_and_begin_nothing(
    connect: Connect, raw: redis.Redis, url: str, namespace: str, processes: ConsumerProcesses
) -> None:
    async with connect(ev.App("shop")) as bus:
        victim, survivor = (processes.start(url, namespace, work_s=0.1) for _ in range(2))
        await bus.publish_many(orders(*range(100)))
        await eventually(lambda: len(processes.noted("done")) > 4, WORKS_S)
        await bus.pause("billing", stream="orders")
        victim.kill()  # with entries in hand, which wait until someone may take them over
        victim.wait()
        await bus.publish_many(orders(*range(100, 120)))
        await eventually(lambda: nothing_is_read(raw))
        survivor.terminate()  # it finishes what it holds
        assert survivor.wait() == 0
        begun, before = processes.noted("begin"), await scripts_run(raw)
        newcomer = processes.start(url, namespace, work_s=0.0)
        await eventually(lambda: more_scripts(raw, before + 5), WORKS_S)  # it has joined, and looked again
        assert processes.noted("begin") == begun and len(set(begun)) < 120
        newcomer.kill()
        newcomer.wait()
        processes.start(url, namespace, work_s=0.0)
        await bus.resume("billing", stream="orders")
        await eventually(lambda: set(processes.noted("done")) == set(range(120)), WORKS_S)
        await eventually(lambda: nothing_left(bus))
        assert await bus.dead_letters("orders", "billing").size() == 0


async def more_scripts(raw: redis.Redis, than: int) -> bool:
    return await scripts_run(raw) > than
