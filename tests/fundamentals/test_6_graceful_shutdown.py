"""Leaving `running()` lets handlers finish. Events that have not begun go back to the group at once."""

import asyncio

import eventlib as ev
from tests.shop import Connect, OrderPlaced, orders


async def test_a_graceful_shutdown_finishes_running_handlers_and_gives_back_the_rest(connect: Connect) -> None:
    app = ev.App("shop")
    app.group("billing", concurrency=1, prefetch=2)  # one at a time, two more wait in the consumer
    begun = asyncio.Event()
    charged: list[int] = []

    @app.subscribe(OrderPlaced, group="billing")
    async def charge(event: OrderPlaced, _: ev.Delivery) -> None:
        begun.set()
        await asyncio.sleep(0.05)  # a slow bank
        charged.append(event.number)

    async with connect(app) as bus:
        await bus.publish_many(orders(1, 2, 3))

        async with bus.running(grace_s=10.0):
            await begun.wait()

        assert charged == [1]
        assert (await bus.backlog("orders", "billing")).total == 2  # for the next consumer
