"""A stream keeps the unfinished entries of live groups and the declared history. Every loss is counted and logged."""

import asyncio
import contextlib
import logging
import math
import random
from typing import Any

import pytest
import redis.asyncio as redis

import eventlib as ev
from eventlib.broker.connections import Broker
from eventlib.broker.consuming import ConsumerCommands
from eventlib.broker.keys import Keys
from eventlib.broker.publishing import PublishCommands
from eventlib.broker.streams import StreamCommands
from eventlib.operate import trimming
from eventlib.operate.trimming import Trimmer
from eventlib.records import Entry, NumberedBatch, Trimmed
from eventlib.testing.inspector import Inspector
from eventlib.testing.waiting import eventually
from tests.shop import Connect, OrderPlaced, new_app, orders

EVERY_S = 0.02
NO_HISTORY = ev.Retention(keep_s=0.0, keep_entries=0)


async def trim(broker: Broker, retention: ev.Retention | None, limit: int = 1000) -> Trimmed:
    """One step, as soon as it is due."""
    step = await eventually(lambda: StreamCommands(broker).trim("orders", retention, EVERY_S, limit))
    assert step is not None
    return step


async def trim_until_dead(broker: Broker, retention: ev.Retention, group: str) -> list[Trimmed]:
    """Trim until the group counts as dead. Returns every step, with that one."""
    steps = list[Trimmed]()
    while not any(g.name == group and not g.live for step in steps for g in step.groups):
        steps.append(await trim(broker, retention))
    return steps


def dropped(steps: list[Trimmed], group: str) -> int:
    return sum(g.dropped_now for step in steps for g in step.groups if g.name == group)


async def add_old(inspector: Inspector, *numbers: int) -> list[str]:
    """Add entries of the year 1970, which are older than any history with a limit."""
    async with inspector.raw.pipeline(transaction=False) as adding:
        for number in numbers:
            adding.xadd(inspector.keys.stream, {"event": "x" * 50}, id=f"{number}-0")
        await adding.execute()
    return [f"{number}-0" for number in numbers]


async def read(inspector: Inspector, group: str, count: int, *, ack: int) -> None:
    """Let a group of another library read `count` entries and acknowledge the first `ack` of them."""
    with contextlib.suppress(redis.ResponseError):  # it is there already
        await inspector.raw.xgroup_create(inspector.keys.stream, group, "0", mkstream=True)
    if count:
        await inspector.raw.xreadgroup(group, "c1", {inspector.keys.stream: ">"}, count)
        if done := (await pending_of(inspector, group))[:ack]:
            await inspector.raw.xack(inspector.keys.stream, group, *done)


async def pending_of(inspector: Inspector, group: str) -> list[bytes]:
    rows: Any = await inspector.raw.xpending_range(inspector.keys.stream, group, "-", "+", 10_000)
    return [row["message_id"] for row in rows]


async def ids(inspector: Inspector, first: bytes = b"-") -> list[bytes]:
    rows: Any = await inspector.raw.xrange(inspector.keys.stream, first)
    return [id_ for id_, _ in rows]


async def left(inspector: Inspector) -> list[int]:
    return [int(id_.split(b"-")[0]) for id_ in await ids(inspector)]


async def test_trap_17_entries_that_all_groups_acknowledged_are_deleted_and_free_memory(
    connect: Connect, inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trimming, "EVERY_S", EVERY_S)
    app, handled = new_app(concurrency=100)
    app.stream("orders", retention=NO_HISTORY)
    async with connect(app) as bus:
        await bus.publish_many(orders(*range(3000)))
        full = await memory_usage(inspector)
        async with bus.running():
            await eventually(lambda: stream_length(inspector, 0))
        assert sorted(handled) == list(range(3000))
        assert await memory_usage(inspector) < full / 20


async def memory_usage(inspector: Inspector) -> int:
    used: Any = await inspector.raw.memory_usage(inspector.keys.stream)
    return int(used)


async def stream_length(inspector: Inspector, length: int) -> bool:
    return bool(await inspector.raw.xlen(inspector.keys.stream) == length)


async def test_trap_17_without_a_declaration_the_history_is_limited(broker: Broker, inspector: Inspector) -> None:
    """The default is seven days; the entries of 1970 are older."""
    await add_old(inspector, 1, 2)
    await PublishCommands(broker).append(NumberedBatch("orders", 1, [b"new"]), "p1", 3600.0)
    await read(inspector, "billing", 3, ack=3)
    assert (await trim(broker, None)).dropped == 2
    assert await stream_length(inspector, 1)


@pytest.mark.parametrize("entries", [1000, 7, 0])
async def test_the_history_is_as_long_as_declared(broker: Broker, inspector: Inspector, entries: int) -> None:
    """It is exact to one entry, although a server can drop whole nodes of many entries."""
    await add_old(inspector, *range(1, 1001))
    await read(inspector, "billing", 1000, ack=1000)
    await trim(broker, ev.Retention(keep_s=math.inf, keep_entries=entries))
    assert await left(inspector) == list(range(1001 - entries, 1001))


async def test_a_history_without_a_limit(broker: Broker, inspector: Inspector) -> None:
    await add_old(inspector, *range(1, 301))
    await read(inspector, "billing", 300, ack=300)
    assert (await trim(broker, ev.Retention(keep_s=math.inf, keep_entries=None))).dropped == 0


async def test_trap_18_the_slowest_group_keeps_its_unread_entries(broker: Broker, inspector: Inspector) -> None:
    """Also a group that another library created, and one that has read nothing at all."""
    await add_old(inspector, *range(1, 401))
    await read(inspector, "fast", 400, ack=400)
    await read(inspector, "slow", 150, ack=120)
    await trim(broker, NO_HISTORY)
    assert await left(inspector) == list(range(121, 401))  # 121 was delivered to it and is pending
    await add_old(inspector, 401)
    await read(inspector, "late", 0, ack=0)
    await trim(broker, NO_HISTORY)
    assert len(await left(inspector)) == 281


async def test_trap_18_a_stream_without_groups_keeps_everything(broker: Broker, inspector: Inspector) -> None:
    await add_old(inspector, *range(1, 401))
    assert (await trim(broker, NO_HISTORY)).dropped == 0


async def test_trap_18_a_dead_group_does_not_stop_trimming_and_its_loss_is_counted(
    broker: Broker, inspector: Inspector
) -> None:
    retention = ev.Retention(keep_s=0.0, keep_entries=0, dead_after_s=0.2)
    await add_old(inspector, *range(1, 301))
    await read(inspector, "fast", 300, ack=300)
    await read(inspector, "gone", 200, ack=110)
    steps = await trim_until_dead(broker, retention, "gone")
    assert dropped(steps, "gone") == 190 and dropped(steps, "fast") == 0
    assert await left(inspector) == []
    assert sum(step.dropped for step in steps[:-1]) == 110  # while it was alive, its unfinished entries stayed


async def test_trap_18_stream_health_shows_a_loss_in_advance(
    broker: Broker, connect: Connect, inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the default settings, it is shown a week in advance."""
    monkeypatch.setattr(trimming, "EVERY_S", EVERY_S)
    await add_old(inspector, *range(1, 21))
    await read(inspector, "fast", 20, ack=20)
    await read(inspector, "gone", 8, ack=5)
    await trim(broker, ev.Retention())
    await eventually(lambda: absent(broker, "gone", 0.1))
    async with connect(ev.App("shop")) as bus:
        health = await bus.stream_health("orders")
    [fast, gone] = sorted(health.groups, key=lambda g: g.group)
    assert (health.entries, health.retention) == (15, ev.Retention())
    assert (fast.unread, fast.at_risk, fast.loss_in_s, fast.dropped) == (0, 0, None, 0)
    assert (gone.unread, gone.at_risk, gone.dropped, gone.live) == (15, 15, 0, True)
    assert gone.oldest_age_s is not None and gone.oldest_age_s > 1e9
    assert gone.loss_in_s == pytest.approx(ev.Retention().dead_after_s, rel=0.01)


async def absent(broker: Broker, group: str, least_s: float) -> bool:
    step = await trim(broker, ev.Retention())
    return any(g.name == group and g.absent_s >= least_s for g in step.groups)


async def test_trap_18_a_warning_is_logged_before_a_loss_and_an_error_after_it(
    connect: Connect, inspector: Inspector, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trimming, "EVERY_S", EVERY_S)
    app, _ = new_app()
    app.stream("orders", retention=ev.Retention(keep_s=0.0, keep_entries=None, dead_after_s=0.6))
    await read(inspector, "gone", 0, ack=0)
    async with connect(app) as bus, bus.running():
        await bus.publish_many(orders(*range(40)))
        await eventually(lambda: "40 entries dropped so far that group 'gone' had not read" in caplog.text)
        assert next(g for g in (await bus.stream_health("orders")).groups if g.group == "gone").dropped == 40
    levels = [record.levelname for record in caplog.records if "'gone'" in record.message]
    assert levels[0] == "WARNING" and "ERROR" in levels
    assert len(levels) <= 3


async def test_trap_18_a_group_that_comes_back_in_time_loses_nothing(broker: Broker, inspector: Inspector) -> None:
    retention = ev.Retention(keep_s=0.0, dead_after_s=0.3)
    await add_old(inspector, *range(1, 41))
    await read(inspector, "slow", 0, ack=0)
    for number in range(1, 41):
        assert (await trim(broker, retention)).groups[0].live
        await read(inspector, "slow", 1, ack=1)
        assert await left(inspector) and (await left(inspector))[0] <= number
    assert dropped([await trim(broker, retention)], "slow") == 0


async def test_trap_18_a_group_with_a_long_handler_does_not_count_as_absent(
    broker: Broker, inspector: Inspector
) -> None:
    """It renews its lease, and does nothing else."""
    retention = ev.Retention(keep_s=0.0, dead_after_s=0.2)
    [id_] = await add_old(inspector, 1)
    await inspector.read_and_die()
    for _ in range(20):
        await inspector.take_over(id_, "dead")
        assert (await trim(broker, retention)).groups[0].live


async def test_trap_18_a_group_without_work_does_not_count_as_absent(broker: Broker, inspector: Inspector) -> None:
    """After a quiet week the next event must find the group alive."""
    retention = ev.Retention(keep_s=0.0, dead_after_s=0.2)
    await add_old(inspector, 1)
    await read(inspector, "quiet", 1, ack=1)
    for _ in range(20):
        await trim(broker, retention)
    await add_old(inspector, 2)
    step = await trim(broker, retention)
    assert step.groups[0].live and await left(inspector) == [2]


async def test_trap_18_time_without_trimming_does_not_count_as_absence(broker: Broker, inspector: Inspector) -> None:
    """After a week in which all programs were stopped, the first one to start must not drop what others need."""
    retention = ev.Retention(keep_s=0.0, dead_after_s=1.0)
    await add_old(inspector, 1)
    await read(inspector, "closed", 0, ack=0)
    await trim(broker, retention)
    key = broker.keys.retention("orders")
    week_ago = (await inspector.now_s() - 7 * 86_400.0) * 1000.0
    await inspector.raw.hset(key, mapping={"ran": f"{week_ago:.0f}", "due": f"{week_ago:.0f}"})
    [group] = (await trim(broker, retention)).groups
    assert group.live and group.absent_s <= 2 * EVERY_S


async def test_trap_18_entries_of_a_destroyed_group_are_kept_until_it_counts_as_dead(
    broker: Broker, inspector: Inspector
) -> None:
    """A failover or a mistake may have destroyed it, so it may come back."""
    retention = ev.Retention(keep_s=0.0, dead_after_s=0.5)
    await add_old(inspector, *range(1, 11))
    await read(inspector, "fast", 10, ack=10)
    await read(inspector, "lost", 4, ack=4)
    await trim(broker, retention)
    await inspector.raw.xgroup_destroy(inspector.keys.stream, "lost")
    step = await trim(broker, retention)
    assert {(g.name, g.exists) for g in step.groups} == {("fast", True), ("lost", False)}
    assert await left(inspector) == [5, 6, 7, 8, 9, 10]
    await trim_until_dead(broker, retention, "lost")
    assert await left(inspector) == []
    assert {g.name for g in (await trim(broker, retention)).groups} == {"fast"}  # and is forgotten


async def test_trap_18_a_declared_group_exists_before_it_first_reads(
    connect: Connect, inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trimming, "EVERY_S", EVERY_S)
    app, handled = new_app()
    app.stream("orders", retention=NO_HISTORY)
    shipped: list[int] = []

    @app.subscribe(OrderPlaced, group="shipping")
    async def ship(event: OrderPlaced, _: ev.Delivery) -> None:
        shipped.append(event.number)

    async with connect(app) as bus:
        async with bus.running(groups=["billing"]):
            await bus.publish_many(orders(*range(20)))
            await eventually(lambda: len(handled) == 20)
            for _ in range(3):
                last = await ran_at(inspector)
                await eventually(lambda: later_than(inspector, last))  # noqa: B023 - awaited in the loop
        async with bus.running(groups=["shipping"]):
            await eventually(lambda: len(shipped) == 20)


async def later_than(inspector: Inspector, last: object) -> bool:
    return await ran_at(inspector) != last


async def ran_at(inspector: Inspector) -> object:
    """When the stream was last trimmed, or None if it never was."""
    return await inspector.raw.hget(inspector.keys.stream.replace(":events", ":retention"), "ran")


async def test_trap_18_hard_limits_count_what_each_group_lost(broker: Broker, inspector: Inspector) -> None:
    """Some entries were deleted by hand, some acknowledged out of order. Only dropped unfinished entries count."""
    limits = ev.Retention(keep_s=math.inf, keep_entries=100, keep_unread=False)
    await add_old(inspector, *range(1, 501))
    await read(inspector, "fast", 500, ack=500)
    await read(inspector, "slow", 200, ack=150)
    await read(inspector, "last", 0, ack=0)
    await inspector.raw.xdel(inspector.keys.stream, "160-0", "300-0", "10-0")  # 497 are left
    step = await trim(broker, limits)
    lost = {g.name: g.dropped_now for g in step.groups}
    assert lost == {"fast": 0, "slow": 49 + 199, "last": 397}
    assert step.dropped == 397 and await left(inspector) == list(range(401, 501))


async def test_trap_18_a_warning_is_logged_before_a_hard_limit_drops_unread_entries(
    broker: Broker, inspector: Inspector, caplog: pytest.LogCaptureFixture
) -> None:
    limits = ev.Retention(keep_s=math.inf, keep_entries=100, keep_unread=False)
    keeper = Trimmer(broker, "orders", [], limits)
    await add_old(inspector, *range(1, 90))
    await read(inspector, "slow", 0, ack=0)
    assert await keeper.trim() and "'slow'" not in caplog.text
    await add_old(inspector, 90)
    await inspector.raw.hdel(broker.keys.retention("orders"), "due")
    assert await keeper.trim() and "group 'slow' has 90 entries unread" in caplog.text
    await inspector.raw.hdel(broker.keys.retention("orders"), "due")
    assert await keeper.trim() and caplog.text.count("'slow'") == 1


@pytest.mark.parametrize("seed", range(12))
async def test_trap_18_trimming_and_counted_losses_are_exact_after_random_histories(
    broker: Broker, inspector: Inspector, seed: int
) -> None:
    """The expected values come from every entry and every pending list, before and after."""
    rng = random.Random(seed)
    stream, groups, newest = inspector.keys.stream, ["a", "b", "c"], 0
    for group in groups:
        await read(inspector, group, 0, ack=0)
    for _ in range(12):
        newest += (count := rng.randint(0, 150))
        await add_old(inspector, *range(newest - count + 1, newest + 1))
        for group in groups:
            await read_some(inspector, group, rng)
        for id_ in await some_ids(inspector, rng.randint(0, 5), rng):
            await inspector.raw.xdel(stream, id_)
        retention = ev.Retention(
            rng.choice([0.0, math.inf]), rng.choice([None, 0, 50, 200]), rng.random() < 0.5, dead_after_s=math.inf
        )
        before, undone = await ids(inspector), {group: await undone_of(inspector, group) for group in groups}
        await StreamCommands(broker).declare_retention("orders", retention)
        step = await trim(broker, retention, limit=rng.choice([40, 1000]))
        gone = before[: len(before) - len(await ids(inspector))]
        assert await ids(inspector) == before[len(gone) :]
        assert {g.name: g.dropped_now for g in step.groups} == {n: len(undone[n] & set(gone)) for n in groups}
        assert step.dropped == len(gone)
        if not step.more:
            assert len(gone) == expected(retention, before, undone)


def expected(retention: ev.Retention, before: list[bytes], undone: dict[str, set[bytes]]) -> int:
    """How many of the oldest entries go: those outside of the history, up to the first unfinished one of a group."""
    excess = len(before) - retention.keep_entries if retention.keep_entries is not None else 0
    beyond = len(before) if retention.keep_s == 0.0 else max(0, excess)
    needed = [before.index(id_) for ids in undone.values() for id_ in ids]
    return min([beyond, *needed]) if retention.keep_unread else beyond


async def read_some(inspector: Inspector, group: str, rng: random.Random) -> None:
    await inspector.raw.xreadgroup(group, "c1", {inspector.keys.stream: ">"}, rng.randint(1, 150))
    if done := [id_ for id_ in await pending_of(inspector, group) if rng.random() < 0.8]:
        await inspector.raw.xack(inspector.keys.stream, group, *done)


async def some_ids(inspector: Inspector, count: int, rng: random.Random) -> list[bytes]:
    there = await ids(inspector)
    return rng.sample(there, min(count, len(there)))


async def undone_of(inspector: Inspector, group: str) -> set[bytes]:
    """The entries that the group has not acknowledged: never delivered, or pending."""
    infos: Any = await inspector.raw.xinfo_groups(inspector.keys.stream)
    [last] = [info["last-delivered-id"] for info in infos if info["name"] == group.encode()]
    return {*await ids(inspector, b"(" + last), *await pending_of(inspector, group)} & set(await ids(inspector))


async def test_a_trimming_step_is_limited_and_the_next_steps_do_the_rest(broker: Broker, inspector: Inspector) -> None:
    await add_old(inspector, *range(1, 1001))
    await read(inspector, "billing", 1000, ack=1000)
    step = await trim(broker, NO_HISTORY, limit=300)
    assert (step.more, step.dropped, step.entries) == (True, 300, 700)
    assert await Trimmer(broker, "orders", [], None).trim()
    assert await left(inspector) == []


async def test_one_consumer_trims_at_a_time_and_none_blocks_the_others_for_ever(
    broker: Broker, inspector: Inspector
) -> None:
    await add_old(inspector, 1)
    assert await StreamCommands(broker).trim("orders", None, 60.0, 1000)
    assert await StreamCommands(broker).trim("orders", None, 60.0, 1000) is None
    hour_ahead = (await inspector.now_s() + 3600.0) * 1000.0  # the server's clock was put back by an hour
    await inspector.raw.hset(broker.keys.retention("orders"), "due", f"{hour_ahead:.0f}")
    assert await StreamCommands(broker).trim("orders", None, 60.0, 1000)


async def test_entries_that_wait_for_a_retry_do_not_stop_trimming(connect: Connect, inspector: Inspector) -> None:
    app, attempts = ev.App("shop"), dict[int, int]()
    delay_s = {1: 0.0, 2: 0.3}

    @app.subscribe(OrderPlaced, group="billing", retry=ev.Retry(attempts=2))
    async def bill(event: OrderPlaced, delivery: ev.Delivery) -> None:
        attempts[event.number] = delivery.attempt
        if delivery.attempt == 1:
            raise ev.RetryAfter(delay_s[event.number])

    async with connect(app) as bus:
        await bus.publish_many(orders(1, 2))
        async with bus.running():
            await eventually(lambda: attempts.keys() == {1, 2})
            await eventually(lambda: nothing_pending(inspector))
            step = await eventually(lambda: StreamCommands(bus._broker).trim("orders", NO_HISTORY, 0.0, 1000))
            assert step is not None
            await StreamCommands(bus._broker).declare_retention("orders", NO_HISTORY)
            await eventually(lambda: trimmed_to_nothing(bus, inspector))
            await eventually(lambda: attempts == {1: 2, 2: 2})


async def nothing_pending(inspector: Inspector) -> bool:
    return await inspector.pending() == []


async def trimmed_to_nothing(bus: ev.Bus, inspector: Inspector) -> bool:
    await StreamCommands(bus._broker).trim("orders", None, 0.0, 1000)
    return await stream_length(inspector, 0)


async def test_a_declared_retention_is_stored_with_the_stream(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """A program without a declaration must not drop entries that another program declared to keep."""
    careful, careless, changed = ev.App("audit"), ev.App("shop"), ev.App("audit")
    careful.stream("orders", retention=ev.Retention(keep_s=math.inf, keep_entries=None))
    changed.stream("orders", retention=ev.Retention(keep_s=60.0))
    async with connect(careful), connect(careless) as bus:
        assert (await bus.stream_health("orders")).retention == ev.Retention(keep_s=math.inf, keep_entries=None)
    assert "keeps" not in caplog.text
    async with connect(changed), connect(careless) as bus:
        assert (await bus.stream_health("orders")).retention == ev.Retention(keep_s=60.0)
    assert "stream orders keeps" in caplog.text


async def test_a_declared_retention_is_stored_again_after_a_flush(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trimming, "EVERY_S", EVERY_S)
    app, _ = new_app()
    app.stream("orders", retention=NO_HISTORY)
    async with connect(app) as bus, bus.running(), connect(ev.App("other")) as other:
        await bus.delete_all()
        await eventually(lambda: follows(other, NO_HISTORY))


async def follows(bus: ev.Bus, retention: ev.Retention) -> bool:
    return (await bus.stream_health("orders")).retention == retention


async def test_reading_the_stream_health_changes_nothing(
    connect: Connect, broker: Broker, inspector: Inspector, namespace: str
) -> None:
    async with connect(ev.App("shop")) as bus:
        assert (await bus.stream_health("orders")).groups == ()
        await add_old(inspector, 1)
        await read(inspector, "gone", 0, ack=0)
        for _ in range(2):
            [group] = (await bus.stream_health("orders")).groups
            assert (group.group, group.unread, group.absent_s) == ("gone", 1, 0.0)
    assert not await inspector.raw.exists(Keys(namespace).retention("orders"))


async def test_groups_with_unusual_names_are_respected(broker: Broker, connect: Connect, inspector: Inspector) -> None:
    await add_old(inspector, 1, 2)
    for name in (b"a b:{c}\n", b"\xff\x00", "grüße".encode()):
        await inspector.raw.xgroup_create(inspector.keys.stream, name, "0")
    for _ in range(2):
        assert (await trim(broker, NO_HISTORY)).dropped == 0
    async with connect(ev.App("shop")) as bus:
        assert {(g.group, g.unread) for g in (await bus.stream_health("orders")).groups} == {
            *{("a b:{c}\n", 2), ("grüße", 2), ("\\xff\x00", 2)}
        }


async def test_an_error_in_trimming_does_not_stop_handlers(
    connect: Connect,
    broker: Broker,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trimming, "EVERY_S", EVERY_S)
    app, handled = new_app()
    await broker.ask("SET", broker.keys.retention("orders"), "no hash")
    async with connect(app) as bus, bus.running():
        for number in range(20):
            await bus.publish(OrderPlaced(number=number))
            await eventually(lambda: number in handled)  # noqa: B023 - awaited in the loop
            await asyncio.sleep(EVERY_S / 2.0)
        await eventually(lambda: "trimming of orders waits" in caplog.text)
    assert caplog.text.count("trimming of orders waits") == 1
    assert logging.ERROR not in {record.levelno for record in caplog.records}


async def test_trimming_stops_at_the_oldest_pending_entry_of_a_group(broker: Broker, inspector: Inspector) -> None:
    """The oldest pending entry counts, not only how far the group has read."""
    await add_old(inspector, *range(1, 11))
    await read(inspector, "billing", 10, ack=0)
    await ConsumerCommands(broker, inspector.keys, "c1").ack(
        [Entry(False, f"{n}-0", f"{n}-0", b"x") for n in (1, 2, 5, 9)]
    )
    await trim(broker, NO_HISTORY)
    assert await left(inspector) == [3, 4, 5, 6, 7, 8, 9, 10]


def test_declaring_a_stream_twice_is_refused() -> None:
    app = ev.App("shop")
    app.stream("orders", retention=ev.Retention())
    with pytest.raises(ev.InvalidDeclaration, match="orders"):
        app.stream("orders", retention=ev.Retention())
    with pytest.raises(ev.InvalidDeclaration):
        app.stream("a b", retention=ev.Retention())
