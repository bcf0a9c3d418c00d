"""A published event is appended once and in order, even if calls, replies or connections are lost."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest
import redis.asyncio as redis

import eventlib as ev
from eventlib.broker import connections
from eventlib.broker.connections import Broker
from eventlib.broker.dead_letters import DeadLetterCommands
from eventlib.broker.publishing import PublishCommands
from eventlib.events.envelope import decode
from eventlib.records import NumberedBatch
from eventlib.testing.fault_proxy import fault_proxy
from eventlib.testing.inspector import Inspector
from eventlib.testing.waiting import eventually
from tests.shop import Connect, OrderPlaced, StockCounted, new_app, orders


async def numbers(inspector: Inspector) -> list[int]:
    """The numbers of the orders in the stream."""
    read = [decode(fields[b"event"], {"order.placed": OrderPlaced}) for fields in await inspector.events()]
    return [envelope.event.number for envelope in read if envelope and isinstance(envelope.event, OrderPlaced)]


async def test_order_within_a_stream_is_kept(connect: Connect) -> None:
    app, handled = new_app(concurrency=1)
    async with connect(app) as bus, bus.running():
        for start in range(0, 200, 50):
            await bus.publish_many(orders(*range(start, start + 50)))
        await eventually(lambda: len(handled) == 200)
    assert handled == list(range(200))


@pytest.mark.parametrize("count", [0, 1, 499, 500, 501, 1234])
async def test_publish_many_appends_all_in_order_and_returns_their_ids(
    connect: Connect, inspector: Inspector, count: int
) -> None:
    async with connect(ev.App("shop")) as bus:
        ids = await bus.publish_many(orders(*range(count)), correlation_id="c1", causation_id="e0")
    written = [decode(fields[b"event"], {"order.placed": OrderPlaced}) for fields in await inspector.events()]
    assert await numbers(inspector) == list(range(count))
    assert [e.id for e in written if e] == ids
    assert {(e.source, e.correlation_id, e.causation_id) for e in written if e} <= {("shop", "c1", "e0")}


async def test_publish_many_keeps_the_order_of_each_stream(connect: Connect, inspector: Inspector) -> None:
    mixed = [event for n in range(20) for event in (OrderPlaced(number=n), StockCounted(number=n))]
    async with connect(ev.App("shop")) as bus:
        assert len(set(await bus.publish_many(mixed))) == 40
    assert await numbers(inspector) == list(range(20))


async def test_calls_made_in_turn_keep_their_order_even_if_one_of_them_goes_to_two_streams(
    connect: Connect, inspector: Inspector
) -> None:
    async with connect(ev.App("shop")) as bus:
        first = asyncio.create_task(bus.publish_many([OrderPlaced(number=1), StockCounted(number=1)]))
        await asyncio.gather(first, bus.publish(OrderPlaced(number=2)))
    assert await numbers(inspector) == [1, 2]


async def test_publishes_at_the_same_time_are_all_appended_once(connect: Connect, inspector: Inspector) -> None:
    async with connect(ev.App("shop")) as bus:
        ids = await asyncio.gather(*(bus.publish(event) for event in orders(*range(1000))))
    assert len(set(ids)) == 1000
    assert await numbers(inspector) == list(range(1000))


async def test_a_cancelled_publish_leaves_the_others_alone(connect: Connect, inspector: Inspector) -> None:
    async with connect(ev.App("shop")) as bus:
        calls = [asyncio.create_task(bus.publish(event)) for event in orders(*range(9))]
        await asyncio.sleep(0)
        calls[4].cancel()
        results = await asyncio.gather(*calls, return_exceptions=True)
        await bus.publish(OrderPlaced(number=9))
    assert [isinstance(result, str) for result in results] == [n != 4 for n in range(9)]
    assert set(range(10)) - {4} <= set(await numbers(inspector))


async def test_a_numbered_batch_sent_twice_is_appended_once(broker: Broker, inspector: Inspector) -> None:
    await PublishCommands(broker).append(NumberedBatch("orders", 1, []), "p1", 3600.0)  # takes no number
    await PublishCommands(broker).append(NumberedBatch("orders", 1, [b"a", b"b"]), "p1", 3600.0)
    await PublishCommands(broker).append(NumberedBatch("orders", 1, [b"a", b"b"]), "p1", 3600.0)
    await PublishCommands(broker).append(
        NumberedBatch("orders", 2, [b"b", b"c"]), "p1", 3600.0
    )  # "b" was appended before
    await PublishCommands(broker).append(
        NumberedBatch("orders", 1, [b"d"]), "p2", 3600.0
    )  # each producer has numbers of its own
    assert [fields[b"event"] for fields in await inspector.events()] == [b"a", b"b", b"c", b"d"]


async def test_trap_22_a_repeat_that_arrives_late_does_not_set_the_last_number_back(
    broker: Broker, inspector: Inspector
) -> None:
    """A repeat that was left in a broken connection may arrive after batches from the next connection."""
    for first, body in ((1, b"a"), (2, b"b"), (1, b"a"), (2, b"b")):
        await PublishCommands(broker).append(NumberedBatch("orders", first, [body]), "p1", 3600.0)
    assert await inspector.events() == [{b"event": b"a"}, {b"event": b"b"}]


async def test_a_bus_that_closes_leaves_no_key_of_its_producer(
    connect: Connect, raw: redis.Redis, namespace: str
) -> None:
    async with connect(ev.App("shop")) as bus:
        await bus.publish(OrderPlaced(number=1))
        assert await raw.keys(f"{namespace}:*producer*")
    assert not await raw.keys(f"{namespace}:*producer*")


async def test_a_killed_producer_leaves_a_key_that_expires(broker: Broker, raw: redis.Redis) -> None:
    await PublishCommands(broker).append(NumberedBatch("orders", 1, [b"a"]), "p1", 3600.0)
    assert 0 < await raw.pttl(broker.keys.producer("orders", "p1")) <= 3_600_000


@pytest.mark.parametrize("count", [1, 400])
async def test_trap_22_a_lost_reply_does_not_double_events(
    connect: Connect, broker: Broker, inspector: Inspector, url: str, count: int
) -> None:
    """The first try does not double them either if a proxy holds it back until the bus is closed."""
    async with fault_proxy(url) as faulty, connect(ev.App("shop"), url=faulty.url) as bus:
        await bus.publish(OrderPlaced(number=0))
        faulty.lose_reply_to(b'"number":1}')
        await bus.publish_many(orders(*range(1, count + 1)))
        assert faulty.lost == 1
        producer = bus._publisher._route._producer  # type: ignore[attr-defined]
    late = [fields[b"event"] for fields in await inspector.events()][1:]
    assert await PublishCommands(broker).append(NumberedBatch("orders", 2, late), producer, 3600.0) == 0
    assert await numbers(inspector) == list(range(count + 1))


async def test_trap_22_a_lost_reply_to_the_very_first_publish_does_not_double_it(
    connect: Connect, inspector: Inspector, url: str
) -> None:
    """The first publish may have to send the text of the script. That is safe to repeat too."""
    await inspector.raw.script_flush()
    async with fault_proxy(url) as faulty, connect(ev.App("shop"), url=faulty.url) as bus:
        faulty.lose_reply_to(b"redis.call('XADD', KEYS[1]")
        await bus.publish(OrderPlaced(number=0))
        assert faulty.lost == 1
    assert await numbers(inspector) == [0]


async def test_trap_22_nothing_below_the_outage_policy_repeats_a_call_without_a_reply(
    connect: Connect, inspector: Inspector, url: str, raw: redis.Redis
) -> None:
    async with fault_proxy(url) as faulty, connect(ev.App("shop"), url=faulty.url, outage_policy=ev.Fail()) as bus:
        await bus.publish(OrderPlaced(number=0))
        before = await scripts_run(raw)
        faulty.lose_reply_to(b'"number":1}')
        with pytest.raises(ev.BrokerUnavailable):
            await bus.publish(OrderPlaced(number=1))
        assert await scripts_run(raw) == before + 1
    assert await numbers(inspector) == [0, 1]


async def scripts_run(raw: redis.Redis) -> int:
    stats = await raw.info("commandstats")
    return sum(stats.get(f"cmdstat_{command}", {}).get("calls", 0) for command in ("eval", "evalsha"))


async def test_trap_21_a_server_that_answers_late_gets_the_batch_again_and_appends_it_once(
    connect: Connect, inspector: Inspector, raw: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connect(ev.App("shop")) as bus:
        await bus.publish(OrderPlaced(number=0))
        monkeypatch.setattr(connections, "REPLY_TIMEOUT_S", 0.2)
        await raw.client_pause(timeout=700, all=False)
        await bus.publish_many(orders(*range(1, 100)))
        await bus.publish(OrderPlaced(number=100))
    assert await numbers(inspector) == list(range(101))


async def test_a_sender_whose_task_is_cancelled_before_it_runs_sends_what_comes_later(connect: Connect) -> None:
    async with connect(ev.App("shop")) as bus:
        await bus.publish(OrderPlaced(number=0))
        for count in (1, 600):  # 600: a batch is on its way before there is a task
            calls = [asyncio.create_task(bus.publish(event)) for event in orders(*range(count))]
            await asyncio.sleep(0)
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            ends = await asyncio.gather(*calls, return_exceptions=True)
            assert all(isinstance(end, asyncio.CancelledError) for end in ends)
            async with asyncio.timeout(30.0):
                await bus.publish(OrderPlaced(number=9))


@pytest.mark.parametrize("sending", ["publish", "edit"])
async def test_trap_21_large_calls_have_longer_timeouts_and_a_connection_that_no_lease_waits_for(
    broker: Broker, inspector: Inspector, monkeypatch: pytest.MonkeyPatch, sending: str
) -> None:
    allowed, request = list[float](), broker._bulk.request

    def noting(command: Sequence[str | bytes | float], timeout_s: float) -> "asyncio.Future[object]":
        allowed.append(timeout_s)
        return request(command, timeout_s)

    monkeypatch.setattr(broker._bulk, "request", noting)
    for number, size in ((1, 1), (2, 8_000_000)):
        if sending == "publish":
            await PublishCommands(broker).append(NumberedBatch("orders", number, [b"x" * size]), "p1", 3600.0)
        else:
            await DeadLetterCommands(broker, inspector.keys).edit("1-1", b"x" * size)
    assert allowed[-1] >= allowed[0] + 7.9  # at 1 MB/s


async def test_trap_22_after_a_failover_to_an_older_copy_publishes_are_appended(
    broker: Broker, inspector: Inspector, raw: redis.Redis
) -> None:
    """The copy lacks a batch and the number of this batch: one script writes both."""
    copied = [inspector.keys.stream, broker.keys.producer("orders", "p1")]
    await PublishCommands(broker).append(NumberedBatch("orders", 1, [b"a", b"b"]), "p1", 3600.0)
    older = [(key, await raw.dump(key)) for key in copied]
    await PublishCommands(broker).append(
        NumberedBatch("orders", 3, [b"c"]), "p1", 3600.0
    )  # acknowledged, but not in the copy
    for key, content in older:
        await raw.restore(key, 0, content, replace=True)  # type: ignore[arg-type]  # bytes
    for _ in range(2):
        await PublishCommands(broker).append(NumberedBatch("orders", 4, [b"d", b"e"]), "p1", 3600.0)
    assert [fields[b"event"] for fields in await inspector.events()] == [b"a", b"b", b"d", b"e"]


async def test_trap_22_each_bus_has_numbers_of_its_own(connect: Connect, inspector: Inspector) -> None:
    async with connect(ev.App("shop")) as one, connect(ev.App("shop")) as two:
        await asyncio.gather(*((one, two)[n % 2].publish(OrderPlaced(number=n)) for n in range(100)))
    assert sorted(await numbers(inspector)) == list(range(100))


async def test_a_publish_waits_for_a_server_that_comes_back(connect: Connect, inspector: Inspector, url: str) -> None:
    async with fault_proxy(url) as faulty, connect(ev.App("shop"), url=faulty.url) as bus:
        faulty.refusing = True
        faulty.cut()
        publishing = asyncio.create_task(bus.publish_many(orders(1, 2, 3)))
        await eventually(lambda: faulty.refused >= 3)
        assert not publishing.done()
        faulty.refusing = False
        assert len(await publishing) == 3
    assert await numbers(inspector) == [1, 2, 3]


async def test_a_publish_fails_when_its_patience_is_over(connect: Connect, inspector: Inspector, url: str) -> None:
    async with fault_proxy(url) as faulty, connect(ev.App("shop"), url=faulty.url, outage_policy=ev.Wait(0.2)) as bus:
        faulty.refusing = True
        faulty.cut()
        with pytest.raises(ev.BrokerUnavailable):
            await bus.publish(OrderPlaced(number=1))
        faulty.refusing = False
        await bus.publish(OrderPlaced(number=2))
    assert await numbers(inspector) == [2]


async def test_an_event_without_a_type_is_refused_before_anything_is_sent(
    connect: Connect, inspector: Inspector
) -> None:
    class Untyped(ev.Event):
        pass

    async with connect(ev.App("shop")) as bus:
        with pytest.raises(ev.UnknownEventType):
            await bus.publish_many([OrderPlaced(number=1), Untyped()])
        with pytest.raises(ev.UnknownEventType, match="dict"):
            await bus.publish(cast(Any, {"number": 1}))
    assert await inspector.events() == []


async def test_a_closed_bus_refuses_calls(connect: Connect) -> None:
    app, _ = new_app()
    async with connect(app) as bus:
        pass
    with pytest.raises(ev.BusClosed):
        await bus.publish(OrderPlaced(number=1))
    with pytest.raises(ev.BusClosed):
        async with bus.running():
            pass
