"""What an Inspector tells of a group that the library works with, over a connection of its own."""

import pytest

import eventlib as ev
from eventlib.testing import Inspector, eventually
from tests.shop import Connect, OrderPlaced, new_app, orders


async def test_it_follows_an_event_through_its_group(connect: Connect, url: str, namespace: str) -> None:
    app, handled = new_app(lease_s=0.2)
    async with (
        connect(app) as bus,
        Inspector.open(url, "orders", "billing", namespace=namespace) as inspector,
    ):
        await bus.publish_many(orders(1, 2))
        assert len(await inspector.events()) == 2 and await inspector.pending() == []
        taken = await inspector.read_and_die(count=1)
        [held] = await inspector.pending()
        assert [held.id] == taken and (held.consumer, held.deliveries) == ("dead", 1)
        assert await inspector.consumers() == {"dead"}
        async with bus.running(consumer="c1"):
            await eventually(lambda: len(handled) == 2)
            await bus.drained("orders", "billing")
        assert await inspector.pending() == [] and await inspector.dead_letters() == []


async def test_it_shows_entries_that_wait_for_their_next_attempt(connect: Connect, url: str, namespace: str) -> None:
    app = ev.App("shop")

    @app.subscribe(OrderPlaced, group="billing", retry=ev.Retry(attempts=2, wait_s=20.0, jitter="none"))
    async def bill(_: OrderPlaced, __: ev.Delivery) -> None:
        raise ValueError("no")

    async with connect(app) as bus, Inspector.open(url, "orders", "billing", namespace=namespace) as inspector:
        async with bus.running():
            await bus.publish(OrderPlaced(number=1))
            [due_s] = await eventually(inspector.due_s)
        assert due_s - await inspector.now_s() == pytest.approx(20.0, abs=5.0)


async def test_an_entry_of_another_program_can_be_added_and_given_to_a_consumer(inspector: Inspector) -> None:
    id_ = await inspector.add(event=b"no event")
    assert await inspector.events() == [{b"event": b"no event"}]
    assert await inspector.read_and_die() == [id_]
    await inspector.take_over(id_, "successor", idle_ms=5000, deliveries=7)
    [held] = await inspector.pending()
    assert (held.id, held.consumer, held.deliveries) == (id_, "successor", 7) and 5000 <= held.idle_ms < 15_000


async def test_the_group_is_created_once(inspector: Inspector) -> None:
    await inspector.create()
    await inspector.create()
    assert await inspector.pending() == [] == await inspector.pending(retried=True)
    assert await inspector.cursor() == ""
