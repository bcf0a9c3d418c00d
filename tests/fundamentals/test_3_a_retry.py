"""A handler that raises is called again, after a wait that grows, as often as its policy allows."""

import asyncio

import eventlib as ev
from tests.shop import Connect, OrderPlaced


async def test_a_failing_event_is_retried(connect: Connect) -> None:
    app = ev.App("shop")
    charged = asyncio.Event()
    attempts: list[int] = []

    @app.subscribe(OrderPlaced, group="billing", retry=ev.Retry(attempts=5, wait_s=0.01, wait_s_max=1.0))
    async def charge(_: OrderPlaced, delivery: ev.Delivery) -> None:
        attempts.append(delivery.attempt)
        if delivery.attempt < 3:
            raise ConnectionError("the bank does not answer")
        charged.set()

    async with connect(app) as bus, bus.running():
        await bus.publish(OrderPlaced(number=1))
        await charged.wait()

    assert attempts == [1, 2, 3]
