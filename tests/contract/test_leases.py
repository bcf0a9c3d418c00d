"""A live consumer keeps its entries. After a lease without renewal, another one takes them over; no event is lost."""

import asyncio
import logging
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
from eventlib.consume import intake
from eventlib.policy import Lease
from eventlib.records import Entry, NumberedBatch
from eventlib.testing.inspector import Inspector
from eventlib.testing.waiting import eventually
from tests.reading import left_long_ago, server_passes
from tests.shop import AT_ONCE, Connect, OrderPlaced, Record, new_app, orders

LEASE_S = 0.3


class BillingGroup:
    """A group whose handlers wait until they are released."""

    def __init__(self, retry: ev.Retry = AT_ONCE, **group: float) -> None:
        self.app = ev.App("shop")
        self.app.group("billing", **{"lease_s": LEASE_S, **group})  # type: ignore[arg-type]
        self.started: list[ev.Delivery] = []
        self.release = asyncio.Event()
        self.error: Exception | None = None

        @self.app.subscribe(OrderPlaced, group="billing", retry=retry)
        async def bill(_: OrderPlaced, delivery: ev.Delivery) -> None:
            self.started.append(delivery)
            await self.release.wait()
            if self.error is not None:
                raise self.error


@pytest.mark.parametrize("retried", [False, True])
async def test_trap_03_a_handler_that_takes_longer_than_a_lease_is_not_run_twice(
    connect: Connect, inspector: Inspector, retried: bool
) -> None:
    billing = BillingGroup(lease_s=1.0)  # a loaded machine may stand still for a shorter one
    async with connect(billing.app) as bus:
        await bus.publish(OrderPlaced(number=1))
        if retried:
            await inspector.read_and_die()
            await ConsumerCommands(bus._broker, inspector.keys, "dead").leave()  # gives it back to the retry stream
        async with bus.running(consumer="a"), bus.running(consumer="b"):
            await eventually(lambda: billing.started)
            await inspector.wait_for_renewals({billing.started[0].entry.id}, 7, retried=retried)  # more than two leases
            [row] = await inspector.pending(retried=retried)
            assert row.deliveries == 1  # a renewal does not count as a delivery
            billing.release.set()
    assert [delivery.entry.retried for delivery in billing.started] == [retried] and not billing.started[0].lost
    assert await inspector.pending(retried=retried) == []


async def test_trap_04_leases_of_prefetched_entries_are_renewed(connect: Connect, inspector: Inspector) -> None:
    billing = BillingGroup(concurrency=1, prefetch=3, lease_s=1.0)  # a loaded machine may stand still for a shorter one
    async with connect(billing.app) as bus:
        await bus.publish_many(orders(1, 2, 3, 4))
        async with bus.running(consumer="a"):
            await eventually(lambda: held(inspector, 4))
            async with bus.running(consumer="b"):
                await inspector.wait_for_renewals({row.id for row in await inspector.pending()}, 7)
                assert {(row.consumer, row.deliveries) for row in await inspector.pending()} == {("a", 1)}
                billing.release.set()
                await eventually(lambda: len(billing.started) == 4)
    assert [(d.consumer, d.attempt) for d in billing.started] == [("a", 1)] * 4


async def held(inspector: Inspector, count: int) -> bool:
    return len(await inspector.pending()) == count


@pytest.mark.usefixtures("no_sweeps")
@pytest.mark.parametrize("batches", [False, True])
async def test_trap_04_after_a_standstill_ownership_is_checked_before_a_handler_starts(
    connect: Connect, inspector: Inspector, url: str, batches: bool
) -> None:
    """A process that stood still for a lease may have lost its prefetched entries, and must not start them."""
    app, started, record = ev.App("shop"), list[int](), Record()
    app.group("billing", concurrency=1, prefetch=1, lease_s=LEASE_S)
    may_block, second = asyncio.Event(), ""

    async def bill(event: OrderPlaced, _: ev.Delivery) -> None:
        started.append(event.number)
        if event.number == 1:
            await may_block.wait()
            time.sleep(LEASE_S * 1.2)  # noqa: ASYNC251 - standing still is the fault under test
            with redis.Redis.from_url(url) as other:  # meanwhile another consumer took the second one over
                other.xclaim(inspector.keys.stream, "billing", "other", 0, [second], justid=True)

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
        assert [(row.id, row.consumer) for row in await inspector.pending()] == [(second, "other")]


@pytest.mark.usefixtures("no_sweeps")
async def test_trap_04_an_entry_in_a_reply_that_was_read_late_may_belong_to_another_consumer(
    connect: Connect, inspector: Inspector, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process stood still during a blocking read. The entry was taken over before the process read the reply."""
    monkeypatch.setattr(intake, "BLOCK_S", 60.0)  # no read ends between the look at it and the entry that answers it
    app, handled = new_app(lease_s=LEASE_S)
    async with connect(app) as bus:
        await bus.publish(OrderPlaced(number=1))
        [fields] = await inspector.events()
        async with bus.running(consumer="a"):
            await eventually(lambda: handled == [1])
            await eventually(lambda: is_blocked(inspector))
            with redis.Redis.from_url(url) as other:
                id_ = other.xadd(inspector.keys.stream, fields)
                time.sleep(LEASE_S * 1.5)  # noqa: ASYNC251 - standing still is the fault under test
                assert other.xclaim(inspector.keys.stream, "billing", "other", 0, [id_], justid=True)
            await eventually(lambda: is_blocked(inspector))
        assert handled == [1]
        assert [row.consumer for row in await inspector.pending()] == ["other"]


async def is_blocked(inspector: Inspector) -> bool:
    """Whether a client waits in a blocking read."""
    info: Any = await inspector.raw.info("clients")
    return bool(info["blocked_clients"])


@pytest.mark.usefixtures("early_sweeps")
async def test_trap_01_a_dead_consumers_work_is_taken_over_on_a_quiet_stream(
    connect: Connect, inspector: Inspector
) -> None:
    app, handled = new_app()
    record = Record()
    async with connect(app) as bus:
        await bus.publish_many(orders(1, 2, 3))
        assert len(await left_long_ago(inspector)) == 3
        async with bus.running(observe=record):
            await eventually(lambda: record.count("acked") == 3)
    assert sorted(handled) == [1, 2, 3]
    assert {h.delivery.attempt for h in record.observations} == {2}  # the dead consumer may have begun: it counts
    assert await inspector.pending() == []


@pytest.mark.usefixtures("early_sweeps")
async def test_work_is_taken_over_from_the_retry_stream_as_well(connect: Connect, inspector: Inspector) -> None:
    app, handled = new_app()
    record = Record()
    async with connect(app) as bus:
        await bus.publish(OrderPlaced(number=1))
        await inspector.read_and_die()
        await ConsumerCommands(bus._broker, inspector.keys, "dead").leave()  # gives it back to the retry stream
        assert len(await left_long_ago(inspector, retried=True)) == 1
        async with bus.running(observe=record):
            await eventually(lambda: record.count("acked") == 1)
    assert handled == [1]
    assert record.observations[0].delivery.attempt == 2
    assert await inspector.pending(retried=True) == []


async def test_a_live_consumers_entries_are_left_alone(broker: Broker, inspector: Inspector) -> None:
    await PublishCommands(broker).append(NumberedBatch("orders", 1, [b"a", b"b"]), "p1", 3600.0)
    old, fresh = await inspector.read_and_die()
    await inspector.take_over(old, "dead", idle_ms=31_000)
    taken = (await ConsumerCommands(broker, inspector.keys, "c1").sweep(30.0, 100, 0.0)).entries
    assert [(entry.id, entry.deliveries, entry.retried) for entry in taken] == [(old, 2, False)]
    assert {row.id: row.consumer for row in await inspector.pending()} == {old: "c1", fresh: "dead"}


async def test_trap_02_a_consumer_that_dies_while_it_sweeps_does_not_block_other_sweeps(
    broker: Broker, inspector: Inspector
) -> None:
    await PublishCommands(broker).append(NumberedBatch("orders", 1, [b"a"]), "p1", 3600.0)
    [id_] = await inspector.read_and_die()
    await inspector.take_over(id_, "dead", idle_ms=0)
    assert await ConsumerCommands(broker, inspector.keys, "c1").sweep(30.0, 100, every_s=0.1) == TakenOver(
        False, []
    )  # its turn; then it dies
    await inspector.take_over(id_, "dead", idle_ms=31_000)

    async def sweep() -> list[Entry]:
        return (await ConsumerCommands(broker, inspector.keys, "c2").sweep(30.0, 100, every_s=0.1)).entries

    taken = await eventually(sweep)
    assert [entry.id for entry in taken] == [id_]


async def test_trap_08_one_consumer_sweeps_at_a_time(broker: Broker, inspector: Inspector) -> None:
    await PublishCommands(broker).append(NumberedBatch("orders", 1, [b"a"]), "p1", 3600.0)
    [id_] = await inspector.read_and_die()
    assert await ConsumerCommands(broker, inspector.keys, "c1").sweep(30.0, 100, every_s=60.0) == TakenOver(False, [])
    await inspector.take_over(id_, "dead", idle_ms=31_000)
    assert await ConsumerCommands(broker, inspector.keys, "c2").sweep(30.0, 100, every_s=60.0) == TakenOver(
        False, []
    )  # not its turn


@pytest.mark.parametrize(("healthy", "sweeps"), [(34, 1), (450, 3)])
async def test_trap_08_a_sweep_continues_where_the_last_one_stopped(
    broker: Broker, inspector: Inspector, healthy: int, sweeps: int
) -> None:
    """XAUTOCLAIM looks at ten times COUNT entries, a sweep at twenty times as many. Later entries are reached too."""
    await PublishCommands(broker).append(
        NumberedBatch("orders", 1, [b"%d" % n for n in range(healthy + 1)]), "p1", 3600.0
    )
    last = (await inspector.read_and_die(1000))[-1]
    await inspector.take_over(last, "dead", idle_ms=3_600_000)
    found = [await ConsumerCommands(broker, inspector.keys, "c1").sweep(1800.0, 1, 60.0) for _ in range(sweeps)]
    assert [[entry.id for entry in taken.entries] for taken in found] == [*[[]] * (sweeps - 1), [last]]


async def test_recovery_takes_no_longer_with_more_pending_entries(connect: Connect, inspector: Inspector) -> None:
    """A dead consumer's last entry is behind many entries of a live consumer. One round of sweeps reaches it."""
    async with connect(ev.App("shop")) as bus:
        await bus.publish_many(orders(*range(500)))
    last = (await inspector.read_and_die(500))[-1]
    await inspector.take_over(last, "dead", idle_ms=3_600_000)
    async with connect(ev.App("shop")) as bus:
        broker = bus._broker
        more, taken = True, list[Entry]()
        rounds = 0
        while more and not taken and rounds < 3:
            more, taken, _ = await ConsumerCommands(broker, inspector.keys, "c1").sweep(1800.0, 1, 60.0)
            rounds += 1
    assert [entry.id for entry in taken] == [last]


@pytest.mark.usefixtures("early_sweeps")
async def test_a_first_sweep_takes_over_few_entries_whatever_the_batch_size(
    connect: Connect, inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To take over a thousand large events would exceed the reply timeout, and each try would count as a delivery."""
    asked, sweep = list[int](), ConsumerCommands.sweep

    async def noted(commands: ConsumerCommands, lease_s: float, count: int, every_s: float, **rest: Any) -> Any:
        asked.append(count)
        return await sweep(commands, lease_s, count, every_s, **rest)

    monkeypatch.setattr(ConsumerCommands, "sweep", noted)
    app, handled = ev.App("shop"), list[int]()

    @app.subscribe_batch(OrderPlaced, group="billing", size=1000)
    async def bill(batch: ev.Batch[OrderPlaced]) -> None:
        handled.extend(event.number for event in batch.events)

    async with connect(app) as bus:
        await bus.publish_many(orders(*range(400)))
        await left_long_ago(inspector, 400)
        async with bus.running():
            await eventually(lambda: len(handled) == 400)
    assert sorted(handled) == list(range(400))
    assert asked[0] == 10 and max(asked) > 100


@pytest.mark.usefixtures("early_sweeps")
async def test_trap_09_a_deleted_entry_does_not_stay_pending(connect: Connect, inspector: Inspector) -> None:
    app, handled = new_app()
    async with connect(app) as bus:
        await bus.publish_many(orders(1, 2))
        gone, _ = await left_long_ago(inspector)
        await inspector.raw.xdel(inspector.keys.stream, gone)
        async with bus.running():
            await eventually(lambda: held(inspector, 0))
    assert handled == [2]


@pytest.mark.usefixtures("early_sweeps")
@pytest.mark.parametrize(("died", "admitted"), [(2, True), (3, False)])
async def test_trap_07_an_entry_that_killed_its_consumers_too_often_is_poison(
    connect: Connect, inspector: Inspector, died: int, admitted: bool
) -> None:
    """The server counts the deliveries, because a killed process reports nothing. Three attempts are allowed."""
    app, handled = new_app()
    record = Record()
    async with connect(app) as bus:
        await bus.publish(OrderPlaced(number=1))
        [id_] = await inspector.read_and_die()
        await inspector.take_over(id_, "dead", idle_ms=60_000, deliveries=died)
        async with bus.running(observe=record):
            await eventually(lambda: record.count("dead") + record.count("acked"))
        dead_letters = await bus.dead_letters("orders", "billing").find()
    assert handled == ([1] if admitted else [])
    assert [(dead_letter.reason, dead_letter.attempts) for dead_letter in dead_letters] == (
        [] if admitted else [("poison", 3)]
    )
    assert all("it is the cause, or was held beside the cause" in dead_letter.error for dead_letter in dead_letters)


@pytest.mark.usefixtures("early_sweeps")
async def test_an_entry_that_was_dead_lettered_together_with_poison_can_be_replayed_alone(
    connect: Connect, inspector: Inspector
) -> None:
    """It is unknown which of them ended the process, so all entries that it held become dead letters."""
    app, handled = new_app()
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


async def test_trap_06_only_the_owner_of_an_entry_can_retry_dead_letter_or_acknowledge_it(
    broker: Broker, inspector: Inspector
) -> None:
    await PublishCommands(broker).append(NumberedBatch("orders", 1, [b"a"]), "p1", 3600.0)
    [id_] = await inspector.read_and_die()
    entry = Entry(False, id_, id_, b"a")
    assert not await ConsumerCommands(broker, inspector.keys, "not the owner").retry(entry, 0.0)
    assert not await ConsumerCommands(broker, inspector.keys, "not the owner").to_dead_letters(
        entry, {"reason": "exhausted"}
    )
    assert await ConsumerCommands(broker, inspector.keys, "not the owner").ack([entry]) == {(False, id_)}
    assert await ConsumerCommands(broker, inspector.keys, "not the owner").renew([entry]) == {(False, id_)}
    assert await StreamCommands(broker).backlog("orders", "billing") == ev.Backlog(
        0, pending=1, retrying=0, delayed=0, dead=0
    )
    assert [row.consumer for row in await inspector.pending()] == ["dead"]


@pytest.mark.usefixtures("no_sweeps")
async def test_trap_06_a_failure_of_a_handler_that_lost_its_entry_changes_nothing(
    connect: Connect, inspector: Inspector
) -> None:
    billing, record = BillingGroup(), Record()
    billing.error = ValueError("no")
    async with connect(billing.app) as bus, bus.running(observe=record):
        await bus.publish(OrderPlaced(number=1))
        await eventually(lambda: billing.started)
        await inspector.take_over(billing.started[0].entry.id, "other")
        await eventually(lambda: billing.started[0].lost)
        billing.release.set()
        await eventually(lambda: record.kinds()[-1] == "failed")
        assert await bus.backlog("orders", "billing") == ev.Backlog(0, pending=1, retrying=0, delayed=0, dead=0)
        assert [row.consumer for row in await inspector.pending()] == ["other"]
    assert record.kinds() == ["started", "lost", "failed"]


@pytest.mark.usefixtures("no_sweeps")
async def test_a_lost_entry_is_reported_once(connect: Connect, inspector: Inspector) -> None:
    billing, record = BillingGroup(), Record()
    async with connect(billing.app) as bus, bus.running(observe=record):
        await bus.publish_many(orders(1, 2))
        await eventually(lambda: len(billing.started) == 2)
        kept, taken_over = sorted(billing.started, key=lambda d: d.entry.id)
        await inspector.take_over(taken_over.entry.id, "other")
        await eventually(lambda: taken_over.lost)
        await inspector.wait_for_renewals({kept.entry.id}, 4)
        billing.release.set()
    assert [h.delivery for h in record.observations if h.kind == "lost"] == [taken_over]


async def test_a_consumer_that_takes_over_its_own_entry_after_a_late_renewal_runs_it_once(
    connect: Connect, inspector: Inspector
) -> None:
    """A sweep may find that its own consumer did not renew for a lease, for example after a lost connection."""
    billing, record = BillingGroup(), Record()
    async with connect(billing.app) as bus, bus.running(consumer="a", observe=record):
        await bus.publish(OrderPlaced(number=1))
        await eventually(lambda: billing.started)
        for _ in range(3):
            await eventually(lambda: swept_own(inspector, billing.started[0].entry.id))
        billing.release.set()
        await bus.publish(OrderPlaced(number=2))
        await eventually(lambda: record.count("acked") == 2)
    assert len(billing.started) == 2


@pytest.mark.usefixtures("early_sweeps")
async def test_a_sweep_after_a_standstill_renews_first_what_its_own_consumer_holds(
    connect: Connect, broker: Broker, inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The entry was taken over from a dead consumer. A third delivery would make it a suspect, which is run again."""
    monkeypatch.setattr(Lease, "renew_every_s", 60.0)  # the timer of a process that stands still
    billing, record = BillingGroup(), Record()
    async with connect(billing.app) as bus:
        await bus.publish(OrderPlaced(number=1))
        await left_long_ago(inspector)
        async with bus.running(consumer="a", observe=record):
            await eventually(lambda: billing.started)
            await server_passes(broker, 4 * LEASE_S)
            assert [(row.consumer, row.deliveries) for row in await inspector.pending()] == [("a", 2)]
            billing.release.set()
            await eventually(lambda: record.count("acked") == 1)
    assert record.kinds() == ["started", "handled", "acked"]


@pytest.mark.usefixtures("no_sweeps")
@pytest.mark.parametrize(
    ("error", "attempts", "reason"),
    [(ValueError("no"), [1, 4], None), (ev.Snooze(0.0), [1, 3], None), (ev.Reject("no"), [1], "rejected")],
)
async def test_attempts_never_go_backwards_after_another_consumer_held_the_entry_for_a_moment(
    connect: Connect, inspector: Inspector, error: Exception, attempts: list[int], reason: str | None
) -> None:
    """The server has counted three deliveries. The consumer that settles the entry knows of one."""
    retry = ev.Retry(attempts=9, wait_s=0.2, jitter="none")
    billing, record = BillingGroup(retry, lease_s=30.0), Record()  # no renewal comes while the other one holds it
    billing.error = error
    async with connect(billing.app) as bus, bus.running(consumer="a", observe=record):
        await bus.publish(OrderPlaced(number=1))
        await eventually(lambda: billing.started)
        await inspector.take_over(billing.started[0].entry.id, "b", deliveries=2)
        await inspector.take_over(billing.started[0].entry.id, "a", deliveries=3)
        billing.release.set()
        await eventually(lambda: record.count("failed"))
        billing.error = None
        await eventually(lambda: record.count("acked") + record.count("dead"))
        dead_letters = await bus.dead_letters("orders", "billing").find()
    seen = [delivery.attempt for delivery in billing.started]
    assert seen[: len(attempts)] == attempts and seen == sorted(seen)
    assert [(letter.reason, letter.attempts) for letter in dead_letters] == ([(reason, 3)] if reason else [])


async def test_an_attempt_that_its_consumer_cuts_short_is_explained_in_the_log(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    billing = BillingGroup()
    with caplog.at_level(logging.INFO, "eventlib"):
        async with connect(billing.app) as bus, bus.running(grace_s=0.0):
            event_id = await bus.publish(OrderPlaced(number=1))
            await eventually(lambda: billing.started)
    assert f"event {event_id}: attempt 1 was cut short, so it does not count" in caplog.text


async def swept_own(inspector: Inspector, id_: str) -> bool:
    """Make the entry look abandoned until a sweep has taken it over, which counts as a delivery."""
    [row] = await inspector.pending()
    if row.deliveries > 1:
        await inspector.take_over(id_, "a", deliveries=1)
        return True
    await inspector.take_over(id_, "a", idle_ms=10_000)
    return False


async def test_an_entry_acknowledged_during_a_sweep_is_not_run_again(
    connect: Connect, inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server swept first, but the reply to the acknowledgement, on another connection, arrived first."""
    billing, record, sweep, brought = BillingGroup(), Record(), ConsumerCommands.sweep, asyncio.Event()

    async def sweep_slowly(commands: ConsumerCommands, *args: Any, **rest: Any) -> TakenOver:
        found = await sweep(commands, *args, **rest)
        if found.entries:
            billing.release.set()
            await eventually(lambda: record.count("acked"))
            brought.set()
        return found

    async def swept() -> bool:
        await inspector.take_over(billing.started[0].entry.id, "a", idle_ms=10_000)
        return brought.is_set()

    monkeypatch.setattr(ConsumerCommands, "sweep", sweep_slowly)
    async with connect(billing.app) as bus, bus.running(consumer="a", observe=record):
        first = await bus.publish(OrderPlaced(number=1))
        await eventually(lambda: billing.started)
        await eventually(swept)
        second = await bus.publish(OrderPlaced(number=2))
        await eventually(lambda: record.count("acked") >= 2)
    assert [delivery.event_id for delivery in billing.started] == [first, second]


@pytest.mark.parametrize("first", ["the read", "the sweep"])
async def test_events_in_a_reply_that_takes_longer_than_a_lease_are_handled_once(
    connect: Connect, inspector: Inspector, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over a slow network, a sweep of the same consumer finds expired leases before the reply to the read arrives."""
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

    async def sweep_slowly(commands: ConsumerCommands, *args: Any, **rest: Any) -> TakenOver:
        found = await sweep(commands, *args, **rest)
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


async def test_acknowledging_thousands_leaves_out_entries_that_another_consumer_took_over(
    broker: Broker, inspector: Inspector
) -> None:
    await PublishCommands(broker).append(NumberedBatch("orders", 1, [b"%d" % n for n in range(2500)]), "p1", 3600.0)
    entries = [Entry(False, id_, id_, b"") for id_ in await inspector.read_and_die(2500)]
    taken_over = entries[7::100]
    for entry in taken_over:
        await inspector.take_over(entry.id, "other")
    lost = {(False, entry.id) for entry in taken_over}
    assert await ConsumerCommands(broker, inspector.keys, "dead").ack(entries[2400:]) == {
        key for key in lost if key[1] == taken_over[-1].id
    }
    assert await ConsumerCommands(broker, inspector.keys, "dead").ack(entries[::-1]) == lost
    assert {row.id for row in await inspector.pending()} == {entry.id for entry in taken_over}
    assert await ConsumerCommands(broker, inspector.keys, "other").ack(entries) == set()
    assert await StreamCommands(broker).backlog("orders", "billing") == ev.Backlog(0, 0, 0, 0, 0)


async def test_an_acknowledgement_repeated_after_a_lost_reply_does_not_count_as_lost(
    broker: Broker, inspector: Inspector
) -> None:
    await PublishCommands(broker).append(NumberedBatch("orders", 1, [b"a", b"b"]), "p1", 3600.0)
    entries = [Entry(False, id_, id_, b"") for id_ in await inspector.read_and_die()]
    assert [await ConsumerCommands(broker, inspector.keys, "dead").ack(entries) for _ in range(2)] == [set(), set()]


async def test_an_acknowledged_retry_is_deleted(connect: Connect, inspector: Inspector) -> None:
    """The entry belongs to this group alone, so no other group needs it."""
    app, handled = new_app()
    async with connect(app) as bus:
        await bus.publish_many(orders(1, 2))
        await inspector.read_and_die()
        await ConsumerCommands(bus._broker, inspector.keys, "dead").leave()
        assert await inspector.raw.xlen(inspector.keys.retry) == 2
        async with bus.running():
            await eventually(lambda: len(handled) == 2)
    assert await inspector.raw.xlen(inspector.keys.retry) == 0


@pytest.mark.usefixtures("early_sweeps")
async def test_trap_07_a_poison_entry_is_not_decoded(connect: Connect, inspector: Inspector) -> None:
    """Decoding it may be what ends the process. After three attempts, a fourth delivery makes it a dead letter."""
    opened = list[int]()

    class OrderPoisoned(ev.Event, type="order.poisoned", version=1, stream="orders"):
        number: int

        @field_validator("number")
        @classmethod
        def open(cls, number: int) -> int:
            opened.append(number)
            return number

    app, record = ev.App("shop"), Record()

    @app.subscribe(OrderPoisoned, group="billing", retry=AT_ONCE)
    async def bill(_: OrderPoisoned, __: ev.Delivery) -> None: ...

    async with connect(app) as bus:
        await bus.publish(OrderPoisoned(number=1))
        [id_] = await inspector.read_and_die()
        await inspector.take_over(id_, "dead", idle_ms=60_000, deliveries=4)
        opened.clear()
        async with bus.running(observe=record):
            await eventually(lambda: record.count("dead"))
        [dead_letter] = await bus.dead_letters("orders", "billing").find()
    assert (dead_letter.reason, dead_letter.attempts, opened) == ("poison", 4, [])


@pytest.mark.parametrize(("end", "attempts"), [("retry", b"1"), ("snooze", b"0"), ("dead", b"1"), ("leave", b"0")])
async def test_attempts_never_go_below_what_was_done_though_another_program_sets_the_servers_count_to_zero(
    connect: Connect, inspector: Inspector, broker: Broker, end: str, attempts: bytes
) -> None:
    async with connect(ev.App("shop")) as bus:
        await bus.publish(OrderPlaced(number=1))
    [id_] = await inspector.read_and_die()
    await inspector.take_over(id_, "dead", deliveries=0)
    commands, entry = ConsumerCommands(broker, inspector.keys, "dead"), Entry(False, id_, id_, b"x")
    if end == "leave":
        await commands.leave()
    elif end == "dead":
        await commands.to_dead_letters(entry, {"reason": "rejected"})
    else:
        await commands.retry(entry, 0.0, counts=end == "retry")
    [fields] = await inspector.dead_letters() or await inspector.events(retried=True)
    assert fields[b"attempts"] == attempts
