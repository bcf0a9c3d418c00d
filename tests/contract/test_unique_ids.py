"""An event id that is published again within its window appends nothing."""

import asyncio

import pytest
import redis.asyncio as redis

import eventlib as ev
from eventlib.broker.connections import Broker
from eventlib.broker.publishing import PublishCommands
from eventlib.events.envelope import decode
from eventlib.records import NumberedBatch, Unique
from eventlib.testing.fault_proxy import fault_proxy
from eventlib.testing.inspector import Inspector
from eventlib.testing.waiting import eventually
from tests.shop import Connect, OrderPlaced, StockCounted, orders

pytestmark = pytest.mark.every_server  # what a server says and allows is its own


async def written(inspector: Inspector) -> list[tuple[str, int]]:
    """The ids and numbers of the orders in the stream."""
    read = [decode(fields[b"event"], {"order.placed": OrderPlaced}) for fields in await inspector.events()]
    return [(e.id, e.event.number) for e in read if e and isinstance(e.event, OrderPlaced)]


async def test_the_same_id_again_appends_nothing_and_is_returned(connect: Connect, inspector: Inspector) -> None:
    async with connect(ev.App("shop")) as bus, connect(ev.App("shop")) as other:
        for publisher in (bus, bus, other):
            returned = await publisher.publish(OrderPlaced(number=1), id="order-A1-placed", unique_for_s=60.0)
            assert returned == "order-A1-placed"
    assert await written(inspector) == [("order-A1-placed", 1)]


async def test_the_first_event_of_an_id_is_kept(connect: Connect, inspector: Inspector) -> None:
    async with connect(ev.App("shop")) as bus:
        await bus.publish(OrderPlaced(number=1), id="e1", unique_for_s=60.0)
        await bus.publish(OrderPlaced(number=2), id="e1", unique_for_s=60.0)
    assert await written(inspector) == [("e1", 1)]


async def test_ids_are_unique_per_stream(connect: Connect, raw: redis.Redis, namespace: str) -> None:
    async with connect(ev.App("shop")) as bus:
        await bus.publish(OrderPlaced(number=1), id="e1", unique_for_s=60.0)
        await bus.publish(StockCounted(number=1), id="e1", unique_for_s=60.0)
    assert [await raw.xlen(f"{namespace}:{{{stream}}}:events") for stream in ("orders", "stock")] == [1, 1]


async def test_an_id_that_is_published_without_a_window_is_appended_again(
    connect: Connect, inspector: Inspector
) -> None:
    async with connect(ev.App("shop")) as bus:
        for number in (1, 2):
            assert await bus.publish(OrderPlaced(number=number), id="e1") == "e1"
    assert await written(inspector) == [("e1", 1), ("e1", 2)]


async def test_the_window_ends_and_leaves_no_key(
    connect: Connect, inspector: Inspector, raw: redis.Redis, namespace: str
) -> None:
    async with connect(ev.App("shop")) as bus:
        await bus.publish(OrderPlaced(number=1), id="e1", unique_for_s=0.05)
        await eventually(lambda: no_keys(raw, f"{namespace}:*unique*"))
        await bus.publish(OrderPlaced(number=2), id="e1", unique_for_s=3600.0)
        assert 3_590_000 < await raw.pttl(f"{namespace}:{{orders}}:unique:e1") <= 3_600_000
        await raw.pexpire(f"{namespace}:{{orders}}:unique:e1", 1_000_000)
        await bus.publish(OrderPlaced(number=3), id="e1", unique_for_s=3600.0)
        assert await raw.pttl(f"{namespace}:{{orders}}:unique:e1") <= 1_000_000  # not prolonged
    assert await written(inspector) == [("e1", 1), ("e1", 2)]


async def no_keys(raw: redis.Redis, pattern: str) -> bool:
    return not await raw.keys(pattern)


async def test_batches_leave_out_events_whose_ids_were_published_before(connect: Connect, inspector: Inspector) -> None:
    async with connect(ev.App("shop")) as bus:
        ids = [f"e{number}" for number in range(1200)]
        await bus.publish(OrderPlaced(number=-1), id="e700", unique_for_s=60.0)
        assert await bus.publish_many(orders(*range(1200)), ids=ids, unique_for_s=60.0) == ids
        assert await bus.publish_many(orders(*range(1200)), ids=ids, unique_for_s=60.0) == ids
        await bus.publish_many(orders(1, 2, 3), ids=["twice", "twice", "once"], unique_for_s=60.0)
    expected = [("e700", -1), *((f"e{n}", n) for n in range(1200) if n != 700), ("twice", 1), ("once", 3)]
    assert await written(inspector) == expected


async def test_unique_and_other_events_may_share_a_batch(connect: Connect, inspector: Inspector) -> None:
    async with connect(ev.App("shop")) as bus:
        calls = [
            bus.publish(OrderPlaced(number=n), id=f"e{n % 100}", unique_for_s=60.0)
            if n % 2
            else bus.publish(OrderPlaced(number=n))
            for n in range(1000)
        ]
        await asyncio.gather(*calls)
    seen = [number for _, number in await written(inspector)]
    assert seen == [n for n in range(1000) if n % 2 == 0 or n < 100]


@pytest.mark.parametrize("count", [1, 600])
async def test_trap_22_a_lost_reply_neither_doubles_nor_loses_a_unique_event(
    connect: Connect, inspector: Inspector, url: str, count: int
) -> None:
    ids = [f"e{number}" for number in range(count)]
    async with fault_proxy(url) as faulty, connect(ev.App("shop"), url=faulty.url) as bus:
        await bus.publish(OrderPlaced(number=-1))
        faulty.lose_reply_to(b'"number":0}')
        await bus.publish_many(orders(*range(count)), ids=ids, unique_for_s=60.0)
        assert faulty.lost == 1
    assert [number for _, number in await written(inspector)] == [-1, *range(count)]


async def test_an_id_whose_event_could_not_be_appended_is_not_remembered(broker: Broker, inspector: Inspector) -> None:
    """If it were, the next publish of the id would append nothing, and the event would be lost."""
    await inspector.raw.set(inspector.keys.stream, "no stream")
    with pytest.raises(ev.BrokerError, match="WRONGTYPE"):
        await PublishCommands(broker).append(NumberedBatch("orders", 1, [b"a"], [Unique(0, "e1", 60.0)]), "p1", 3600.0)
    await inspector.raw.delete(inspector.keys.stream)
    assert (
        await PublishCommands(broker).append(NumberedBatch("orders", 2, [b"a"], [Unique(0, "e1", 60.0)]), "p1", 3600.0)
        == 1
    )


@pytest.mark.parametrize(
    "id_", ["", "two words", 'quo"te', "back\\slash", "new\nline", "nul\0", "\ud800", "ä", "x" * 257]
)
async def test_an_id_with_wrong_characters_or_length_is_refused(
    connect: Connect, inspector: Inspector, id_: str
) -> None:
    async with connect(ev.App("shop")) as bus:
        with pytest.raises(ev.InvalidArgument, match="printable"):
            await bus.publish(OrderPlaced(number=1), id=id_)
    assert await inspector.events() == []


async def test_a_window_without_an_id_or_out_of_range_is_refused(connect: Connect, inspector: Inspector) -> None:
    async with connect(ev.App("shop")) as bus:
        for window_s in (0.0, -1.0, 1e300, float("inf"), float("nan")):
            with pytest.raises(ev.InvalidArgument, match="unique_for_s"):
                await bus.publish(OrderPlaced(number=1), id="e1", unique_for_s=window_s)
        with pytest.raises(ev.InvalidArgument, match="id of your own"):
            await bus.publish(OrderPlaced(number=1), unique_for_s=60.0)
        with pytest.raises(ev.InvalidArgument, match="id of your own"):
            await bus.publish_many(orders(1), unique_for_s=60.0)
        with pytest.raises(ev.InvalidArgument, match="1 ids for 2"):
            await bus.publish_many(orders(1, 2), ids=["e1"])
    assert await inspector.events() == []
