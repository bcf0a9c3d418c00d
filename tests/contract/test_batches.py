"""A batch handler takes many events in one call; each event is acknowledged, retried or dead-lettered separately."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

import eventlib as ev
from eventlib.broker.consuming import ConsumerCommands
from eventlib.consume.calls import Fetch
from eventlib.consume.fetch_size import FetchSize
from eventlib.policy import Lease
from eventlib.records import Entry
from eventlib.testing.inspector import Inspector
from eventlib.testing.waiting import eventually
from tests.reading import left_long_ago
from tests.shop import AT_ONCE, Connect, OrderPlaced, OrderShipped, Record, orders

pytestmark = pytest.mark.one_server  # what is tested is the client's own side


async def test_waiting_events_come_in_one_call_and_in_order(connect: Connect, inspector: Inspector) -> None:
    app, sizes, numbers = ev.App("shop"), list[int](), list[int]()
    app.group("billing", concurrency=1)

    @app.subscribe_batch(OrderPlaced, group="billing", size=40)
    async def bill(batch: ev.Batch[OrderPlaced]) -> None:
        sizes.append(len(batch))
        numbers.extend(event.number for event in batch.events)
        assert [event for event, _ in batch] == batch.events
        assert [delivery.attempt for _, delivery in batch] == [1] * len(batch)

    record = Record()
    async with connect(app) as bus:
        await bus.publish_many(orders(*range(100)))
        async with bus.running(observe=record):
            await eventually(lambda: record.count("acked") == 100)
    assert numbers == list(range(100))
    assert sizes == [40, 40, 20]
    assert await inspector.pending() == []
    assert record.count("started") == record.count("handled") == 100


async def test_a_batch_does_not_wait_until_it_is_full(connect: Connect) -> None:
    app, sizes = ev.App("shop"), list[int]()

    @app.subscribe_batch(OrderPlaced, group="billing", size=1000)
    async def bill(batch: ev.Batch[OrderPlaced]) -> None:
        sizes.append(len(batch))

    async with connect(app) as bus, bus.running():
        await bus.publish(OrderPlaced(number=1))
        await eventually(lambda: sizes == [1])


async def test_an_event_of_a_batch_can_fail_alone(connect: Connect, inspector: Inspector) -> None:
    app, seen = ev.App("shop"), list[tuple[int, int]]()

    @app.subscribe_batch(OrderPlaced, group="billing", retry=AT_ONCE)
    async def bill(batch: ev.Batch[OrderPlaced]) -> None:
        for event, delivery in batch:
            seen.append((event.number, delivery.attempt))
            if event.number == 3:
                batch.fail(delivery, ValueError("never"))
            elif event.number == 5:
                batch.fail(delivery, ev.Reject("unknown order"))
            elif event.number == 7 and delivery.attempt == 1:
                batch.fail(delivery, ValueError("not yet"))

    record = Record()
    async with connect(app) as bus:
        await bus.publish_many(orders(*range(10)))
        async with bus.running(observe=record):
            await eventually(lambda: record.count("acked") == 8 and record.count("dead") == 2)
        dead_letters = await bus.dead_letters("orders", "billing").find()
    assert sorted(seen) == sorted([(n, 1) for n in range(10)] + [(3, 2), (3, 3), (7, 2)])
    assert sorted((dead_letter.reason, dead_letter.attempts) for dead_letter in dead_letters) == [
        ("exhausted", 3),
        ("rejected", 1),
    ]
    assert await inspector.pending() == []


async def test_an_error_that_a_batch_handler_raises_fails_all_of_its_events(connect: Connect) -> None:
    app, attempts = ev.App("shop"), list[int]()

    @app.subscribe_batch(OrderPlaced, group="billing", retry=AT_ONCE)
    async def bill(batch: ev.Batch[OrderPlaced]) -> None:
        attempts.extend(delivery.attempt for delivery in batch.deliveries)
        if any(delivery.attempt == 1 for delivery in batch.deliveries):
            raise ValueError("not yet")

    record = Record()
    async with connect(app) as bus:
        await bus.publish_many(orders(*range(50)))
        async with bus.running(observe=record):
            await eventually(lambda: record.count("acked") == 50)
        assert (await bus.backlog("orders", "billing")).total == 0
    assert record.count("retried") == record.count("failed") >= 50
    assert attempts.count(1) == 50


async def test_a_batch_that_takes_too_long_is_cancelled_and_tried_again(connect: Connect) -> None:
    app, tries = ev.App("shop"), list[int]()

    @app.subscribe_batch(OrderPlaced, group="billing", retry=AT_ONCE, timeout_s=0.05)
    async def bill(batch: ev.Batch[OrderPlaced]) -> None:
        tries.append(batch.deliveries[0].attempt)
        if tries == [1]:
            await asyncio.Event().wait()

    record = Record()
    async with connect(app) as bus, bus.running(observe=record):
        await bus.publish(OrderPlaced(number=1))
        await eventually(lambda: record.count("acked"))
    assert tries == [1, 2]
    assert [type(h.error) for h in record.observations if h.kind == "failed"] == [TimeoutError]


@pytest.mark.usefixtures("early_sweeps")
async def test_poison_and_undecodable_entries_are_kept_out_of_batches(connect: Connect, inspector: Inspector) -> None:
    app, numbers = ev.App("shop"), list[int]()

    @app.subscribe_batch(OrderPlaced, group="billing", retry=AT_ONCE)
    async def bill(batch: ev.Batch[OrderPlaced]) -> None:
        numbers.extend(event.number for event in batch.events)

    record = Record()
    async with connect(app) as bus:
        await bus.publish_many(orders(1, 2))
        poison, _ = await left_long_ago(inspector)
        await inspector.take_over(poison, "dead", idle_ms=60_000, deliveries=3)
        await inspector.add(event=b"{")
        async with bus.running(observe=record):
            await eventually(lambda: record.count("dead") == 2 and record.count("acked") == 1)
        reasons = sorted(dead_letter.reason for dead_letter in await bus.dead_letters("orders", "billing").find())
    assert numbers == [2]
    assert reasons == ["poison", "undecodable"]


async def test_a_group_may_have_single_and_batch_handlers(connect: Connect) -> None:
    app, placed, shipped = ev.App("shop"), list[int](), list[int]()

    @app.subscribe_batch(OrderPlaced, group="billing", size=3)
    async def bill(batch: ev.Batch[OrderPlaced]) -> None:
        placed.extend(event.number for event in batch.events)

    @app.subscribe(OrderShipped, group="billing")
    async def close(event: OrderShipped, _: ev.Delivery) -> None:
        shipped.append(event.number)

    mixed = [event for n in range(20) for event in (OrderPlaced(number=n), OrderShipped(number=n))]
    async with connect(app) as bus, bus.running():
        await bus.publish_many(mixed)
        await eventually(lambda: len(placed) == len(shipped) == 20)
    assert sorted(placed) == sorted(shipped) == list(range(20))


async def test_events_that_wait_for_a_batch_are_given_back_at_shutdown(connect: Connect, inspector: Inspector) -> None:
    app, begun, release = ev.App("shop"), list[int](), asyncio.Event()
    app.group("billing", concurrency=1, prefetch=5)

    @app.subscribe_batch(OrderPlaced, group="billing", size=2)
    async def bill(batch: ev.Batch[OrderPlaced]) -> None:
        begun.extend(event.number for event in batch.events)
        await release.wait()

    async with connect(app) as bus:
        await bus.publish_many(orders(*range(7)))
        async with bus.running():
            await eventually(lambda: begun)
            await eventually(lambda: _pending(inspector, 7))
            asyncio.get_running_loop().call_later(0.05, release.set)
        assert begun == [0, 1]
        assert await bus.backlog("orders", "billing") == ev.Backlog(0, pending=0, retrying=5, delayed=0, dead=0)


async def _pending(inspector: Inspector, count: int) -> bool:
    return len(await inspector.pending()) == count


async def test_a_batch_size_below_one_is_refused() -> None:
    with pytest.raises(ev.InvalidDeclaration, match="at least one"):
        ev.App("shop").subscribe_batch(OrderPlaced, group="billing", size=0)


class Falsy(Exception):
    """An error whose truth value is false, because its length is zero."""

    def __len__(self) -> int:
        return 0


@pytest.mark.parametrize("raised", [True, False])
async def test_an_error_whose_truth_value_is_false_still_fails_the_event(connect: Connect, raised: bool) -> None:
    app, record = ev.App("shop"), Record()

    @app.subscribe_batch(OrderPlaced, group="billing", retry=ev.Retry(attempts=1))
    async def bill(batch: ev.Batch[OrderPlaced]) -> None:
        if raised:
            raise Falsy
        batch.fail(batch.deliveries[0], Falsy())

    async with connect(app) as bus, bus.running(observe=record):
        await bus.publish(OrderPlaced(number=1))
        await eventually(lambda: record.count("dead") + record.count("acked"))
        assert record.count("dead") == 1


async def test_trap_04_a_batch_leaves_out_events_that_were_lost_while_a_poison_entry_was_dead_lettered(
    connect: Connect, inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Poison entries are dead-lettered before the batch begins. If that takes a lease, others may be taken over."""
    monkeypatch.setattr(Lease, "sweep_wait_s", lambda *_: 3600.0)
    app, handled, record, to_dead_letters = ev.App("shop"), list[int](), Record(), ConsumerCommands.to_dead_letters
    app.group("billing", lease_s=0.3)

    @app.subscribe_batch(OrderPlaced, group="billing", retry=AT_ONCE)
    async def bill(batch: ev.Batch[OrderPlaced]) -> None:
        handled.extend(event.number for event in batch.events)

    async def dead_letter_slowly(commands: ConsumerCommands, *args: Any, counts: bool) -> bool:
        [row] = await inspector.pending()
        await inspector.take_over(row.id, "other")
        await eventually(lambda: record.count("lost"))
        return await to_dead_letters(commands, *args, counts=counts)

    monkeypatch.setattr(ConsumerCommands, "to_dead_letters", dead_letter_slowly)
    async with connect(app) as bus:
        await bus.publish(OrderPlaced(number=1))
        [fields] = await inspector.events()
        await inspector.create()
        used_up = {"event": fields[b"event"], "attempts": str(AT_ONCE.attempts), "origin": "1-1"}
        await inspector.raw.xadd(inspector.keys.retry, used_up)  # type: ignore[arg-type]  # invariant dict
        async with bus.running(observe=record):
            await eventually(lambda: record.count("dead"))
            await bus.publish(OrderPlaced(number=2))
            await eventually(lambda: record.count("acked"))
    assert handled == [2]
    assert [row.consumer for row in await inspector.pending()] == ["other"]


@pytest.mark.parametrize("ordered_by", [None, "number"])
async def test_the_first_read_of_large_events_is_bounded_in_bytes(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, ordered_by: str | None
) -> None:
    """A batch may be a thousand events, but how large they are is not known before the first ones are there."""
    app, handled, replies, came = ev.App("shop"), list[int](), list[int](), Fetch.came
    app.group("billing", ordered_by=ordered_by)

    class Document(ev.Event, type="document", stream="orders"):
        number: int
        text: str

    @app.subscribe_batch(Document, group="billing", size=1000)
    async def bill(batch: ev.Batch[Document]) -> None:
        handled.extend(event.number for event in batch.events)

    def note(fetch: Fetch, entries: Sequence[Entry]) -> None:
        replies.append(len(entries))
        came(fetch, entries)

    monkeypatch.setattr(Fetch, "came", note)
    monkeypatch.setattr(FetchSize, "BYTES_MAX", 100_000)
    async with connect(app) as bus:
        await bus.publish_many([Document(number=n, text="x" * 20_000) for n in range(50)])
        async with bus.running():
            await eventually(lambda: len(handled) == 50)
    assert sorted(handled) == list(range(50))
    assert replies[0] == 5 and max(replies) <= 6


async def test_only_deliveries_of_the_batch_can_be_failed(connect: Connect) -> None:
    """If an event were accepted in place of its delivery, it would be acknowledged as if it had been handled."""
    app, refused, record = ev.App("shop"), list[ev.InvalidArgument](), Record()

    @app.subscribe_batch(OrderPlaced, group="billing")
    async def bill(batch: ev.Batch[OrderPlaced]) -> None:
        [(event, delivery)] = batch
        for wrong in ((event, ValueError("no")), (delivery, "no")):
            with pytest.raises(ev.InvalidArgument, match="delivery of this batch") as found:
                batch.fail(*cast(Any, wrong))
            refused.append(found.value)
        batch.fail(delivery, ev.Reject("no"))

    async with connect(app) as bus, bus.running(observe=record):
        await bus.publish(OrderPlaced(number=1))
        await eventually(lambda: record.count("dead"))
    assert len(refused) == 2
