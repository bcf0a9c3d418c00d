"""A handler can decide what happens next by raising Reject, RetryAfter or Snooze."""

import asyncio

import eventlib as ev
from eventlib.testing.waiting import eventually
from tests.shop import Connect, OrderPlaced


async def test_reject_gives_up_at_once(connect: Connect) -> None:
    app = ev.App("shop")

    @app.subscribe(OrderPlaced, group="billing", retry=ev.Retry(attempts=5))
    async def charge(_: OrderPlaced, __: ev.Delivery) -> None:
        raise ev.Reject("negative total")

    async with connect(app) as bus, bus.running():
        await bus.publish(OrderPlaced(number=1))
        [dead] = await eventually(lambda: bus.dead_letters("orders", "billing").find())

    assert (dead.reason, dead.error, dead.attempts) == ("rejected", "Reject: negative total", 1)


async def test_retry_after_sets_the_wait(connect: Connect) -> None:
    app = ev.App("shop")
    charged = asyncio.Event()

    @app.subscribe(OrderPlaced, group="billing", retry=ev.Retry(wait_s=3600.0, wait_s_max=3600.0, jitter="none"))
    async def charge(_: OrderPlaced, delivery: ev.Delivery) -> None:
        if delivery.attempt == 1:
            raise ev.RetryAfter(0.05)  # the bank says when to try again
        charged.set()

    async with connect(app) as bus, bus.running():
        await bus.publish(OrderPlaced(number=1))
        await charged.wait()


async def test_snooze_does_not_count_as_an_attempt(connect: Connect) -> None:
    app = ev.App("shop")
    charged: asyncio.Queue[int] = asyncio.Queue()
    open_at_call = 4
    calls: list[int] = []

    @app.subscribe(OrderPlaced, group="billing", retry=ev.Retry(attempts=1))
    async def charge(_: OrderPlaced, delivery: ev.Delivery) -> None:
        calls.append(delivery.attempt)
        if len(calls) < open_at_call:
            raise ev.Snooze(0.01)  # the bank is closed: nothing failed
        await charged.put(delivery.attempt)

    async with connect(app) as bus, bus.running():
        await bus.publish(OrderPlaced(number=1))

        assert await charged.get() == 1
