"""Everything also runs on a cluster, where a script may only touch keys of one slot."""

from pathlib import Path

import pytest
import redis.asyncio as redis

import eventlib as ev
from eventlib.testing import free_port, private_server
from eventlib.testing.inspector import Inspector
from eventlib.testing.waiting import eventually
from tests.shop import OrderPlaced, StockCounted, for_ever


async def test_trap_29_every_script_runs_on_a_cluster(binary: Path) -> None:
    app, record = ev.App("shop"), list[str]()
    app.group("billing", lease_s=0.3)
    app.group("counting", lease_s=0.3, ordered_by="number")

    @app.subscribe(OrderPlaced, group="billing", retry=ev.Retry(attempts=2, wait_s=0.01))
    async def bill(event: OrderPlaced, delivery: ev.Delivery) -> None:
        if event.number == 1:
            raise ValueError("no")

    @app.subscribe(StockCounted, group="billing")
    @app.subscribe(StockCounted, group="counting")
    async def count(event: StockCounted, delivery: ev.Delivery) -> None: ...

    @app.task(limit=1, unique_by=["number"], rate=ev.Rate(100), retry=ev.Retry(attempts=2, wait_s=0.01))
    async def note(number: int) -> int:
        if number == 2:
            await for_ever()
        return 1 // number

    cluster = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    with private_server(*cluster, binary=binary, port=0) as server:
        async with redis.Redis.from_url(server.url) as raw:
            await raw.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)  # type: ignore[no-untyped-call]  # redis-py
            await eventually(lambda: is_up(raw))
            async with ev.connect(app, server.url) as bus:
                both = [OrderPlaced(number=0), StockCounted(number=0)]
                await bus.publish_many(both, ids=["e1", "{e2}"], unique_for_s=60.0)
                await bus.publish(StockCounted(number=0))
                inspector = Inspector(raw, bus._broker.keys.group("orders", "billing"))
                await inspector.read_and_die()  # so that there is something to sweep
                handles = [await bus.enqueue(note, delay_s=0.01 * number)(number) for number in range(3)]
                async with bus.running(queues=["default"]):
                    assert await handles[1].result() == 1
                    await handles[2].cancel()
                    for failed in (handles[0], handles[2]):
                        with pytest.raises(ev.EventlibError):
                            await failed.result()
                    assert (await bus.queue_health()).dead == 1
                async with bus.running(
                    groups=["billing", "counting"], observe=lambda observation: record.append(observation.kind)
                ):
                    await eventually(lambda: record.count("acked") == 5)
                    await bus.publish(OrderPlaced(number=1))
                    await eventually(lambda: "dead" in record)
                for stream, dead in (("orders", 1), ("stock", 0)):
                    assert await bus.backlog(stream, "billing") == ev.Backlog(0, 0, 0, 0, dead)
                dead_letters = bus.dead_letters("orders", "billing")
                [dead_letter] = await dead_letters.find()
                await dead_letters.edit(dead_letter.id, data={"number": 2})
                assert (await dead_letters.replay(ev.Selection())).ids == [dead_letter.id]
                assert (await dead_letters.purge(ev.Selection(ids=[dead_letter.id]))).gone == [dead_letter.id]
                either = OrderPlaced | StockCounted  # on streams in different slots
                async with bus.waiting_for(either, correlation_id="x", timeout_s=10.0) as seen:
                    await bus.publish(StockCounted(number=9), correlation_id="x")
                assert seen.event == await bus.reply("x", either, timeout_s=10.0) == StockCounted(number=9)


async def is_up(raw: redis.Redis) -> bool:
    info = await raw.execute_command("CLUSTER", "INFO")  # type: ignore[no-untyped-call]  # redis-py
    return "cluster_state:ok" in str(info) or "'cluster_state': 'ok'" in str(info)
