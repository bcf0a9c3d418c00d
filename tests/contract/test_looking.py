"""The backlog is everything that is still to do, wherever it waits."""

import asyncio

import eventlib as ev
from eventlib.broker import Broker, Entry
from eventlib.keys import EVENT
from tests.ledger import Ledger
from tests.shop import Connect, OrderPlaced, orders
from tests.waiting import eventually


async def test_nothing_was_ever_published(connect: Connect) -> None:
    async with connect(ev.App("shop")) as bus:
        backlog = await bus.backlog("orders", "billing")
        assert backlog == ev.Backlog(0, 0, 0, 0, 0) and backlog.total == 0
        assert await bus.dead_letters("orders", "billing") == []


async def test_a_group_that_never_ran_has_everything_to_do(connect: Connect) -> None:
    async with connect(ev.App("shop")) as bus:
        await bus.publish_many(orders(*range(7)))
        assert await bus.backlog("orders", "billing") == ev.Backlog(waiting=7, pending=0, retrying=0, delayed=0, dead=0)


async def test_trap_30_every_place_is_counted(connect: Connect) -> None:
    app, release = ev.App("shop"), asyncio.Event()
    app.group("billing", concurrency=2)
    errors = {1: ev.Reject("no"), 2: ev.Snooze(60.0)}

    @app.subscribe(OrderPlaced, group="billing")
    async def bill(event: OrderPlaced, _: ev.Delivery) -> None:
        if event.number in errors:
            raise errors[event.number]
        await release.wait()

    wanted = ev.Backlog(waiting=4, pending=2, retrying=0, delayed=1, dead=1)
    async with connect(app) as bus:
        async with bus.running():
            await bus.publish_many(orders(*range(1, 9)))
            await eventually(lambda: seen(bus, wanted))
            assert wanted.total == 7  # the dead are settled
            asyncio.get_running_loop().call_soon(release.set)  # after the stop, which comes without a pause
        assert await bus.backlog("orders", "billing") == ev.Backlog(waiting=4, pending=0, retrying=0, delayed=1, dead=1)


async def seen(bus: ev.Bus, wanted: ev.Backlog) -> bool:
    return await bus.backlog("orders", "billing") == wanted


async def test_trap_30_deleted_and_trimmed_entries_are_not_waited_for(broker: Broker, ledger: Ledger) -> None:
    """After a deletion the server's own lag may be unknown, after a trim it may be wrong."""
    ids = [await ledger.add(event=b"%d" % n) for n in range(10)]
    read = await ledger.read_and_die(2)
    await broker.ack(ledger.keys, "dead", [Entry(False, id_, {EVENT: b""}) for id_ in read])
    assert (await broker.backlog("orders", "billing")).waiting == 8
    await ledger.raw.xdel(ledger.keys.stream, ids[5])
    assert (await broker.backlog("orders", "billing")).waiting == 7
    await ledger.raw.xtrim(ledger.keys.stream, maxlen=4, approximate=False)
    assert (await broker.backlog("orders", "billing")).waiting == 4
    await ledger.raw.xtrim(ledger.keys.stream, maxlen=0, approximate=False)
    assert (await broker.backlog("orders", "billing")).waiting == 0


async def test_trap_30_a_trim_past_what_was_read_is_seen(broker: Broker, ledger: Ledger) -> None:
    await ledger.create()
    await broker.publish("orders", "p1", 1, [b"%d" % n for n in range(10)])
    await ledger.raw.xtrim(ledger.keys.stream, maxlen=3, approximate=False)
    assert (await broker.backlog("orders", "billing")).waiting == 3


async def test_delete_all_deletes_this_namespace_alone(connect: Connect, namespace: str) -> None:
    async with connect(ev.App("shop")) as bus, connect(ev.App("shop"), namespace=f"{namespace}.2") as other:
        await bus.publish(OrderPlaced(number=1))
        await other.publish(OrderPlaced(number=1))
        assert await bus.delete_all() == 2  # the stream and the producer's numbers
        assert (await bus.backlog("orders", "billing")).total == 0
        assert (await other.backlog("orders", "billing")).total == 1
        await other.delete_all()
