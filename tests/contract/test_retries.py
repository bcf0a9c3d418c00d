"""A failing event is retried as its policy says. If all attempts fail, it becomes an unchanged dead letter."""

import asyncio
import itertools
import time
from typing import Any

import pytest

import eventlib as ev
from eventlib.broker.connections import Broker
from eventlib.broker.consuming import ConsumerCommands
from eventlib.broker.publishing import PublishCommands
from eventlib.broker.streams import StreamCommands
from eventlib.events.envelope import decode, write
from eventlib.records import Entry, NumberedBatch
from eventlib.testing.inspector import Inspector
from eventlib.testing.waiting import eventually
from tests.reading import read_as
from tests.shop import AT_ONCE, Connect, OrderPlaced, Record, orders

SOON = ev.Retry(attempts=3, wait_s=0.01, jitter="none")  # by way of the delayed entries
LATER = ev.Retry(attempts=3, wait_s=30.0, jitter="none")


@pytest.mark.parametrize("retry", [AT_ONCE, SOON])
async def test_trap_13_a_retry_reaches_the_failing_group_alone(
    connect: Connect, inspector: Inspector, retry: ev.Retry
) -> None:
    app, seen = ev.App("shop"), list[tuple[str, int]]()

    @app.subscribe(OrderPlaced, group="billing", retry=retry)
    async def bill(_: OrderPlaced, delivery: ev.Delivery) -> None:
        seen.append(("billing", delivery.attempt))
        if delivery.attempt < 3:
            raise ValueError("not yet")

    @app.subscribe(OrderPlaced, group="stock")
    async def reserve(_: OrderPlaced, delivery: ev.Delivery) -> None:
        seen.append(("stock", delivery.attempt))

    record = Record()
    async with connect(app) as bus, bus.running(observe=record):
        await bus.publish(OrderPlaced(number=1))
        await eventually(lambda: record.count("acked") == 2)
    assert sorted(seen) == [("billing", 1), ("billing", 2), ("billing", 3), ("stock", 1)]
    assert len(await inspector.events()) == 1


async def test_trap_12_a_failing_event_does_not_block_the_events_behind_it(
    connect: Connect, inspector: Inspector
) -> None:
    app, handled = ev.App("shop"), list[int]()
    app.group("billing", concurrency=1)

    @app.subscribe(OrderPlaced, group="billing", retry=LATER)
    async def bill(event: OrderPlaced, _: ev.Delivery) -> None:
        if event.number == 0:
            raise ValueError("not yet")
        handled.append(event.number)

    async with connect(app) as bus, bus.running():
        await bus.publish_many(orders(0, 1, 2, 3))
        await eventually(lambda: len(handled) == 3)
        backlog = await eventually(lambda: settled(bus))
    assert handled == [1, 2, 3]
    assert backlog == ev.Backlog(waiting=0, pending=0, retrying=0, delayed=1, dead=0)
    assert await inspector.pending() == []  # it waits outside of the stream and belongs to no consumer


async def settled(bus: ev.Bus) -> ev.Backlog | None:
    """The group's backlog, once no entry is waiting or pending."""
    backlog = await bus.backlog("orders", "billing")
    return None if backlog.waiting or backlog.pending else backlog


async def test_attempts_and_waits_follow_the_policy(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app, tries, record = ev.App("shop"), list[tuple[int, float]](), Record()
    delays_s, retry = list[float](), ConsumerCommands.retry
    policy = ev.Retry(attempts=4, wait_s=0.1, factor=2.0, wait_s_max=0.2, jitter="none")

    @app.subscribe(OrderPlaced, group="billing", retry=policy)
    async def bill(_: OrderPlaced, delivery: ev.Delivery) -> None:
        tries.append((delivery.attempt, time.monotonic()))
        raise ValueError("never")

    async def retry_and_note(commands: ConsumerCommands, entry: Entry, delay_s: float, **rest: Any) -> bool:
        delays_s.append(delay_s)
        return await retry(commands, entry, delay_s, **rest)

    monkeypatch.setattr(ConsumerCommands, "retry", retry_and_note)
    caplog.set_level("INFO")
    async with connect(app) as bus, bus.running(observe=record):
        id_ = await bus.publish(OrderPlaced(number=1))
        await eventually(lambda: record.count("dead"))
    told = [line for line in caplog.messages if "tried again" in line]
    assert len(told) == 3
    assert told[0] == f"orders/billing: event {id_} is tried again, because attempt 1 of 4 failed: ValueError('never')"
    times = [at for _, at in tries]
    waits = [after - before for before, after in itertools.pairwise(times)]
    assert [attempt for attempt, _ in tries] == [1, 2, 3, 4]
    assert delays_s == [0.1, 0.2, 0.2]
    for waited_s, wanted_s in zip(waits, delays_s, strict=True):
        assert waited_s >= wanted_s - 0.005
    kinds = ["started", "failed", "retried"] * 3 + ["started", "failed", "dead"]
    assert record.kinds() == kinds


async def test_an_exhausted_event_becomes_a_dead_letter_with_its_bytes_unchanged(
    connect: Connect, inspector: Inspector
) -> None:
    app, record = ev.App("shop"), Record()

    @app.subscribe(OrderPlaced, group="billing", retry=AT_ONCE)
    async def bill(event: OrderPlaced, _: ev.Delivery) -> None:
        raise ValueError(f"no money for {event.number}")

    async with connect(app) as bus, bus.running(observe=record):
        event_id = await bus.publish(OrderPlaced(number=7))
        await eventually(lambda: record.count("dead"))
        [dead] = await bus.dead_letters("orders", "billing").find()
        assert await bus.backlog("orders", "billing") == ev.Backlog(0, 0, 0, 0, dead=1)
    [fields] = await inspector.events()
    assert (dead.reason, dead.error, dead.attempts) == ("exhausted", "ValueError: no money for 7", 3)
    assert dead.handler == f"{bill.__module__}.{bill.__qualname__}"
    assert dead.raw[b"event"] == fields[b"event"]
    envelope = decode(dead.raw[b"event"], {"order.placed": OrderPlaced})
    assert envelope is not None and envelope.id == event_id


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ev.Reject("negative"), "rejected"),
        (ev.UnknownEventType("Order"), "usage"),
        (ev.DecodeError("bad"), "undecodable"),
    ],
)
async def test_trap_10_an_error_that_no_retry_can_fix_makes_a_dead_letter_at_once(
    connect: Connect, error: Exception, reason: str
) -> None:
    app, record = ev.App("shop"), Record()

    @app.subscribe(OrderPlaced, group="billing", retry=AT_ONCE)
    async def bill(_: OrderPlaced, __: ev.Delivery) -> None:
        raise error

    async with connect(app) as bus, bus.running(observe=record):
        await bus.publish(OrderPlaced(number=1))
        await eventually(lambda: record.count("dead"))
        [dead] = await bus.dead_letters("orders", "billing").find()
        assert (await bus.backlog("orders", "billing")).total == 0
    assert (dead.reason, dead.attempts) == (reason, 1)
    assert str(error) in dead.error


async def test_retry_after_replaces_the_wait_and_counts_as_an_attempt(connect: Connect) -> None:
    app, tries = ev.App("shop"), list[int]()

    @app.subscribe(OrderPlaced, group="billing", retry=LATER)
    async def bill(_: OrderPlaced, delivery: ev.Delivery) -> None:
        tries.append(delivery.attempt)
        raise ev.RetryAfter(0.02)

    async with connect(app) as bus, bus.running():
        await bus.publish(OrderPlaced(number=1))
        await eventually(lambda: bus.dead_letters("orders", "billing").find())
    assert tries == [1, 2, 3]


async def test_snooze_does_not_count_as_an_attempt(connect: Connect) -> None:
    app, tries = ev.App("shop"), list[int]()

    @app.subscribe(OrderPlaced, group="billing", retry=ev.Retry(attempts=1))
    async def bill(_: OrderPlaced, delivery: ev.Delivery) -> None:
        tries.append(delivery.attempt)
        if len(tries) < 5:
            raise ev.Snooze(0.01)

    async with connect(app) as bus, bus.running():
        await bus.publish(OrderPlaced(number=1))
        await eventually(lambda: len(tries) == 5)
    assert tries == [1] * 5


async def test_trap_26_due_times_use_the_servers_clock(
    broker: Broker, inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A consumer whose clock is an hour ahead delays a retry by the right time."""
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() + 3600.0)
    await PublishCommands(broker).append(NumberedBatch("orders", 1, [b"x"]), "p1", 3600.0)
    [entry] = await take(broker, inspector, 1)
    before_s = await inspector.now_s()
    assert await ConsumerCommands(broker, inspector.keys, "c1").retry(entry, 100.0)
    [due_s] = await inspector.due_s()
    assert before_s + 99.9 <= due_s <= await inspector.now_s() + 100.1


async def test_trap_27_promotion_moves_due_entries_in_limited_steps_and_loses_none(
    broker: Broker, inspector: Inspector
) -> None:
    await PublishCommands(broker).append(NumberedBatch("orders", 1, [b"%d" % n for n in range(5)]), "p1", 3600.0)
    for entry in await take(broker, inspector, 5):
        assert await ConsumerCommands(broker, inspector.keys, "c1").retry(entry, 0.001)
    await eventually(lambda: all_due(inspector))
    moved = [(await ConsumerCommands(broker, inspector.keys, "c1").promote(2))[0] for _ in range(4)]
    assert moved == [2, 2, 1, 0]
    assert (await StreamCommands(broker).backlog("orders", "billing")) == ev.Backlog(
        0, 0, retrying=5, delayed=0, dead=0
    )


async def test_trap_27_an_entry_that_cannot_be_promoted_stays_delayed(broker: Broker, inspector: Inspector) -> None:
    """The script adds it before it removes it, because a script that fails is not rolled back."""
    await PublishCommands(broker).append(NumberedBatch("orders", 1, [b"a"]), "p1", 3600.0)
    [entry] = await take(broker, inspector, 1)
    assert await ConsumerCommands(broker, inspector.keys, "c1").retry(entry, 0.001)
    await eventually(lambda: all_due(inspector))
    await inspector.raw.unlink(inspector.keys.retry)
    await inspector.raw.set(inspector.keys.retry, "no stream")
    with pytest.raises(ev.BrokerError, match="WRONGTYPE"):
        await ConsumerCommands(broker, inspector.keys, "c1").promote(10)
    await inspector.raw.unlink(inspector.keys.retry)
    assert (await ConsumerCommands(broker, inspector.keys, "c1").promote(10))[:2] == (1, None)


async def take(broker: Broker, inspector: Inspector, count: int) -> list[Entry]:
    """Read as consumer "c1"."""
    await inspector.create()
    return await read_as(broker, inspector.keys, "c1", count, block_s=1.0)


async def all_due(inspector: Inspector) -> bool:
    return max(await inspector.due_s()) <= await inspector.now_s()


async def test_many_failing_events_are_each_tried_as_often_as_allowed(connect: Connect) -> None:
    app, tries, record = ev.App("shop"), dict[int, list[int]](), Record()

    @app.subscribe(OrderPlaced, group="billing", retry=ev.Retry(attempts=3, wait_s=0.01))
    async def bill(event: OrderPlaced, delivery: ev.Delivery) -> None:
        tries.setdefault(event.number, []).append(delivery.attempt)
        await asyncio.sleep(0)
        raise ValueError("never")

    async with connect(app) as bus, bus.running(observe=record):
        await bus.publish_many(orders(*range(150)))  # more than one step of the promotion
        await eventually(lambda: record.count("dead") == 150)
        assert len(await bus.dead_letters("orders", "billing").find(count=1000)) == 150
        assert len(await bus.dead_letters("orders", "billing").find()) == 100
    assert tries == {number: [1, 2, 3] for number in range(150)}


async def test_an_event_of_an_older_program_is_retried_with_its_bytes_untouched(
    connect: Connect, inspector: Inspector
) -> None:
    app, seen, record = ev.App("shop"), list[ev.Delivery](), Record()

    @app.subscribe(OrderPlaced, group="billing", retry=AT_ONCE)
    async def bill(_: OrderPlaced, delivery: ev.Delivery) -> None:
        seen.append(delivery)
        raise ValueError("never")

    raw = write(OrderPlaced(number=1), "elsewhere", "c1", "e0")[1].replace(
        b'"data"', b'"traceparent":"00-ab" ,  "data"'
    )
    async with connect(app) as bus, bus.running(observe=record):
        await inspector.add(event=raw)
        await eventually(lambda: record.count("dead"))
        [dead] = await bus.dead_letters("orders", "billing").find()
    assert dead.raw[b"event"] == raw
    assert {d.correlation_id for d in seen} == {"c1"} and len({d.event_id for d in seen}) == 1


async def test_immediate_retries_come_before_delayed_ones_and_then_the_dead_letter_queue(connect: Connect) -> None:
    app, delays, record = ev.App("shop"), list[float](), Record()
    retry = ev.Retry(attempts=4, immediate=2, wait_s=0.2, jitter="none")
    last = time.monotonic()

    @app.subscribe(OrderPlaced, group="billing", retry=retry)
    async def bill(_: OrderPlaced, delivery: ev.Delivery) -> None:
        nonlocal last
        delays.append(time.monotonic() - last)
        last = time.monotonic()
        raise ValueError("never")

    async with connect(app) as bus, bus.running(observe=record):
        await bus.publish(OrderPlaced(number=1))
        await eventually(lambda: record.count("dead"))
        assert (await bus.backlog("orders", "billing")).dead == 1
    assert len(delays) == 4
    assert delays[3] >= 0.2


async def test_a_retry_budget_holds_back_retries_and_nothing_else(connect: Connect) -> None:
    """A dependency that fails for all: 40 events are tried once each, and only the 5 saved-up retries run."""
    app, tries, record = ev.App("shop"), list[int](), Record()
    app.group("billing", retry_budget=ev.RetryBudget(ratio=0.0, per_s=0.0, burst=5.0, wait_s=0.05))

    @app.subscribe(OrderPlaced, group="billing", retry=ev.Retry(attempts=5, wait_s=0.0))
    async def bill(_: OrderPlaced, delivery: ev.Delivery) -> None:
        tries.append(delivery.attempt)
        raise ValueError("the dependency is down")

    async with connect(app) as bus, bus.running(observe=record):
        await bus.publish_many(orders(*range(40)))
        await eventually(lambda: record.count("retried") >= 45 + 80)  # each was held back twice and more
        assert tries.count(1) == 40
        assert len(tries) == 45
        assert record.count("dead") == 0
        backlog = await bus.backlog("orders", "billing")
        assert backlog.total == 40  # no event is given up because of the budget


async def test_handled_events_earn_retries(connect: Connect) -> None:
    app, handled = ev.App("shop"), list[int]()
    app.group("billing", retry_budget=ev.RetryBudget(ratio=1.0, per_s=0.0, burst=1.0, wait_s=0.01))

    @app.subscribe(OrderPlaced, group="billing", retry=AT_ONCE)
    async def bill(event: OrderPlaced, delivery: ev.Delivery) -> None:
        if delivery.attempt == 1:
            raise ValueError("not yet")
        handled.append(event.number)

    async with connect(app) as bus, bus.running():
        await bus.publish_many(orders(*range(30)))
        await eventually(lambda: len(handled) == 30)
    assert sorted(handled) == list(range(30))


async def test_very_many_events_can_fail_at_once(connect: Connect) -> None:
    """All are settled over one connection, and other requests on it are still answered."""
    app, started, fail = ev.App("shop"), list[int](), asyncio.Event()
    app.group("billing", concurrency=400)

    @app.subscribe(OrderPlaced, group="billing", retry=AT_ONCE)
    async def bill(event: OrderPlaced, delivery: ev.Delivery) -> None:
        started.append(event.number)
        if delivery.attempt == 1:
            await fail.wait()
            raise ValueError("not yet")

    async with connect(app) as bus:
        await bus.publish_many(orders(*range(400)))
        async with bus.running():
            await eventually(lambda: len(started) == 400)
            fail.set()
            await bus.drained("orders", "billing")
    assert sorted(started) == sorted([*range(400), *range(400)])
