"""A task that talks to Redis can be cancelled at any moment."""

import asyncio
import random

import eventlib as ev
from tests.shop import Connect


async def test_a_cancellation_is_never_swallowed(connect: Connect) -> None:
    """Nor does it end the connection, which others share."""
    rng = random.Random(1)
    async with connect(ev.App("shop")) as bus:
        for _ in range(100):

            async def ask(bus: ev.Bus = bus) -> None:
                while True:
                    await bus.backlog("orders", "billing")

            asking = asyncio.create_task(ask())
            await asyncio.sleep(rng.random() * 0.003)  # any moment: the point is where it hits
            asking.cancel()
            await asyncio.wait({asking}, timeout=2.0)
            assert asking.cancelled()
