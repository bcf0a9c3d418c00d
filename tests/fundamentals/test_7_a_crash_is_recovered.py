"""If a consumer dies, it stops renewing its lease. After the lease, another consumer takes its events over."""

import asyncio

import eventlib as ev
from eventlib.testing.inspector import Inspector
from tests.shop import Connect, OrderPlaced


async def test_an_event_of_a_crashed_consumer_is_handled_by_another_one(connect: Connect, inspector: Inspector) -> None:
    app = ev.App("shop")
    app.group("billing", lease_s=0.3)  # a consumer without renewal for so long counts as dead; the default is 30 s
    charged: asyncio.Queue[tuple[int, int]] = asyncio.Queue()

    @app.subscribe(OrderPlaced, group="billing")
    async def charge(event: OrderPlaced, delivery: ev.Delivery) -> None:
        await charged.put((event.number, delivery.attempt))

    async with connect(app) as bus:
        await bus.publish(OrderPlaced(number=1))
        await inspector.read_and_die()  # a consumer takes the event, and is killed

        async with bus.running():
            # The dead consumer may have begun, so this is the second attempt: delivery is at least once.
            assert await charged.get() == (1, 2)
