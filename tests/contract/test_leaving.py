"""A consumer that leaves finishes its handlers and gives back its other entries, which need not wait for a lease."""

import asyncio
from typing import Any

import pytest

import eventlib as ev
from eventlib.broker.connections import Broker
from eventlib.broker.consuming import ConsumerCommands
from eventlib.broker.publishing import PublishCommands
from eventlib.broker.streams import StreamCommands
from eventlib.records import NumberedBatch
from eventlib.testing.fault_proxy import fault_proxy
from eventlib.testing.inspector import Inspector
from eventlib.testing.waiting import eventually
from tests.shop import AT_ONCE, Connect, OrderPlaced, Record, new_app, orders


async def test_trap_14_a_graceful_stop_finishes_running_handlers_and_gives_back_other_entries(
    connect: Connect, inspector: Inspector
) -> None:
    app, begun, release, seen = ev.App("shop"), asyncio.Event(), asyncio.Event(), list[tuple[int, int]]()
    app.group("billing", concurrency=1, prefetch=4)  # a lease of 30 s: waiting for it would fail the test

    @app.subscribe(OrderPlaced, group="billing")
    async def bill(event: OrderPlaced, delivery: ev.Delivery) -> None:
        begun.set()
        await release.wait()
        seen.append((event.number, delivery.attempt))

    async with connect(app) as bus:
        await bus.publish_many(orders(1, 2, 3, 4, 5))
        async with bus.running():
            await eventually(lambda: held(inspector, 5))
            await begun.wait()  # the server may have handed out what has not arrived yet
            asyncio.get_running_loop().call_soon(release.set)  # after the stop, which comes without a pause
        assert seen == [(1, 1)]
        assert await bus.backlog("orders", "billing") == ev.Backlog(0, pending=0, retrying=4, delayed=0, dead=0)
        async with bus.running():
            await eventually(lambda: len(seen) == 5)
    assert sorted(seen) == [(n, 1) for n in range(1, 6)]  # being given back is no attempt


async def held(inspector: Inspector, count: int) -> bool:
    return len(await inspector.pending()) == count


async def test_after_the_grace_period_handlers_are_cancelled_and_their_events_given_back(connect: Connect) -> None:
    app, seen, cancelled = ev.App("shop"), list[int](), list[int]()

    @app.subscribe(OrderPlaced, group="billing", retry=ev.Retry(attempts=1))
    async def bill(_: OrderPlaced, delivery: ev.Delivery) -> None:
        seen.append(delivery.attempt)
        if len(seen) == 1:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.append(delivery.attempt)

    record = Record()
    async with connect(app) as bus:
        async with bus.running(grace_s=0.05):
            await bus.publish(OrderPlaced(number=1))
            await eventually(lambda: seen)
        assert cancelled == [1]
        async with bus.running(observe=record):
            await eventually(lambda: record.count("acked"))
    assert seen == [1, 1]


async def test_an_entry_that_is_given_back_is_not_delivered_to_the_read_that_was_cut_off(
    connect: Connect, inspector: Inspector
) -> None:
    """The server may notice the closed connection after the entries are given back: they must not go to that read."""
    app, started = ev.App("shop"), asyncio.Event()  # a lease of 30 s: waiting for it would fail the test

    @app.subscribe(OrderPlaced, group="billing")
    async def bill(_: OrderPlaced, __: ev.Delivery) -> None:
        started.set()
        await asyncio.Event().wait()

    async with connect(app) as bus:
        await bus.publish(OrderPlaced(number=1))
        for _ in range(20):
            async with bus.running(grace_s=0.0):
                await asyncio.wait_for(started.wait(), 20.0)
            started.clear()
            assert await inspector.pending(retried=True) == []
            assert await inspector.consumers() == set()


async def test_an_error_in_the_block_is_raised_unchanged_after_a_graceful_stop(connect: Connect) -> None:
    app, handled = new_app()

    async def fail() -> None:
        async with connect(app) as bus, bus.running():
            await bus.publish(OrderPlaced(number=1))
            await eventually(lambda: handled)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await fail()


async def test_trap_16_a_consumer_that_leaves_deletes_its_name(connect: Connect, inspector: Inspector) -> None:
    app, handled = new_app()
    async with connect(app) as bus:
        async with bus.running(consumer="c1"):
            await bus.publish(OrderPlaced(number=1))
            await eventually(lambda: handled)
            assert await inspector.consumers() == {"c1"}
        assert await inspector.consumers() == set()


async def test_trap_16_names_of_dead_consumers_are_deleted(connect: Connect, inspector: Inspector) -> None:
    app, handled = new_app(lease_s=0.1)
    async with connect(app) as bus:
        await bus.publish(OrderPlaced(number=1))
        await inspector.read_and_die()
        async with bus.running(consumer="alive"):
            await eventually(lambda: handled)  # what the dead one held is not forgotten with it
            await eventually(lambda: forgotten(inspector))
            await bus.publish(OrderPlaced(number=2))
            await eventually(lambda: 2 in handled)
    assert handled == [1, 2]


async def forgotten(inspector: Inspector) -> bool:
    return "dead" not in await inspector.consumers()


async def test_trap_15_a_consumer_that_leaves_gives_back_any_number_of_entries(
    broker: Broker, inspector: Inspector
) -> None:
    await PublishCommands(broker).append(NumberedBatch("orders", 1, [b"%d" % n for n in range(2500)]), "p1", 3600.0)
    await inspector.read_and_die(2500)
    assert await ConsumerCommands(broker, inspector.keys, "dead").leave() == 2500
    assert await StreamCommands(broker).backlog("orders", "billing") == ev.Backlog(
        0, 0, retrying=2500, delayed=0, dead=0
    )
    assert await ConsumerCommands(broker, inspector.keys, "dead").leave() == 0
    given_back = await inspector.events(retried=True)
    assert [fields[b"event"] for fields in given_back] == [b"%d" % n for n in range(2500)]
    assert {fields[b"attempts"] for fields in given_back} == {b"0"}


async def test_trap_15_a_consumer_with_pending_entries_is_never_deleted(broker: Broker, inspector: Inspector) -> None:
    """A sweep takes over no more than there is capacity for. The other entries still belong to the silent consumer."""
    await PublishCommands(broker).append(NumberedBatch("orders", 1, [b"a", b"b"]), "p1", 3600.0)
    await inspector.read_and_die()
    await ConsumerCommands(broker, inspector.keys, "dead").leave()
    await inspector.read_and_die(retried=True)
    await PublishCommands(broker).append(NumberedBatch("orders", 3, [b"c", b"d"]), "p1", 3600.0)
    await inspector.read_and_die()
    await eventually(lambda: all_idle(inspector, 50))  # ten leases
    await ConsumerCommands(broker, inspector.keys, "c1").sweep(0.005, 1, 0.0)
    for retried in (False, True):
        held = [row.consumer for row in await inspector.pending(retried=retried)]
        assert sorted(held) == ["c1", "dead"]
    assert await inspector.consumers() == {"c1", "dead"}


async def test_trap_16_a_thousand_names_of_dead_consumers_are_deleted_in_limited_steps(
    broker: Broker, inspector: Inspector
) -> None:
    """The entries that one of them held are taken over before its name is deleted."""
    await inspector.create()
    await PublishCommands(broker).append(NumberedBatch("orders", 1, [b"a"]), "p1", 3600.0)
    await inspector.read_and_die()
    for n in range(1000):
        for key in (inspector.keys.stream, inspector.keys.retry):
            await inspector.raw.xgroup_createconsumer(key, "billing", f"pod-{n}")
    await eventually(lambda: all_idle(inspector, 50))
    left = [len(await inspector.consumers())]
    while left[-1] > 1 and len(left) < 5:
        await ConsumerCommands(broker, inspector.keys, "c1").sweep(0.005, 1, 0.0)
        left.append(len(await inspector.consumers() - {"c1", "(suspects)"}))
    assert left[:3] == [1001, 501, 1]
    assert [row.consumer for row in await inspector.pending()] == ["c1"]  # it was taken over, not forgotten


async def all_idle(inspector: Inspector, ms: int) -> bool:
    rows: Any = await inspector.raw.xinfo_consumers(inspector.keys.stream, "billing")
    rows += await inspector.raw.xinfo_consumers(inspector.keys.retry, "billing")
    return all(row["idle"] > ms for row in rows)


async def test_trap_16_a_live_consumer_whose_name_was_deleted_still_gets_events(
    connect: Connect, inspector: Inspector
) -> None:
    """Redis before 7.2 counts reads without a result as idle time, so a sweep may delete a live consumer's name."""
    app, handled = new_app()
    async with connect(app) as bus, bus.running(consumer="alive"):
        for number in range(5):
            await eventually(lambda: known(inspector))
            for key in (inspector.keys.stream, inspector.keys.retry):
                await inspector.raw.xgroup_delconsumer(key, "billing", "alive")
            await bus.publish(OrderPlaced(number=number))
            await eventually(lambda: number in handled)  # noqa: B023 - awaited in the loop
            await eventually(lambda: nothing_held(inspector))
    assert handled == [0, 1, 2, 3, 4]


async def nothing_held(inspector: Inspector) -> bool:
    return await inspector.pending() == []


async def known(inspector: Inspector) -> bool:
    return bool(await inspector.raw.exists(inspector.keys.retry))


async def test_an_entry_that_is_given_back_twice_keeps_its_origin_and_attempts(
    broker: Broker, inspector: Inspector
) -> None:
    await PublishCommands(broker).append(NumberedBatch("orders", 1, [b"a"]), "p1", 3600.0)
    [origin] = await inspector.read_and_die()
    await inspector.take_over(origin, "dead", deliveries=3)  # two attempts were used up before this delivery
    for _ in range(2):
        await ConsumerCommands(broker, inspector.keys, "dead").leave()
        await inspector.read_and_die(retried=True)
    [fields] = await inspector.events(retried=True)
    assert fields == {b"event": b"a", b"attempts": b"2", b"origin": origin.encode()}


async def test_starting_and_stopping_many_times_loses_and_repeats_no_event(connect: Connect) -> None:
    """A stop may cut off a read whose entries are already on their way."""
    app, seen = ev.App("shop"), list[tuple[int, int]]()
    app.group("billing", concurrency=4, prefetch=4)

    @app.subscribe(OrderPlaced, group="billing", retry=AT_ONCE)
    async def bill(event: OrderPlaced, delivery: ev.Delivery) -> None:
        await asyncio.sleep(0)
        seen.append((event.number, delivery.attempt))

    async with connect(app) as bus:

        async def publish_all() -> None:
            for number in range(150):
                await bus.publish(OrderPlaced(number=number))

        publishing = asyncio.create_task(publish_all())
        while not publishing.done():
            async with bus.running():
                await bus.backlog("orders", "billing")
        await publishing
        async with bus.running():
            await eventually(lambda: len({number for number, _ in seen}) == 150)
        assert (await bus.backlog("orders", "billing")).total == 0
    assert sorted(seen) == [(number, 1) for number in range(150)]


async def test_stopping_while_the_server_is_unavailable_raises_no_error(
    connect: Connect, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    app, _ = new_app()
    async with fault_proxy(url) as faulty, connect(app, url=faulty.url) as bus:
        async with bus.running(grace_s=0.2):
            await eventually(lambda: bus.health() and all(each.read_age_s is not None for each in bus.health()))
            faulty.refusing = True
            faulty.cut()
        faulty.refusing = False
    assert "could not give back" in caplog.text


async def test_leaving_without_a_server_while_a_handler_cleans_up_raises_no_error(connect: Connect, url: str) -> None:
    """Its lease is renewed meanwhile, and delayed entries and silent consumers are looked for: all of that fails."""
    app, begun, refused_before = ev.App("shop"), list[int](), 0
    app.group("billing", lease_s=0.3)

    @app.subscribe(OrderPlaced, group="billing")
    async def bill(event: OrderPlaced, _: ev.Delivery) -> None:
        begun.append(event.number)
        try:
            await asyncio.Event().wait()
        finally:
            refused = faulty.refused
            await eventually(lambda: faulty.refused >= refused + 2)

    async with fault_proxy(url) as faulty, connect(app, url=faulty.url) as bus:
        await bus.publish(OrderPlaced(number=1))
        async with bus.running(grace_s=0.0):
            await eventually(lambda: begun)
            refused_before = faulty.refused
            faulty.refusing = True
            faulty.cut()
            await eventually(lambda: faulty.refused > refused_before)
        faulty.refusing = False


async def test_a_block_that_ends_by_an_error_gives_back_entries_after_the_grace_period(connect: Connect) -> None:
    """A task group would cancel the consumers while they give back, and the entries would wait for a lease of 30 s."""
    app, begun = ev.App("shop"), list[int]()
    app.group("billing", prefetch=4, concurrency=2)

    @app.subscribe(OrderPlaced, group="billing")
    async def bill(event: OrderPlaced, _: ev.Delivery) -> None:
        begun.append(event.number)
        await asyncio.Event().wait()

    async with connect(app) as bus:
        await bus.publish_many(orders(1, 2, 3, 4, 5, 6))

        async def fail_inside() -> None:
            async with bus.running(grace_s=0.05):
                await eventually(lambda: len(begun) == 2)
                raise ValueError("the block's own")

        with pytest.raises(ValueError, match="the block's own"):
            await fail_inside()
        backlog = await bus.backlog("orders", "billing")
        assert (backlog.pending, backlog.total) == (0, 6)
