"""Who holds an entry keeps it while alive; who is silent for a lease loses it, and nothing is lost with him."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import redis
from pydantic import field_validator

import eventlib as ev
from eventlib.broker.connections import Broker
from eventlib.broker.consuming import ConsumerCommands, TakenOver
from eventlib.broker.pipelined import Argument, PipelinedConnection
from eventlib.broker.publishing import PublishCommands
from eventlib.broker.streams import StreamCommands
from eventlib.records import Entry, NumberedBatch
from eventlib.testing.inspector import Inspector
from eventlib.testing.waiting import eventually
from tests.shop import AT_ONCE, Connect, OrderPlaced, Record, new_app, orders

LEASE_S = 0.3


class Desk:
    """A group whose handlers stay in the middle of their work until they are released."""

    def __init__(self, **group: float) -> None:
        self.app = ev.App("shop")
        self.app.group("billing", **{"lease_s": LEASE_S, **group})  # type: ignore[arg-type]
        self.started: list[ev.Delivery] = []
        self.release = asyncio.Event()
        self.error: Exception | None = None

        @self.app.subscribe(OrderPlaced, group="billing", retry=AT_ONCE)
        async def bill(_: OrderPlaced, delivery: ev.Delivery) -> None:
            self.started.append(delivery)
            await self.release.wait()
            if self.error is not None:
                raise self.error


@pytest.mark.parametrize("retried", [False, True])
async def test_trap_03_a_handler_longer_than_its_lease_is_not_run_twice(
    connect: Connect, inspector: Inspector, retried: bool
) -> None:
    desk = Desk(lease_s=1.0)  # a loaded machine may stand still for a shorter one
    async with connect(desk.app) as bus:
        await bus.publish(OrderPlaced(number=1))
        if retried:
            await inspector.read_and_die()
            await ConsumerCommands(bus._broker, inspector.keys, "dead").leave()  # gives it back to the retry stream
        async with bus.running(consumer="a"), bus.running(consumer="b"):
            await eventually(lambda: desk.started)
            await inspector.wait_for_renewals({desk.started[0].entry.id}, 7, retried=retried)  # more than two leases
            [row] = await inspector.pending(retried=retried)
            assert row.deliveries == 1  # renewing is not delivering
            desk.release.set()
    assert [delivery.entry.retried for delivery in desk.started] == [retried] and not desk.started[0].lost
    assert await inspector.pending(retried=retried) == []


async def test_trap_04_entries_that_wait_in_a_consumer_keep_their_lease(connect: Connect, inspector: Inspector) -> None:
    desk = Desk(concurrency=1, prefetch=3, lease_s=1.0)  # a loaded machine may stand still for a shorter one
    async with connect(desk.app) as bus:
        await bus.publish_many(orders(1, 2, 3, 4))
        async with bus.running(consumer="a"):
            await eventually(lambda: held(inspector, 4))
            async with bus.running(consumer="b"):
                await inspector.wait_for_renewals({row.id for row in await inspector.pending()}, 7)
                assert {(row.consumer, row.deliveries) for row in await inspector.pending()} == {("a", 1)}
                desk.release.set()
                await eventually(lambda: len(desk.started) == 4)
    assert [(d.consumer, d.attempt) for d in desk.started] == [("a", 1)] * 4


async def held(inspector: Inspector, count: int) -> bool:
    return len(await inspector.pending()) == count


@pytest.mark.usefixtures("nobody_sweeps")
@pytest.mark.parametrize("batches", [False, True])
async def test_trap_04_ownership_is_asked_for_after_a_standstill(
    connect: Connect, inspector: Inspector, url: str, batches: bool
) -> None:
    """A process that stood still for a lease may have lost what waits in it: then it must not start it."""
    app, started, record = ev.App("shop"), list[int](), Record()
    app.group("billing", concurrency=1, prefetch=1, lease_s=LEASE_S)
    may_block, second = asyncio.Event(), ""

    async def bill(event: OrderPlaced, _: ev.Delivery) -> None:
        started.append(event.number)
        if event.number == 1:
            await may_block.wait()
            time.sleep(LEASE_S * 1.2)  # noqa: ASYNC251 - standing still is the fault under test
            with redis.Redis.from_url(url) as thief:  # meanwhile another consumer took the second one over
                thief.xclaim(inspector.keys.stream, "billing", "thief", 0, [second], justid=True)

    async def bill_one(batch: ev.Batch[OrderPlaced]) -> None:
        for event, delivery in batch:
            await bill(event, delivery)

    if batches:
        app.subscribe_batch(OrderPlaced, group="billing", size=1)(bill_one)
    else:
        app.subscribe(OrderPlaced, group="billing")(bill)

    async with connect(app) as bus, bus.running(observe=record):
        await bus.publish_many(orders(1, 2))
        await eventually(lambda: held(inspector, 2))
        second = (await inspector.pending())[1].id
        may_block.set()
        await eventually(lambda: "lost" in record.kinds() and "acked" in record.kinds())
        assert started == [1]
        assert [(row.id, row.consumer) for row in await inspector.pending()] == [(second, "thief")]


@pytest.mark.usefixtures("nobody_sweeps")
async def test_trap_04_what_the_server_gave_a_process_that_stood_still_may_be_anothers(
    connect: Connect, inspector: Inspector, url: str
) -> None:
    """It stood still in its blocking read: what it then finds in the reply was taken over meanwhile."""
    app, handled = new_app(lease_s=LEASE_S)
    async with connect(app) as bus:
        await bus.publish(OrderPlaced(number=1))
        [fields] = await inspector.events()
        async with bus.running(consumer="a"):
            await eventually(lambda: handled == [1])
            await eventually(lambda: is_blocked(inspector))
            with redis.Redis.from_url(url) as thief:
                id_ = thief.xadd(inspector.keys.stream, fields)
                time.sleep(LEASE_S * 1.5)  # noqa: ASYNC251 - standing still is the fault under test
                thief.xclaim(inspector.keys.stream, "billing", "thief", 0, [id_], justid=True)
            await eventually(lambda: is_blocked(inspector))
        assert handled == [1]
        assert [row.consumer for row in await inspector.pending()] == ["thief"]


async def is_blocked(inspector: Inspector) -> bool:
    """Whether a reader waits at the server."""
    info: Any = await inspector.raw.info("clients")
    return bool(info["blocked_clients"])


async def test_trap_01_a_dead_consumers_work_is_taken_over_on_a_quiet_stream(
    connect: Connect, inspector: Inspector
) -> None:
    app, handled = new_app(lease_s=LEASE_S)
    record = Record()
    async with connect(app) as bus:
        await bus.publish_many(orders(1, 2, 3))
        assert len(await inspector.read_and_die()) == 3
        async with bus.running(observe=record):
            await eventually(lambda: record.count("acked") == 3)
    assert sorted(handled) == [1, 2, 3]
    assert {h.delivery.attempt for h in record.observations} == {2}  # the dead consumer may have begun: it counts
    assert await inspector.pending() == []


async def test_work_is_taken_over_from_the_retry_stream_as_well(connect: Connect, inspector: Inspector) -> None:
    app, handled = new_app(lease_s=LEASE_S)
    record = Record()
    async with connect(app) as bus:
        await bus.publish(OrderPlaced(number=1))
        await inspector.read_and_die()
        await ConsumerCommands(bus._broker, inspector.keys, "dead").leave()  # gives it back to the retry stream
        assert len(await inspector.read_and_die(retried=True)) == 1
        async with bus.running(observe=record):
            await eventually(lambda: record.count("acked") == 1)
    assert handled == [1]
    assert record.observations[0].delivery.attempt == 2
    assert await inspector.pending(retried=True) == []


async def test_a_live_consumers_entries_are_left_alone(broker: Broker, inspector: Inspector) -> None:
    await PublishCommands(broker).append(NumberedBatch("orders", 1, [b"a", b"b"]), "p1", 3600.0)
    old, fresh = await inspector.read_and_die()
    await inspector.take_over(old, "dead", idle_ms=31_000)
    _, taken = await ConsumerCommands(broker, inspector.keys, "c1").sweep(30.0, 100, 0.0)
    assert [(entry.id, entry.deliveries, entry.retried) for entry in taken] == [(old, 2, False)]
    assert {row.id: row.consumer for row in await inspector.pending()} == {old: "c1", fresh: "dead"}


async def test_trap_02_a_sweeper_that_dies_blocks_nobody_for_long(broker: Broker, inspector: Inspector) -> None:
    await PublishCommands(broker).append(NumberedBatch("orders", 1, [b"a"]), "p1", 3600.0)
    [id_] = await inspector.read_and_die()
    await inspector.take_over(id_, "dead", idle_ms=0)
    assert await ConsumerCommands(broker, inspector.keys, "c1").sweep(30.0, 100, every_s=0.1) == (
        False,
        [],
    )  # its turn; then it dies
    await inspector.take_over(id_, "dead", idle_ms=31_000)

    async def sweep() -> list[Entry]:
        return (await ConsumerCommands(broker, inspector.keys, "c2").sweep(30.0, 100, every_s=0.1))[1]

    taken = await eventually(sweep)
    assert [entry.id for entry in taken] == [id_]


async def test_trap_08_one_sweeper_at_a_time(broker: Broker, inspector: Inspector) -> None:
    await PublishCommands(broker).append(NumberedBatch("orders", 1, [b"a"]), "p1", 3600.0)
    [id_] = await inspector.read_and_die()
    assert await ConsumerCommands(broker, inspector.keys, "c1").sweep(30.0, 100, every_s=60.0) == (False, [])
    await inspector.take_over(id_, "dead", idle_ms=31_000)
    assert await ConsumerCommands(broker, inspector.keys, "c2").sweep(30.0, 100, every_s=60.0) == (
        False,
        [],
    )  # not its turn


@pytest.mark.parametrize(("healthy", "sweeps"), [(34, 1), (450, 3)])
async def test_trap_08_a_sweep_goes_on_where_the_last_one_stopped(
    broker: Broker, inspector: Inspector, healthy: int, sweeps: int
) -> None:
    """XAUTOCLAIM looks at ten times COUNT entries, a sweep at twenty times as many: what lies behind is reached too."""
    await PublishCommands(broker).append(
        NumberedBatch("orders", 1, [b"%d" % n for n in range(healthy + 1)]), "p1", 3600.0
    )
    last = (await inspector.read_and_die(1000))[-1]
    await inspector.take_over(last, "dead", idle_ms=3_600_000)
    found = [await ConsumerCommands(broker, inspector.keys, "c1").sweep(1800.0, 1, 60.0) for _ in range(sweeps)]
    assert [[entry.id for entry in taken] for _, taken in found] == [*[[]] * (sweeps - 1), [last]]


async def test_recovery_does_not_wait_longer_for_a_larger_backlog(connect: Connect, inspector: Inspector) -> None:
    """Behind many entries that a busy consumer holds, a dead one's last is reached in one round of sweeps."""
    async with connect(ev.App("shop")) as bus:
        await bus.publish_many(orders(*range(500)))
    last = (await inspector.read_and_die(500))[-1]
    await inspector.take_over(last, "dead", idle_ms=3_600_000)
    async with connect(ev.App("shop")) as bus:
        broker = bus._broker
        more, taken = True, list[Entry]()
        rounds = 0
        while more and not taken and rounds < 3:
            more, taken = await ConsumerCommands(broker, inspector.keys, "c1").sweep(1800.0, 1, 60.0)
            rounds += 1
    assert [entry.id for entry in taken] == [last]


async def test_a_first_takeover_is_small_whatever_a_batch_is(
    connect: Connect, inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand large events at once take the server longer than a reply may; each try would count as a delivery."""
    asked, sweep = list[int](), ConsumerCommands.sweep

    async def noted(commands: ConsumerCommands, lease_s: float, count: int, every_s: float) -> Any:
        asked.append(count)
        return await sweep(commands, lease_s, count, every_s)

    monkeypatch.setattr(ConsumerCommands, "sweep", noted)
    app, handled = ev.App("shop"), list[int]()
    app.group("billing", lease_s=LEASE_S)

    @app.subscribe_batch(OrderPlaced, group="billing", size=1000)
    async def bill(batch: ev.Batch[OrderPlaced]) -> None:
        handled.extend(event.number for event in batch.events)

    async with connect(app) as bus:
        await bus.publish_many(orders(*range(400)))
        await inspector.read_and_die(400)
        async with bus.running():
            await eventually(lambda: len(handled) == 400)
    assert sorted(handled) == list(range(400))
    assert asked[0] == 10 and max(asked) > 100


async def test_trap_09_a_deleted_entry_does_not_stay_pending(connect: Connect, inspector: Inspector) -> None:
    app, handled = new_app(lease_s=LEASE_S)
    async with connect(app) as bus:
        await bus.publish_many(orders(1, 2))
        gone, _ = await inspector.read_and_die()
        await inspector.raw.xdel(inspector.keys.stream, gone)
        async with bus.running():
            await eventually(lambda: held(inspector, 0))
    assert handled == [2]


@pytest.mark.parametrize(("died", "admitted"), [(2, True), (3, False)])
async def test_trap_07_what_kills_its_consumers_is_poison(
    connect: Connect, inspector: Inspector, died: int, admitted: bool
) -> None:
    """Counted by the server: a process that is killed reports nothing. Three attempts are allowed."""
    app, handled = new_app(lease_s=LEASE_S)
    record = Record()
    async with connect(app) as bus:
        await bus.publish(OrderPlaced(number=1))
        [id_] = await inspector.read_and_die()
        await inspector.take_over(id_, "dead", idle_ms=60_000, deliveries=died)
        async with bus.running(observe=record):
            await eventually(lambda: record.count("dead") + record.count("acked"))
        letters = await bus.dead_letters("orders", "billing").find()
    assert handled == ([1] if admitted else [])
    assert [(letter.reason, letter.attempts) for letter in letters] == ([] if admitted else [("poison", 3)])
    assert all("it is the cause, or was held beside the cause" in letter.error for letter in letters)


async def test_what_was_in_hand_beside_poison_may_be_replayed_alone(connect: Connect, inspector: Inspector) -> None:
    """Nobody knows which of them ended the process, so all that it held become letters."""
    app, handled = new_app(lease_s=LEASE_S)
    record = Record()
    async with connect(app) as bus:
        await bus.publish_many(orders(1, 2))
        for id_ in await inspector.read_and_die():
            await inspector.take_over(id_, "dead", idle_ms=60_000, deliveries=3)
        async with bus.running(observe=record):
            await eventually(lambda: record.count("dead") == 2)
            assert handled == []
            replayed = await bus.dead_letters("orders", "billing").replay(ev.Selection(reason="poison"), limit=1)
            assert len(replayed.ids) == 1
            await eventually(lambda: record.count("acked") == 1)
    assert handled == [1]


async def test_trap_06_a_lost_claim_can_neither_retry_nor_bury_nor_ack(broker: Broker, inspector: Inspector) -> None:
    await PublishCommands(broker).append(NumberedBatch("orders", 1, [b"a"]), "p1", 3600.0)
    [id_] = await inspector.read_and_die()
    entry = Entry(False, id_, id_, b"a")
    assert not await ConsumerCommands(broker, inspector.keys, "not the owner").retry(entry, 1, 0.0)
    assert not await ConsumerCommands(broker, inspector.keys, "not the owner").to_dead_letters(
        entry, {"reason": "exhausted"}
    )
    assert await ConsumerCommands(broker, inspector.keys, "not the owner").ack([entry]) == {(False, id_)}
    assert await ConsumerCommands(broker, inspector.keys, "not the owner").renew([entry]) == {(False, id_)}
    assert await StreamCommands(broker).backlog("orders", "billing") == ev.Backlog(
        0, pending=1, retrying=0, delayed=0, dead=0
    )
    assert [row.consumer for row in await inspector.pending()] == ["dead"]


@pytest.mark.usefixtures("nobody_sweeps")
async def test_trap_06_a_handler_that_fails_after_its_claim_was_lost_changes_nothing(
    connect: Connect, inspector: Inspector
) -> None:
    desk, record = Desk(), Record()
    desk.error = ValueError("no")
    async with connect(desk.app) as bus, bus.running(observe=record):
        await bus.publish(OrderPlaced(number=1))
        await eventually(lambda: desk.started)
        await inspector.take_over(desk.started[0].entry.id, "thief")
        await eventually(lambda: desk.started[0].lost)
        desk.release.set()
        await eventually(lambda: record.kinds()[-1] == "failed")
        assert await bus.backlog("orders", "billing") == ev.Backlog(0, pending=1, retrying=0, delayed=0, dead=0)
        assert [row.consumer for row in await inspector.pending()] == ["thief"]
    assert record.kinds() == ["started", "lost", "failed"]


@pytest.mark.usefixtures("nobody_sweeps")
async def test_a_lost_claim_is_told_once(connect: Connect, inspector: Inspector) -> None:
    desk, record = Desk(), Record()
    async with connect(desk.app) as bus, bus.running(observe=record):
        await bus.publish_many(orders(1, 2))
        await eventually(lambda: len(desk.started) == 2)
        kept, stolen = sorted(desk.started, key=lambda d: d.entry.id)
        await inspector.take_over(stolen.entry.id, "thief")
        await eventually(lambda: stolen.lost)
        await inspector.wait_for_renewals({kept.entry.id}, 4)
        desk.release.set()
    assert [h.delivery for h in record.observations if h.kind == "lost"] == [stolen]


async def test_a_late_renewal_does_not_make_a_consumer_run_its_own_entry_twice(
    connect: Connect, inspector: Inspector
) -> None:
    """The sweep may find that the sweeper itself was silent for a lease, for example after a lost connection."""
    desk, record = Desk(), Record()
    async with connect(desk.app) as bus, bus.running(consumer="a", observe=record):
        await bus.publish(OrderPlaced(number=1))
        await eventually(lambda: desk.started)
        for _ in range(3):
            await eventually(lambda: swept_own(inspector, desk.started[0].entry.id))
        desk.release.set()
        await bus.publish(OrderPlaced(number=2))
        await eventually(lambda: record.count("acked") == 2)
    assert len(desk.started) == 2


async def swept_own(inspector: Inspector, id_: str) -> bool:
    """Make the entry look abandoned until a sweep has taken it: that counts as a delivery."""
    [row] = await inspector.pending()
    if row.deliveries > 1:
        await inspector.take_over(id_, "a", deliveries=1)
        return True
    await inspector.take_over(id_, "a", idle_ms=10_000)
    return False


async def test_what_was_settled_while_a_sweep_brought_it_is_not_run_again(
    connect: Connect, inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server swept first; but the reply of the acknowledgement, on another connection, was here first."""
    desk, record, sweep, brought = Desk(), Record(), ConsumerCommands.sweep, asyncio.Event()

    async def sweep_slowly(commands: ConsumerCommands, *args: Any) -> TakenOver:
        found = await sweep(commands, *args)
        if found.entries:
            desk.release.set()
            await eventually(lambda: record.count("acked"))
            brought.set()
        return found

    async def swept() -> bool:
        await inspector.take_over(desk.started[0].entry.id, "a", idle_ms=10_000)
        return brought.is_set()

    monkeypatch.setattr(ConsumerCommands, "sweep", sweep_slowly)
    async with connect(desk.app) as bus, bus.running(consumer="a", observe=record):
        first = await bus.publish(OrderPlaced(number=1))
        await eventually(lambda: desk.started)
        await eventually(swept)
        second = await bus.publish(OrderPlaced(number=2))
        await eventually(lambda: record.count("acked") >= 2)
    assert [delivery.event_id for delivery in desk.started] == [first, second]


@pytest.mark.parametrize("first", ["the read", "the sweep"])
async def test_a_reply_longer_than_a_lease_is_handled_once(
    connect: Connect, inspector: Inspector, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over a slow line: before a read's reply is here, a sweep of the same consumer finds that its leases are over."""
    app, handled = new_app(lease_s=LEASE_S)
    record, swept = Record(), list[TakenOver]()
    request, sweep = PipelinedConnection.request, ConsumerCommands.sweep

    async def overtaken() -> bool:
        if first == "the read":
            return all(row.deliveries == 2 for row in await inspector.pending())
        return record.count("acked") >= 3

    def request_slowly(
        link: PipelinedConnection,
        command: Sequence[Argument],
        timeout_s: float,
        then: Callable[[Any], Any] | None = None,
    ) -> asyncio.Future[Any]:
        if command[0] != "XREADGROUP":
            return request(link, command, timeout_s, then)

        async def read() -> Any:
            if reply := await request(link, command, timeout_s):
                await eventually(overtaken)
            return then(reply) if then else reply

        return asyncio.create_task(read())

    async def sweep_slowly(commands: ConsumerCommands, *args: Any) -> TakenOver:
        found = await sweep(commands, *args)
        if found.entries and first == "the read":
            await eventually(lambda: record.count("acked") >= 3)
        swept.append(found)
        return found

    monkeypatch.setattr(PipelinedConnection, "request", request_slowly)
    monkeypatch.setattr(ConsumerCommands, "sweep", sweep_slowly)
    async with connect(app) as bus:
        await bus.publish_many(orders(1, 2, 3))
        async with bus.running(observe=record):
            await eventually(lambda: record.count("acked") >= 3)
            await bus.publish(OrderPlaced(number=4))  # read when the late reply has been dealt with
            await eventually(lambda: record.count("acked") >= 4)
            before = len(swept)
            await eventually(lambda: len(swept) >= before + 2)  # the one that may be under way, and one that is not
    assert sorted(handled) == [1, 2, 3, 4]
    assert await inspector.pending() == []


async def test_an_acknowledgement_of_thousands_leaves_alone_what_another_consumer_claimed(
    broker: Broker, inspector: Inspector
) -> None:
    await PublishCommands(broker).append(NumberedBatch("orders", 1, [b"%d" % n for n in range(2500)]), "p1", 3600.0)
    entries = [Entry(False, id_, id_, b"") for id_ in await inspector.read_and_die(2500)]
    stolen = entries[7::100]
    for entry in stolen:
        await inspector.take_over(entry.id, "thief")
    lost = {(False, entry.id) for entry in stolen}
    assert await ConsumerCommands(broker, inspector.keys, "dead").ack(entries[2400:]) == {
        key for key in lost if key[1] == stolen[-1].id
    }
    assert await ConsumerCommands(broker, inspector.keys, "dead").ack(entries[::-1]) == lost
    assert {row.id for row in await inspector.pending()} == {entry.id for entry in stolen}
    assert await ConsumerCommands(broker, inspector.keys, "thief").ack(entries) == set()
    assert await StreamCommands(broker).backlog("orders", "billing") == ev.Backlog(0, 0, 0, 0, 0)


async def test_an_acknowledgement_repeated_after_a_lost_reply_is_no_lost_claim(
    broker: Broker, inspector: Inspector
) -> None:
    await PublishCommands(broker).append(NumberedBatch("orders", 1, [b"a", b"b"]), "p1", 3600.0)
    entries = [Entry(False, id_, id_, b"") for id_ in await inspector.read_and_die()]
    assert [await ConsumerCommands(broker, inspector.keys, "dead").ack(entries) for _ in range(2)] == [set(), set()]


async def test_an_acknowledged_retry_is_deleted(connect: Connect, inspector: Inspector) -> None:
    """It belongs to this group alone, so nobody else could want it."""
    app, handled = new_app()
    async with connect(app) as bus:
        await bus.publish_many(orders(1, 2))
        await inspector.read_and_die()
        await ConsumerCommands(bus._broker, inspector.keys, "dead").leave()
        assert await inspector.raw.xlen(inspector.keys.retry) == 2
        async with bus.running():
            await eventually(lambda: len(handled) == 2)
    assert await inspector.raw.xlen(inspector.keys.retry) == 0


async def test_trap_07_poison_is_not_even_opened(connect: Connect, inspector: Inspector) -> None:
    """Opening may be what ends its process: it had three attempts, and one more to name it."""
    opened = list[int]()

    class OrderPoisoned(ev.Event, type="order.poisoned", version=1, stream="orders"):
        number: int

        @field_validator("number")
        @classmethod
        def open(cls, number: int) -> int:
            opened.append(number)
            return number

    app, record = ev.App("shop"), Record()
    app.group("billing", lease_s=LEASE_S)

    @app.subscribe(OrderPoisoned, group="billing", retry=AT_ONCE)
    async def bill(_: OrderPoisoned, __: ev.Delivery) -> None: ...

    async with connect(app) as bus:
        await bus.publish(OrderPoisoned(number=1))
        [id_] = await inspector.read_and_die()
        await inspector.take_over(id_, "dead", idle_ms=60_000, deliveries=4)
        opened.clear()
        async with bus.running(observe=record):
            await eventually(lambda: record.count("dead"))
        [letter] = await bus.dead_letters("orders", "billing").find()
    assert (letter.reason, letter.attempts, opened) == ("poison", 4, [])
