"""Declare an event, declare a handler, publish an event: the handler is called."""

import asyncio

import eventlib as ev
from tests.shop import Connect


class OrderPlaced(ev.Event, type="order.placed", version=1, stream="orders"):
    order_id: str
    total_cents: int


async def test_a_published_event_is_handled(connect: Connect) -> None:
    # A declaration: nothing connects yet.
    app = ev.App("shop")
    charged: asyncio.Queue[str] = asyncio.Queue()

    @app.subscribe(OrderPlaced, group="billing")
    async def charge(event: OrderPlaced, delivery: ev.Delivery) -> None:
        await charged.put(f"{event.order_id}: {event.total_cents} cents, attempt {delivery.attempt}")

    # Outside of these tests: `ev.connect(app, "redis://localhost:6379/0")`.
    async with connect(app) as bus, bus.running():
        await bus.publish(OrderPlaced(order_id="A1", total_cents=4200))

        assert await charged.get() == "A1: 4200 cents, attempt 1"
