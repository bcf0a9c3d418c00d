"""The backlog counts every event that is not finished, wherever it waits."""

import asyncio
import random
from typing import Any

import pytest

import eventlib as ev
from eventlib.broker import scripts, streams
from eventlib.broker.connections import Broker
from eventlib.broker.consuming import ConsumerCommands
from eventlib.broker.publishing import PublishCommands
from eventlib.broker.streams import StreamCommands
from eventlib.records import Entry, NumberedBatch
from eventlib.testing.inspector import Inspector
from eventlib.testing.waiting import eventually
from tests.reading import read_as
from tests.shop import Connect, OrderPlaced, new_app, orders


async def test_the_backlog_of_a_stream_that_does_not_exist_is_zero(connect: Connect) -> None:
    async with connect(ev.App("shop")) as bus:
        backlog = await bus.backlog("orders", "billing")
        assert backlog == ev.Backlog(0, 0, 0, 0, 0) and backlog.total == 0
        assert await bus.dead_letters("orders", "billing").find() == []


async def test_the_backlog_of_a_group_that_never_ran_is_the_whole_stream(connect: Connect) -> None:
    async with connect(ev.App("shop")) as bus:
        await bus.publish_many(orders(*range(7)))
        assert await bus.backlog("orders", "billing") == ev.Backlog(waiting=7, pending=0, retrying=0, delayed=0, dead=0)


async def test_trap_30_the_backlog_counts_waiting_pending_retrying_and_delayed_entries(connect: Connect) -> None:
    app, begun, release = ev.App("shop"), list[int](), asyncio.Event()
    app.group("billing", concurrency=2)
    errors = {1: ev.Reject("no"), 2: ev.Snooze(60.0)}

    @app.subscribe(OrderPlaced, group="billing")
    async def bill(event: OrderPlaced, _: ev.Delivery) -> None:
        if event.number in errors:
            raise errors[event.number]
        begun.append(event.number)
        await release.wait()

    wanted = ev.Backlog(waiting=4, pending=2, retrying=0, delayed=1, dead=1)
    async with connect(app) as bus:
        async with bus.running():
            await bus.publish_many(orders(*range(1, 9)))
            await eventually(lambda: seen(bus, wanted))
            assert wanted.total == 7  # the dead are settled
            await eventually(lambda: len(begun) == 2)  # the server may have handed out what has not arrived yet
            asyncio.get_running_loop().call_soon(release.set)  # after the stop, which comes without a pause
        assert await bus.backlog("orders", "billing") == ev.Backlog(waiting=4, pending=0, retrying=0, delayed=1, dead=1)


async def seen(bus: ev.Bus, wanted: ev.Backlog) -> bool:
    return await bus.backlog("orders", "billing") == wanted


async def test_trap_30_the_backlog_counts_entries_that_wait_behind_another_of_their_key(
    broker: Broker, inspector: Inspector
) -> None:
    await PublishCommands(broker).append(
        NumberedBatch("orders", 1, [b'{"data":{"order_id":%d}}' % n for n in (1, 2, 1, 1)]), "p1", 3600.0
    )
    await ConsumerCommands(broker, inspector.keys, "c1").ensure_group()
    heads = await read_as(broker, inspector.keys, "dead", 10, ordered_by="order_id")
    parked = await StreamCommands(broker).backlog("orders", "billing")
    assert parked == ev.Backlog(waiting=0, pending=2, retrying=0, delayed=0, dead=0, parked=2) and parked.total == 4
    await ConsumerCommands(broker, inspector.keys, "dead").ack(heads)
    assert (await StreamCommands(broker).backlog("orders", "billing")).total == 2


async def test_trap_30_the_backlog_leaves_out_deleted_and_trimmed_entries(broker: Broker, inspector: Inspector) -> None:
    """After a deletion the server's own lag may be unknown, after a trim it may be wrong."""
    ids = [await inspector.add(event=b"%d" % n) for n in range(10)]
    read = await inspector.read_and_die(2)
    await ConsumerCommands(broker, inspector.keys, "dead").ack([Entry(False, id_, id_, b"") for id_ in read])
    assert (await StreamCommands(broker).backlog("orders", "billing")).waiting == 8
    await inspector.raw.xdel(inspector.keys.stream, ids[5])
    assert (await StreamCommands(broker).backlog("orders", "billing")).waiting == 7
    await inspector.raw.xtrim(inspector.keys.stream, maxlen=4, approximate=False)
    assert (await StreamCommands(broker).backlog("orders", "billing")).waiting == 4
    await inspector.raw.xtrim(inspector.keys.stream, maxlen=0, approximate=False)
    assert (await StreamCommands(broker).backlog("orders", "billing")).waiting == 0


async def test_trap_30_the_backlog_is_right_after_unread_entries_were_trimmed(
    broker: Broker, inspector: Inspector
) -> None:
    await inspector.create()
    await PublishCommands(broker).append(NumberedBatch("orders", 1, [b"%d" % n for n in range(10)]), "p1", 3600.0)
    await inspector.raw.xtrim(inspector.keys.stream, maxlen=3, approximate=False)
    assert (await StreamCommands(broker).backlog("orders", "billing")).waiting == 3


async def test_delete_all_deletes_this_namespace_alone(connect: Connect, namespace: str) -> None:
    async with connect(ev.App("shop")) as bus, connect(ev.App("shop"), namespace=f"{namespace}.2") as other:
        await bus.publish(OrderPlaced(number=1))
        await other.publish(OrderPlaced(number=1))
        assert await bus.delete_all() == 2  # the stream and the producer's numbers
        assert (await bus.backlog("orders", "billing")).total == 0
        assert (await other.backlog("orders", "billing")).total == 1
        await other.delete_all()


async def test_drained_refuses_a_misspelt_group_and_returns_for_one_without_backlog(connect: Connect) -> None:
    app, _ = new_app()
    async with connect(app) as bus:
        await bus.drained("orders", "billing")
        for stream, group in (("orders", "biling"), ("order", "billing")):
            with pytest.raises(ev.MissingGroup):
                await bus.drained(stream, group)
    async with connect(ev.App("operator")) as bus:
        with pytest.raises(ev.MissingGroup):
            await bus.drained("orders", "billing")  # it never ran
        async with connect(app) as shop, shop.running():
            await shop.publish(OrderPlaced(number=1))
            await shop.drained("orders", "billing")
        await bus.drained("orders", "billing")


async def test_drained_waits_for_delayed_retries_as_well(connect: Connect) -> None:
    app, attempts = ev.App("shop"), list[int]()

    @app.subscribe(OrderPlaced, group="billing", retry=ev.Retry(attempts=2, wait_s=0.2, jitter="none"))
    async def bill(_: OrderPlaced, delivery: ev.Delivery) -> None:
        attempts.append(delivery.attempt)
        if delivery.attempt == 1:
            raise ValueError("not yet")

    async with connect(app) as bus, bus.running():
        await bus.publish(OrderPlaced(number=1))
        await bus.drained("orders", "billing")
        assert attempts == [1, 2]


async def backlog(broker: Broker) -> ev.Backlog:
    return await StreamCommands(broker).backlog("orders", "billing")


async def test_trap_30_the_age_of_the_oldest_entry_wherever_it_waits(broker: Broker, inspector: Inspector) -> None:
    """The age counts from its first publish by the server's clock, however often the entry has moved since."""
    assert (await backlog(broker)).oldest_age_s is None
    now_ms = int(await inspector.now_s() * 1000.0)
    id_ = f"{now_ms - 500_000}-0"
    await inspector.raw.xadd(inspector.keys.stream, {"event": "x"}, id=id_)
    await inspector.raw.xadd(inspector.keys.stream, {"event": "y"}, id=f"{now_ms - 100_000}-0")
    seen = [await backlog(broker)]  # waiting
    await inspector.read_and_die()
    seen.append(await backlog(broker))  # pending
    await ConsumerCommands(broker, inspector.keys, "dead").retry(Entry(False, id_, id_, b"x"), 60.0)
    seen.append(await backlog(broker))  # delayed
    [member] = await broker.ask("ZRANGE", inspector.keys.delayed, 0, 0)
    await broker.ask("ZADD", inspector.keys.delayed, "XX", 0, member)
    assert (await ConsumerCommands(broker, inspector.keys, "c1").promote(10))[:2] == (1, None)
    seen.append(await backlog(broker))  # retrying
    assert [(b.waiting, b.pending, b.delayed, b.retrying) for b in seen] == [
        *((2, 0, 0, 0), (0, 2, 0, 0), (0, 1, 1, 0), (0, 1, 0, 1))
    ]
    assert all(500.0 <= (b.oldest_age_s or 0.0) < 530.0 for b in seen)
    [retried] = await inspector.read_and_die(retried=True)
    await ConsumerCommands(broker, inspector.keys, "dead").ack([Entry(True, retried, retried, b"x")])
    assert 100.0 <= ((await backlog(broker)).oldest_age_s or 0.0) < 130.0
    await ConsumerCommands(broker, inspector.keys, "dead").ack(
        [Entry(False, f"{now_ms - 100_000}-0", f"{now_ms - 100_000}-0", b"x")]
    )
    assert (await backlog(broker)).oldest_age_s is None


@pytest.mark.parametrize(
    ("long_s", "steps"), [(-1.0, [20, 10, 5, 2, *[1] * 22]), (60.0, [20, 40])], ids=["slow", "fast"]
)
async def test_counting_takes_smaller_steps_where_a_step_takes_long(
    broker: Broker, inspector: Inspector, monkeypatch: pytest.MonkeyPatch, long_s: float, steps: list[int]
) -> None:
    """Large entries make a step slow, and the server serves no other client during a step."""
    monkeypatch.setattr(streams, "COUNT_S", long_s)
    asked, run = list[int](), broker.run

    def noted(script: Any, *args: Any, **options: Any) -> Any:
        if script is scripts.COUNT:
            asked.append(args[-1])
        return run(script, *args, **options)

    monkeypatch.setattr(broker, "run", noted)
    await inspector.create()
    for n in range(1, 61):
        await inspector.raw.xadd(inspector.keys.stream, {"event": "x"}, id=f"{n}-1")
    await inspector.raw.xreadgroup("billing", "c1", {inspector.keys.stream: ">"}, 1)
    await inspector.raw.xdel(inspector.keys.stream, "30-1")  # after this no server knows its lag
    assert (await backlog(broker)).waiting == 58
    assert asked == steps


@pytest.mark.parametrize("seed", range(20))
async def test_trap_30_the_backlog_is_right_after_random_deletions_trims_and_reads(
    broker: Broker, inspector: Inspector, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The expected count looks at every entry. The server's own lag is null or wrong after half of these sequences."""
    monkeypatch.setattr(streams, "COUNT_FIRST", 7)
    monkeypatch.setattr(streams, "COUNT_LIMIT", 7)
    rng, raw, stream = random.Random(seed), inspector.raw, inspector.keys.stream
    await inspector.create()
    newest = 0
    for _ in range(60):
        match rng.choice(["add", "add", "read", "read", "ack", "delete", "trim", "move", "anew"][: 6 + seed % 4]):
            case "add":
                async with raw.pipeline(transaction=False) as adding:
                    for _ in range(rng.randint(1, 30)):
                        newest += 1
                        adding.xadd(stream, {"event": "x" * rng.randint(1, 200)}, id=f"{newest}-1")
                    await adding.execute()
            case "read":
                await raw.xreadgroup("billing", "c1", {stream: ">"}, rng.randint(1, 20))
            case "ack":
                if done := [row.id for row in await inspector.pending() if rng.random() < 0.5]:
                    await raw.xack(stream, "billing", *done)
            case "delete":
                for id_ in rng.sample(range(newest + 1), min(newest + 1, rng.randint(1, 4))):
                    await raw.xdel(stream, f"{id_}-1")
            case "trim":
                length = await raw.xlen(stream)
                await raw.xtrim(stream, maxlen=rng.randint(length // 2, length), approximate=rng.random() < 0.3)
            case "move":
                await raw.xgroup_setid(stream, "billing", f"{rng.randint(0, newest)}-1")
            case "anew":
                await raw.xgroup_destroy(stream, "billing")
                await raw.xgroup_create(stream, "billing", f"{rng.randint(0, newest)}-1")
        seen, pending, there = await backlog(broker), await inspector.pending(), await waiting(inspector)
        assert (seen.waiting, seen.pending) == (len(there), len(pending))
        oldest = min([number(row.id) for row in pending] + there, default=None)
        now_ms = await inspector.now_s() * 1000.0
        assert (oldest is None) == (seen.oldest_age_s is None)
        if seen.oldest_age_s is not None and oldest is not None:
            assert 0.0 <= now_ms - seen.oldest_age_s * 1000.0 - oldest < 10_000.0


def number(id_: str) -> int:
    return int(id_.split("-")[0])


async def waiting(inspector: Inspector) -> list[int]:
    """The numbers of the entries that the group was never given."""
    info: Any = await inspector.raw.xinfo_groups(inspector.keys.stream)
    last = info[0]["last-delivered-id"].decode()
    rows: Any = await inspector.raw.xrange(inspector.keys.stream, f"({last}")
    return [number(id_.decode()) for id_, _ in rows]
