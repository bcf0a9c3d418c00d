"""An event that fails every attempt is kept, with the reason, in the dead-letter queue of its group."""

import eventlib as ev
from eventlib.testing.waiting import eventually
from tests.shop import Connect, OrderPlaced


async def test_an_event_that_fails_every_attempt_becomes_a_dead_letter(connect: Connect) -> None:
    app = ev.App("shop")

    @app.subscribe(OrderPlaced, group="billing", retry=ev.Retry(attempts=2, wait_s=0.01))
    async def charge(_: OrderPlaced, __: ev.Delivery) -> None:
        raise ConnectionError("the bank does not answer")

    async with connect(app) as bus, bus.running():
        await bus.publish(OrderPlaced(number=1))

        [dead] = await eventually(lambda: bus.dead_letters("orders", "billing").find())
        backlog = await bus.backlog("orders", "billing")

    assert dead.reason == "exhausted"
    assert dead.error == "ConnectionError: the bank does not answer"
    assert dead.attempts == 2
    assert b'"number":1' in dead.raw[b"event"]
    assert (backlog.total, backlog.dead) == (0, 1)
