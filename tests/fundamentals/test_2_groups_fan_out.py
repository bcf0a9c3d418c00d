"""Every group sees every event. Within a group, one consumer handles it."""

import asyncio

import eventlib as ev
from tests.shop import Connect, OrderPlaced


async def test_every_group_handles_an_event_once(connect: Connect) -> None:
    app = ev.App("shop")
    done: asyncio.Queue[str] = asyncio.Queue()

    @app.subscribe(OrderPlaced, group="billing")
    async def charge(event: OrderPlaced, _: ev.Delivery) -> None:
        await done.put(f"charged {event.number}")

    @app.subscribe(OrderPlaced, group="stock")
    async def reserve(event: OrderPlaced, _: ev.Delivery) -> None:
        await done.put(f"reserved {event.number}")

    async with connect(app) as bus:
        # Two consumers of each group, as two processes would be.
        async with bus.running(), bus.running():
            await bus.publish(OrderPlaced(number=1))

            assert {await done.get(), await done.get()} == {"charged 1", "reserved 1"}

        assert done.empty()
