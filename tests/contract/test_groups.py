"""Every group gets every event from the beginning of the stream, and recovers when its position is lost."""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest
import redis.asyncio as redis

import eventlib as ev
from eventlib.broker.connections import Broker
from eventlib.broker.consuming import ConsumerCommands
from eventlib.broker.pipelined import Argument, PipelinedConnection
from eventlib.records import Entry
from eventlib.testing.inspector import Inspector
from eventlib.testing.waiting import eventually
from tests.shop import AT_ONCE, Connect, OrderPlaced, Record, new_app, nothing_left, orders


async def test_trap_19_a_new_group_gets_the_events_published_before(connect: Connect) -> None:
    app, handled = new_app(concurrency=1)
    async with connect(app) as bus:
        await bus.publish_many(orders(1, 2, 3))
        async with bus.running():
            await eventually(lambda: handled == [1, 2, 3])


async def test_a_restarted_consumer_continues_where_it_stopped(connect: Connect) -> None:
    app, handled = new_app(concurrency=1)
    async with connect(app) as bus:
        for number in (1, 2, 3):
            await bus.publish(OrderPlaced(number=number))
            async with bus.running():
                await eventually(lambda: number in handled)  # noqa: B023 - awaited in the loop
    assert handled == [1, 2, 3]


async def test_trap_19_a_restarted_consumer_does_not_read_acknowledged_events_again(
    connect: Connect, inspector: Inspector
) -> None:
    """It does not read its own pending list either: it gave back its pending entries when it left."""
    app, handled = new_app(concurrency=4)
    async with connect(app) as bus:
        await bus.publish_many(orders(*range(50)))
        async with bus.running(consumer="c1"):
            await eventually(lambda: len(handled) == 50)
        for number in range(50, 54):
            async with bus.running(consumer="c1"):
                await bus.publish(OrderPlaced(number=number))
                await eventually(lambda: number in handled)  # noqa: B023 - awaited in the loop
    assert sorted(handled) == list(range(54))
    assert await inspector.pending() == []


async def test_consumers_of_one_group_share_the_work(connect: Connect) -> None:
    app, handled = new_app()
    record = Record()
    async with connect(app) as bus, bus.running(observe=record), bus.running(observe=record):
        for start in range(0, 200, 20):
            await bus.publish_many(orders(*range(start, start + 20)))
        await eventually(lambda: record.count("acked") == 200)
    assert sorted(handled) == list(range(200))


async def test_running_some_groups_keeps_the_events_of_the_others(connect: Connect) -> None:
    app, handled = new_app()

    @app.subscribe(OrderPlaced, group="stock")
    async def reserve(_: OrderPlaced, __: ev.Delivery) -> None:
        raise AssertionError("its group does not run")

    async with connect(app) as bus:
        async with bus.running(groups=["billing"]):
            await bus.publish(OrderPlaced(number=1))
            await eventually(lambda: handled == [1])
        assert (await bus.backlog("orders", "stock")).waiting == 1


@pytest.mark.parametrize("groups", [["unknown"], ["billing", "unknown"], []])
async def test_running_an_unknown_group_is_refused(connect: Connect, groups: list[str]) -> None:
    app, _ = new_app()
    async with connect(app) as bus:
        with pytest.raises(ev.InvalidArgument, match="billing"):
            async with bus.running(groups=groups):
                pass


async def test_an_app_without_handlers_is_refused(connect: Connect) -> None:
    async with connect(ev.App("shop")) as bus:
        with pytest.raises(ev.InvalidArgument, match=r"no handlers.*@app\.subscribe"):
            async with bus.running():
                pass


async def test_settings_of_a_group_without_a_handler_are_refused(connect: Connect) -> None:
    """Otherwise the settings of a misspelt group, such as its order by key, would be lost without an error."""
    app, _ = new_app()
    app.group("biling", ordered_by="number")
    async with connect(app) as bus:
        with pytest.raises(ev.InvalidArgument, match=r"\['biling'\] are set and have no handler.*'billing'"):
            async with bus.running():
                pass


async def test_a_consumer_holds_at_most_concurrency_plus_prefetch_entries(
    connect: Connect, inspector: Inspector
) -> None:
    app, release, running, most = ev.App("shop"), asyncio.Event(), set[int](), list[int]()
    app.group("billing", concurrency=3, prefetch=2)

    @app.subscribe(OrderPlaced, group="billing")
    async def bill(event: OrderPlaced, _: ev.Delivery) -> None:
        running.add(event.number)
        most.append(len(running))
        await release.wait()
        await asyncio.sleep(0)
        running.discard(event.number)

    record = Record()
    async with connect(app) as bus, bus.running(observe=record):
        await bus.publish_many(orders(*range(20)))
        await eventually(lambda: len(running) == 3)
        await bus.backlog("orders", "billing")  # a round trip in which it could have read more
        assert len(await inspector.pending()) <= 5
        release.set()
        await eventually(lambda: record.count("acked") == 20)
    assert max(most) == 3


async def handled_and_noted(inspector: Inspector, handled: list[int], count: int) -> bool:
    """True once so many are handled and a sweep has stored the group's cursor."""
    info = await inspector.raw.xinfo_groups(inspector.keys.stream)
    at = info[0]["last-delivered-id"].decode()
    return len(handled) == count and await inspector.pending() == [] and await inspector.cursor() == at


async def test_trap_20_a_destroyed_group_is_created_again_at_its_stored_cursor(
    connect: Connect, inspector: Inspector
) -> None:
    """Starting at `$` would lose 4 and 5; starting at `0` would repeat 1 to 3."""
    app, handled = new_app(concurrency=1, lease_s=0.3)
    async with connect(app) as bus:
        async with bus.running():
            await bus.publish_many(orders(1, 2, 3))
            await eventually(lambda: handled_and_noted(inspector, handled, 3))
            await inspector.raw.xgroup_destroy(inspector.keys.stream, "billing")
            await bus.publish_many(orders(4, 5))
            await eventually(lambda: len(handled) >= 5)
        assert (await bus.backlog("orders", "billing")).total == 0
    assert handled == [1, 2, 3, 4, 5]


async def test_trap_20_a_group_destroyed_while_handlers_run_loses_no_event(
    connect: Connect, inspector: Inspector
) -> None:
    """The entries under way are read again, because their acknowledgements may be lost. The consumer goes on."""
    app, started, handled, release = ev.App("shop"), list[int](), list[int](), asyncio.Event()
    app.group("billing", lease_s=0.3)

    @app.subscribe(OrderPlaced, group="billing", retry=AT_ONCE)
    async def bill(event: OrderPlaced, _: ev.Delivery) -> None:
        started.append(event.number)
        await release.wait()
        handled.append(event.number)

    async with connect(app) as bus, bus.running():
        await bus.publish_many(orders(1, 2, 3))
        await eventually(lambda: len(started) == 3)
        await inspector.raw.xgroup_destroy(inspector.keys.stream, "billing")
        await bus.publish(OrderPlaced(number=4))
        await eventually(lambda: 4 in started)
        release.set()
        await bus.publish(OrderPlaced(number=5))
        await eventually(lambda: {1, 2, 3, 4, 5} <= set(handled))
        await eventually(lambda: nothing_left(bus))


@pytest.mark.parametrize("what", ["everything", "the stream", "the retry stream"])
async def test_trap_20_after_a_flush_consumers_get_events_and_do_not_flood_the_log(
    connect: Connect, inspector: Inspector, raw: redis.Redis, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    app, handled = new_app(lease_s=0.3)
    caplog.set_level(logging.INFO, "eventlib")
    async with connect(app) as bus, bus.running():
        await bus.publish(OrderPlaced(number=1))
        await eventually(lambda: handled == [1])
        if what == "everything":
            await bus.delete_all()
        else:
            await raw.unlink(inspector.keys.stream if what == "the stream" else inspector.keys.retry)
        await bus.publish(OrderPlaced(number=2))
        await eventually(lambda: 2 in handled)
    assert len(caplog.records) - caplog.text.count("the event loop stood still") < 20


async def start_of(broker: Broker, inspector: Inspector) -> str:
    """The group's position after it was destroyed and created again."""
    await inspector.raw.xgroup_destroy(inspector.keys.stream, "billing")
    await ConsumerCommands(broker, inspector.keys, "c1").ensure_group()
    [info] = await inspector.raw.xinfo_groups(inspector.keys.stream)
    return str(info["last-delivered-id"].decode())


async def test_trap_20_a_stored_cursor_of_a_deleted_stream_is_not_used_for_the_new_stream(
    broker: Broker, inspector: Inspector
) -> None:
    """The stream was deleted and the clock was put back: new entries have lower ids than the group's stored cursor."""
    await inspector.raw.xadd(inspector.keys.stream, {"event": "old"}, id="9000-5")
    await ConsumerCommands(broker, inspector.keys, "c1").ensure_group()
    await inspector.read_and_die()
    await ConsumerCommands(broker, inspector.keys, "dead").ack([Entry(False, "9000-5", "9000-5", b"x")])
    await ConsumerCommands(broker, inspector.keys, "c1").sweep(30.0, 10, 0.0)
    assert await inspector.cursor() == "9000-5" == await start_of(broker, inspector)
    await inspector.raw.unlink(inspector.keys.stream)
    await inspector.raw.xadd(inspector.keys.stream, {"event": "new"}, id="100-0")
    assert await start_of(broker, inspector) == "0-0"
    assert await inspector.read_and_die() == ["100-0"]


async def test_trap_20_a_stream_that_was_deleted_and_created_again_is_read_from_its_beginning(
    broker: Broker, inspector: Inspector
) -> None:
    """Its last id may already be above the stored cursor. Its lower entry count shows that it is another stream."""
    for n in range(1, 4):
        await inspector.raw.xadd(inspector.keys.stream, {"event": "old"}, id=f"{n}000-0")
    await ConsumerCommands(broker, inspector.keys, "c1").ensure_group()
    read = await inspector.read_and_die()
    await ConsumerCommands(broker, inspector.keys, "dead").ack([Entry(False, id_, id_, b"x") for id_ in read])
    await ConsumerCommands(broker, inspector.keys, "c1").sweep(30.0, 10, 0.0)
    await inspector.raw.unlink(inspector.keys.stream)
    for id_ in ("2500-0", "3500-0"):
        await inspector.raw.xadd(inspector.keys.stream, {"event": "new"}, id=id_)
    assert await start_of(broker, inspector) == "0-0"
    assert await inspector.read_and_die() == ["2500-0", "3500-0"]


@pytest.mark.parametrize(("pending", "cursor"), [("7-3", "7-2"), ("7-0", "6-18446744073709551615")])
async def test_trap_20_the_stored_cursor_is_before_every_unfinished_entry(
    broker: Broker, inspector: Inspector, pending: str, cursor: str
) -> None:
    for id_ in (pending, "8-0", "9-0"):
        await inspector.raw.xadd(inspector.keys.stream, {"event": "x"}, id=id_)
    await ConsumerCommands(broker, inspector.keys, "c1").ensure_group()
    assert await inspector.read_and_die(2) == [pending, "8-0"]
    await ConsumerCommands(broker, inspector.keys, "c1").sweep(30.0, 10, 0.0)
    assert await inspector.cursor() == cursor == await start_of(broker, inspector)
    assert await inspector.read_and_die() == [pending, "8-0", "9-0"]


async def test_trap_20_a_stored_cursor_works_after_its_entry_was_trimmed(broker: Broker, inspector: Inspector) -> None:
    for n in range(1, 6):
        await inspector.raw.xadd(inspector.keys.stream, {"event": "x"}, id=f"{n}-0")
    await ConsumerCommands(broker, inspector.keys, "c1").ensure_group()
    await inspector.read_and_die(1)
    await ConsumerCommands(broker, inspector.keys, "dead").ack([Entry(False, "1-0", "1-0", b"x")])
    await ConsumerCommands(broker, inspector.keys, "c1").sweep(30.0, 10, 0.0)
    await inspector.raw.xtrim(inspector.keys.stream, maxlen=2, approximate=False)
    assert await start_of(broker, inspector) == "1-0"
    assert await inspector.read_and_die() == ["4-0", "5-0"]
    await inspector.raw.xtrim(inspector.keys.stream, maxlen=0, approximate=False)
    assert await start_of(broker, inspector) == "1-0"


async def test_trap_20_after_a_failover_to_an_older_copy_few_events_are_repeated_and_none_is_lost(
    connect: Connect, inspector: Inspector, raw: redis.Redis
) -> None:
    """All keys, with group and cursor, are those of some time ago. The consumer goes on and gets the new events."""
    app, handled = new_app(concurrency=1, lease_s=0.3)
    async with connect(app) as bus, bus.running():
        await bus.publish_many(orders(1, 2, 3))
        await eventually(lambda: handled_and_noted(inspector, handled, 3))
        copies = {
            key: await raw.dump(key) for key in (inspector.keys.stream, inspector.keys.retry, inspector.keys.sweep)
        }
        await bus.publish_many(orders(4, 5))
        await eventually(lambda: handled_and_noted(inspector, handled, 5))
        for key, copy in copies.items():
            assert copy is not None
            await raw.restore(key, 0, copy, replace=True)
        await bus.publish(OrderPlaced(number=6))
        await eventually(lambda: 6 in handled)
        await eventually(lambda: nothing_left(bus))
    assert handled == [1, 2, 3, 4, 5, 6]


async def test_trap_20_a_key_of_a_wrong_type_does_not_flood_the_log(
    connect: Connect,
    inspector: Inspector,
    raw: redis.Redis,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The consumer waits longer after each failed try. The health of the bus shows the error."""
    app, handled = new_app(lease_s=0.3)
    failed_at, request = defaultdict[tuple[Argument, ...], list[float]](list), PipelinedConnection.request

    def request_and_note(link: PipelinedConnection, command: Sequence[Argument], *rest: Any) -> asyncio.Future[Any]:
        def note(reply: asyncio.Future[Any]) -> None:
            if not reply.cancelled() and isinstance(reply.exception(), ev.BrokerError):
                failed_at[tuple(command[:2])].append(time.monotonic())

        reply = request(link, command, *rest)
        reply.add_done_callback(note)
        return reply

    monkeypatch.setattr(PipelinedConnection, "request", request_and_note)
    async with connect(app) as bus, bus.running():
        await bus.publish(OrderPlaced(number=1))
        await eventually(lambda: handled == [1])
        await raw.set(inspector.keys.stream, "a string")
        await eventually(lambda: "WRONGTYPE" in (bus.health()[0].problem or ""))
        assert not bus.health()[0].connected
        tries, *_ = await eventually(lambda: [times for times in failed_at.values() if len(times) >= 5])
        await raw.unlink(inspector.keys.stream)
        await bus.publish(OrderPlaced(number=2))
        await eventually(lambda: 2 in handled)
        await eventually(lambda: bus.health()[0].connected)
    assert tries[4] - tries[0] >= 0.3  # 25, 50, 100 and 200 ms at least
    assert len(caplog.records) - caplog.text.count("the event loop stood still") < 20


@pytest.mark.parametrize("ordered_by", [None, "number"])
async def test_a_first_read_without_the_group_takes_nothing_from_the_retry_stream(
    broker: Broker, inspector: Inspector, ordered_by: str | None
) -> None:
    """What such a read took would be held by a consumer that does not know of it, for a lease and an attempt."""
    commands = ConsumerCommands(broker, inspector.keys, "c1")
    await commands.ensure_group()
    await inspector.raw.xadd(inspector.keys.retry, {"event": "retried", "attempts": "1", "origin": "1-0"})
    await inspector.raw.xgroup_destroy(inspector.keys.stream, inspector.keys.group)
    reader, read = commands.reader(1.0, ordered_by), list[Entry]()
    with pytest.raises(ev.MissingGroup):
        await reader.read_at_once(10, 1000, read.extend)
    await commands.ensure_group()
    await reader.read_at_once(10, 1000, read.extend)
    assert [(entry.event, entry.deliveries) for entry in read] == [(b"retried", 1)]
    await reader.close()
