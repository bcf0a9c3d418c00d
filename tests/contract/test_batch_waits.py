"""A batch with a `wait_s` waits for more events, no longer than its oldest one may wait; what waits is held safely."""

import time
from typing import Any

import pytest

import eventlib as ev
from eventlib.testing.inspector import Inspector
from eventlib.testing.waiting import eventually
from tests.shop import AT_ONCE, Connect, OrderPlaced, Record, orders


def batching(app: ev.App, sizes: list[int], **settings: Any) -> None:
    """A handler that notes the size of each batch."""

    @app.subscribe_batch(OrderPlaced, group="billing", retry=AT_ONCE, **settings)
    async def bill(batch: ev.Batch[OrderPlaced]) -> None:
        sizes.append(len(batch))


async def test_a_batch_begins_as_soon_as_it_is_full(connect: Connect) -> None:
    app, sizes, record = ev.App("shop"), list[int](), Record()
    batching(app, sizes, size=5, wait_s=600.0)
    async with connect(app) as bus, bus.running(observe=record):
        for number in range(12):
            await bus.publish(OrderPlaced(number=number))
        await eventually(lambda: record.count("acked") == 10)
    assert sizes == [5, 5]


async def test_a_batch_that_does_not_fill_begins_when_its_oldest_event_has_waited(connect: Connect) -> None:
    app, sizes, began_at = ev.App("shop"), list[int](), list[float]()

    @app.subscribe_batch(OrderPlaced, group="billing", size=100, wait_s=0.3)
    async def bill(batch: ev.Batch[OrderPlaced]) -> None:
        sizes.append(len(batch))
        began_at.append(time.monotonic())

    async with connect(app) as bus, bus.running():
        published_at = time.monotonic()
        await bus.publish_many(orders(1, 2))
        await bus.publish(OrderPlaced(number=3))
        await eventually(lambda: sum(sizes) == 3)  # on a machine that stands still, in two batches
    assert sizes[0] >= 2 and began_at[0] - published_at >= 0.3


async def test_a_half_full_batch_is_given_back_at_shutdown(connect: Connect, inspector: Inspector) -> None:
    """Nobody waits for the batch to fill, and no attempt is used up."""
    app, sizes = ev.App("shop"), list[int]()
    batching(app, sizes, size=10, wait_s=600.0)
    async with connect(app) as bus:
        await bus.publish_many(orders(*range(4)))
        async with bus.running():
            await eventually(lambda: _pending(inspector, 4))
        assert sizes == []
        assert await bus.backlog("orders", "billing") == ev.Backlog(0, pending=0, retrying=4, delayed=0, dead=0)


async def test_leases_are_renewed_while_a_batch_waits(connect: Connect, inspector: Inspector) -> None:
    app, attempts, record = ev.App("shop"), list[int](), Record()
    app.group("billing", lease_s=1.0)

    @app.subscribe_batch(OrderPlaced, group="billing", size=3, wait_s=600.0)
    async def bill(batch: ev.Batch[OrderPlaced]) -> None:
        attempts.extend(delivery.attempt for delivery in batch.deliveries)

    async with connect(app) as bus, bus.running(consumer="a", observe=record):
        await bus.publish_many(orders(1, 2))
        await eventually(lambda: _pending(inspector, 2))
        async with bus.running(consumer="b", observe=record):
            await inspector.wait_for_renewals({row.id for row in await inspector.pending()}, 7)  # more than two leases
            assert {(row.consumer, row.deliveries) for row in await inspector.pending()} == {("a", 1)}
        await bus.publish(OrderPlaced(number=3))  # now it is full
        await eventually(lambda: record.count("acked") == 3)
    assert attempts == [1, 1, 1] and record.count("lost") == 0


async def test_one_bad_event_of_a_hundred_fails_alone(connect: Connect, inspector: Inspector) -> None:
    app, record = ev.App("shop"), Record()

    @app.subscribe_batch(OrderPlaced, group="billing", size=100, wait_s=600.0)
    async def bill(batch: ev.Batch[OrderPlaced]) -> None:
        assert len(batch) == 100
        for event, delivery in batch:
            if event.number == 42:
                batch.fail(delivery, ev.Reject("never"))

    async with connect(app) as bus:
        await bus.publish_many(orders(*range(100)))
        async with bus.running(observe=record):
            await eventually(lambda: record.count("acked") == 99 and record.count("dead") == 1)
        [dead_letter] = await bus.dead_letters("orders", "billing").find()
    assert dead_letter.reason == "rejected" and await inspector.pending() == []


@pytest.mark.parametrize("wait_s", [-0.1, "1", None, True, 1e9, float("nan")])
def test_a_wait_that_is_none_is_refused(wait_s: Any) -> None:
    with pytest.raises(ev.InvalidDeclaration, match="a batch waits for 0 to 3600 seconds"):
        ev.App("shop").subscribe_batch(OrderPlaced, group="billing", wait_s=wait_s)


async def _pending(inspector: Inspector, count: int) -> bool:
    return len(await inspector.pending()) == count
