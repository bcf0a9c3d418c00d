"""A consumer that dies in the middle of its work is noticed by its silence: another one takes the work over."""

import asyncio

import eventlib as ev
from eventlib.testing.inspector import Inspector
from tests.shop import Connect, OrderPlaced


async def test_a_crash_is_recovered(connect: Connect, inspector: Inspector) -> None:
    app = ev.App("shop")
    app.group("billing", lease_s=0.3)  # silent for so long is dead; the default is 30 s
    charged: asyncio.Queue[tuple[int, int]] = asyncio.Queue()

    @app.subscribe(OrderPlaced, group="billing")
    async def charge(event: OrderPlaced, delivery: ev.Delivery) -> None:
        await charged.put((event.number, delivery.attempt))

    async with connect(app) as bus:
        await bus.publish(OrderPlaced(number=1))
        await inspector.read_and_die()  # a consumer takes the event, and is killed

        async with bus.running():
            # Nobody knows how far the dead one came: at least once, so this is the second attempt.
            assert await charged.get() == (1, 2)
