"""A group's dead letters can be read, edited, replayed to that group alone, or purged."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import eventlib as ev
from eventlib.broker.connections import Broker
from eventlib.broker.consuming import ConsumerCommands
from eventlib.broker.dead_letters import DeadLetterCommands
from eventlib.broker.publishing import PublishCommands
from eventlib.broker.scripts import EDIT, PURGE, REPLAY, Script
from eventlib.events.envelope import write
from eventlib.records import Entry, NumberedBatch
from eventlib.testing.fault_proxy import fault_proxy
from eventlib.testing.inspector import Inspector
from eventlib.testing.waiting import eventually
from tests.shop import AT_ONCE, Connect, OrderPlaced, OrderShipped, Record, new_app, nothing_left, orders

GOOD = write(OrderPlaced(number=1), "shop", "c1", None)[1]
TRUNCATED = GOOD[:-5]


class BillingGroup:
    """A group "billing" that fails while `error` is set, and a group "stock" that never fails."""

    def __init__(self) -> None:
        self.app = ev.App("shop")
        self.error: Exception | None = ValueError("no money")
        self.seen: list[tuple[int, int]] = []  # number, attempt
        self.reserved: list[int] = []
        self.record = Record()

        @self.app.subscribe(OrderPlaced, group="billing", retry=AT_ONCE)
        async def bill(event: OrderPlaced, delivery: ev.Delivery) -> None:
            self.seen.append((event.number, delivery.attempt))
            if self.error is not None:
                raise self.error

        @self.app.subscribe(OrderPlaced, group="stock")
        async def reserve(event: OrderPlaced, _: ev.Delivery) -> None:
            self.reserved.append(event.number)

    @asynccontextmanager
    async def with_dead(self, bus: ev.Bus, *numbers: int) -> AsyncIterator[ev.DeadLetters]:
        """Make these orders dead letters, then run the block while the group runs and handles without errors."""
        async with bus.running(groups=["billing"], observe=self.record):
            await bus.publish_many(orders(*numbers), correlation_id="c1")
            await eventually(lambda: self.record.count("dead") == len(numbers))
            self.error = None
            self.seen.clear()
            yield bus.dead_letters("orders", "billing")


async def add_dead_letters(inspector: Inspector, *dead_letters: dict[str, Any]) -> list[str]:
    """Write dead letters directly to Redis, in the library's format."""
    pipe = inspector.raw.pipeline()
    for number, dead_letter in enumerate(dead_letters):
        fields: dict[Any, Any] = {"origin": f"1-{number}", "reason": "exhausted", "attempts": 3, "raw.event": GOOD}
        pipe.xadd(inspector.keys.dead_letters, fields | dead_letter)
    return [id_.decode() for id_ in await pipe.execute()]


# Reading


async def test_a_dead_letter_has_reason_error_traceback_handler_and_times(
    connect: Connect, inspector: Inspector
) -> None:
    billing = BillingGroup()
    async with connect(billing.app) as bus:
        before_s = await inspector.now_s()
        async with billing.with_dead(bus, 7) as dead_letters:
            [dead_letter] = await dead_letters.find()
            assert dead_letter == await dead_letters.get(dead_letter.id)
            assert await dead_letters.size() == 1
            age_s = await dead_letters.oldest_age_s()
            assert age_s is not None and 0.0 <= age_s < 20.0
        after_s = await inspector.now_s()
        entries: Any = await inspector.raw.xrange(inspector.keys.stream)
    assert (dead_letter.reason, dead_letter.error, dead_letter.attempts) == ("exhausted", "ValueError: no money", 3)
    assert "raise self.error" in dead_letter.traceback
    assert "bill" in dead_letter.handler and dead_letter.consumer
    assert (dead_letter.origin, dead_letter.event_type, dead_letter.correlation_id) == (
        entries[0][0].decode(),
        "order.placed",
        "c1",
    )
    assert dead_letter.event_id and dead_letter.event_id.encode() in dead_letter.raw[b"event"]
    assert dead_letter.failed_at_s is not None
    assert before_s - 0.001 <= dead_letter.failed_at_s <= dead_letter.died_at_s <= after_s
    assert (dead_letter.replays, dead_letter.edited, dead_letter.edited_at_s, dead_letter.obstacle) == (
        0,
        None,
        None,
        None,
    )


async def test_no_dead_letter_died_before_it_failed(connect: Connect, broker: Broker, inspector: Inspector) -> None:
    """Also where both happen in the same moment: one time is a written field, the other is part of an entry id."""
    await PublishCommands(broker).append(NumberedBatch("orders", 1, [GOOD] * 200), "p1", 3600.0)
    for id_ in await inspector.read_and_die(200):
        assert await ConsumerCommands(broker, inspector.keys, "dead").to_dead_letters(
            Entry(False, id_, id_, GOOD), {"reason": "rejected"}
        )
    async with connect(ev.App("shop")) as bus:
        dead_letters = await bus.dead_letters("orders", "billing").find(count=200)
    assert len(dead_letters) == 200
    assert not [
        dead_letter
        for dead_letter in dead_letters
        if dead_letter.failed_at_s is None or dead_letter.failed_at_s > dead_letter.died_at_s
    ]


@pytest.mark.parametrize(
    ("which", "found"),
    [
        (ev.Selection(), [0, 1, 2, 3]),
        (ev.Selection(reason="rejected"), [1]),
        (ev.Selection(error="timeouterror"), [0, 2]),
        (ev.Selection(error="the BANK"), [0]),
        (ev.Selection(event_type="order.shipped"), [2]),
        (ev.Selection(handler="shop.ship"), [2]),
        (ev.Selection(origin="1-3"), [3]),
        (ev.Selection(error="TimeoutError", event_type="order.placed"), [0]),
        (ev.Selection(older_than_s=3600.0), []),
        (ev.Selection(since_s=4e9), []),
        (ev.Selection(until_s=4e9), [0, 1, 2, 3]),
    ],
)
async def test_dead_letters_are_selected_by_their_fields(
    connect: Connect, inspector: Inspector, which: ev.Selection, found: list[int]
) -> None:
    shipped = write(OrderShipped(number=1), "shop", None, None)[1]
    ids = await add_dead_letters(
        inspector,
        {"error": "TimeoutError: the bank", "handler": "shop.bill"},
        {"error": "Reject: negative", "reason": "rejected", "handler": "shop.bill"},
        {"error": "TimeoutError: the van", "handler": "shop.ship", "raw.event": shipped},
        {"error": "DecodeError: not JSON", "reason": "undecodable", "raw.event": b"\xff"},
    )
    async with connect(ev.App("shop")) as bus:
        dead_letters = bus.dead_letters("orders", "billing")
        assert [dead_letter.id for dead_letter in await dead_letters.find(which)] == [ids[n] for n in found]
        assert (await dead_letters.count(which)).total() == len(found)


async def test_ten_thousand_dead_letters_are_paged(connect: Connect, inspector: Inspector) -> None:
    ids: list[str] = []
    for start in range(0, 10_000, 2_500):
        some = [{"reason": "rejected" if n % 4 == 0 else "exhausted"} for n in range(start, start + 2_500)]
        ids += await add_dead_letters(inspector, *some)
    async with connect(ev.App("shop")) as bus:
        dead_letters = bus.dead_letters("orders", "billing")
        assert await dead_letters.size() == 10_000
        assert await dead_letters.count() == {"exhausted": 7_500, "rejected": 2_500}
        seen: list[str] = []
        while page := await dead_letters.find(after=seen[-1] if seen else None, count=999):
            assert len(page) == min(999, 10_000 - len(seen))
            seen += [dead_letter.id for dead_letter in page]
        assert seen == ids
        rejected = await dead_letters.find(ev.Selection(reason="rejected"), after=ids[5_000], count=2)
        assert [dead_letter.id for dead_letter in rejected] == [ids[5_004], ids[5_008]]


async def test_pages_of_large_dead_letters_are_limited_in_bytes(
    broker: Broker, connect: Connect, inspector: Inspector
) -> None:
    """A hundred dead letters of 10 MB would fill the memory of the server and of the caller."""
    ids = await add_dead_letters(inspector, *[{"raw.event": b"x" * 3_000_000}] * 5)
    assert len(await DeadLetterCommands(broker, inspector.keys).read("-", "+", 100)) == 2
    async with connect(ev.App("shop")) as bus:
        found = await bus.dead_letters("orders", "billing").find()
    assert [dead_letter.id for dead_letter in found] == ids


async def test_a_misspelt_name_raises_an_error_and_an_empty_queue_does_not(
    connect: Connect, inspector: Inspector
) -> None:
    async with connect(ev.App("shop")) as bus:
        await inspector.create()
        await bus.dead_letters("orders", "billing").check()
        with pytest.raises(ev.MissingGroup, match=r"no group 'biling' on stream 'orders'; its groups are billing"):
            await bus.dead_letters("orders", "biling").check()
        with pytest.raises(ev.MissingGroup, match="the stream has no groups"):
            await bus.dead_letters("order", "billing").check()
        with pytest.raises(ev.InvalidDeclaration, match="stream"):
            bus.dead_letters("or{ders}", "billing")
        with pytest.raises(ev.MissingDeadLetter, match="1-1"):
            await bus.dead_letters("orders", "billing").get("1-1")
        with pytest.raises(ev.InvalidArgument, match="not an id"):
            await bus.dead_letters("orders", "billing").get("-")
        assert await bus.dead_letters("orders", "billing").oldest_age_s() is None


async def test_malformed_dead_letters_of_other_programs_are_listed_too(connect: Connect, inspector: Inspector) -> None:
    await inspector.raw.xadd(
        inspector.keys.dead_letters, {"attempts": "many", "failed": "x", b"\xff": b"\xff", "error": b"\xff"}
    )
    async with connect(ev.App("shop")) as bus:
        [dead_letter] = await bus.dead_letters("orders", "billing").find()
    assert (dead_letter.attempts, dead_letter.reason, dead_letter.error) == (0, "", "\\xff")
    assert dead_letter.obstacle and "no field 'event'" in dead_letter.obstacle


async def test_a_long_queue_is_warned_about_once(
    broker: Broker, inspector: Inspector, caplog: pytest.LogCaptureFixture
) -> None:
    await inspector.raw.xadd(inspector.keys.stream, {"event": "x"})
    await add_dead_letters(inspector, *[{}] * 998)
    ids = [await inspector.add(event=b"x") for _ in range(3)]
    await inspector.read_and_die()
    with caplog.at_level(logging.WARNING, "eventlib"):
        for id_ in ids:
            assert await ConsumerCommands(broker, inspector.keys, "dead").to_dead_letters(
                Entry(False, id_, id_, b"x"), {"reason": "exhausted"}
            )
    assert [record.message.rpartition(" ")[2] for record in caplog.records] == ["1000"]


# Replaying


async def test_trap_13_a_replay_reaches_the_failing_group_alone(connect: Connect, inspector: Inspector) -> None:
    billing = BillingGroup()
    async with connect(billing.app) as bus, bus.running(groups=["stock"]):
        async with billing.with_dead(bus, 1, 2) as dead_letters:
            await eventually(lambda: len(billing.reserved) == 2)
            outcome = await dead_letters.replay(ev.Selection())
            await eventually(lambda: billing.record.count("acked") == 2)
            assert await dead_letters.size() == 0
            await eventually(lambda: nothing_left(bus))
        assert (await bus.backlog("orders", "stock")).waiting == 0
    assert len(outcome.ids) == 2 and not outcome.more and not outcome.gone
    assert sorted(billing.seen) == [(1, 1), (2, 1)]  # attempts count from one again
    assert sorted(billing.reserved) == [1, 2]
    assert len(await inspector.events()) == 2  # the event stream has not grown


async def test_a_dry_run_reports_what_would_be_done_and_changes_nothing(connect: Connect, inspector: Inspector) -> None:
    good, bad = await add_dead_letters(inspector, {}, {"raw.event": TRUNCATED})
    async with connect(ev.App("shop")) as bus:
        dead_letters = bus.dead_letters("orders", "billing")
        before = await dead_letters.find()
        replay = await dead_letters.replay(ev.Selection(), dry_run=True)
        purge = await dead_letters.purge(ev.Selection(), dry_run=True)
        assert await dead_letters.find() == before
        assert (await bus.backlog("orders", "billing")).total == 0
        done = await dead_letters.replay(ev.Selection())
    assert (replay.ids, list(replay.obstacles)) == ([good], [bad])
    assert (purge.ids, list(purge.obstacles)) == ([good, bad], [])
    assert done == replay


async def test_a_replay_whose_reply_is_lost_moves_each_dead_letter_once(
    connect: Connect, inspector: Inspector, url: str
) -> None:
    ids = await add_dead_letters(inspector, *[{}] * 5)
    async with fault_proxy(url) as faulty, connect(ev.App("shop"), url=faulty.url) as bus:
        dead_letters = bus.dead_letters("orders", "billing")
        await dead_letters.replay(ev.Selection(ids=[ids[0]]))  # so that the server knows the script
        faulty.lose_reply_to(REPLAY.sha.encode())
        outcome = await dead_letters.replay(ev.Selection())
        assert faulty.lost == 1
        assert outcome.ids == ids[1:] and not outcome.gone
        again = await dead_letters.replay(ev.Selection(ids=ids))
    assert (again.ids, again.gone) == ([], ids)
    assert [fields[b"origin"] for fields in await inspector.events(retried=True)] == [b"1-%d" % n for n in range(5)]


@pytest.mark.parametrize("script", [EDIT, PURGE], ids=lambda script: script.name)
async def test_an_edit_or_purge_whose_reply_is_lost_is_done_once(
    connect: Connect, inspector: Inspector, url: str, script: Script
) -> None:
    ids = await add_dead_letters(inspector, *[{}] * 3)
    async with fault_proxy(url) as faulty, connect(ev.App("shop"), url=faulty.url) as bus:
        dead_letters = bus.dead_letters("orders", "billing")
        await dead_letters.edit(ids[0], event=GOOD)
        await dead_letters.purge(ev.Selection(ids=[ids[0]]))
        faulty.lose_reply_to(script.sha.encode())
        edited = await dead_letters.edit(ids[1], data={"number": 5})
        purged = await dead_letters.purge(ev.Selection())
        assert faulty.lost == 1
    assert edited.edited is not None and b'"data":{"number":5}' in edited.edited
    assert purged.ids == ids[1:]
    assert not await inspector.raw.xlen(inspector.keys.dead_letters) and not await inspector.raw.exists(
        inspector.keys.edits
    )


async def test_two_replays_at_once_move_each_dead_letter_once(connect: Connect, inspector: Inspector) -> None:
    ids = await add_dead_letters(inspector, *[{}] * 500)
    async with connect(ev.App("shop")) as one, connect(ev.App("shop")) as other:
        outcomes = await asyncio.gather(
            *(bus.dead_letters("orders", "billing").replay(ev.Selection()) for bus in (one, other))
        )
        assert await one.dead_letters("orders", "billing").size() == 0
    assert sorted([*outcomes[0].ids, *outcomes[1].ids]) == sorted(ids)
    origins = [fields[b"origin"] for fields in await inspector.events(retried=True)]
    assert len(origins) == len(set(origins)) == 500


async def test_a_replay_is_bounded_and_says_that_there_is_more(connect: Connect, inspector: Inspector) -> None:
    ids = await add_dead_letters(inspector, {"raw.event": TRUNCATED}, *[{}] * 250)
    async with connect(ev.App("shop")) as bus:
        dead_letters = bus.dead_letters("orders", "billing")
        first = await dead_letters.replay(ev.Selection(), limit=120)
        second = await dead_letters.replay(ev.Selection(), limit=130)
        third = await dead_letters.replay(ev.Selection(), limit=130)
    assert (first.ids, first.more) == (ids[1:121], True)
    assert (second.ids, second.more) == (ids[121:], False)
    assert (third.ids, list(third.obstacles), third.more) == ([], [ids[0]], False)


async def test_a_replayed_event_that_fails_again_is_a_new_dead_letter_with_its_number_of_replays(
    connect: Connect,
) -> None:
    billing = BillingGroup()
    async with connect(billing.app) as bus, billing.with_dead(bus, 1) as dead_letters:
        [old] = await dead_letters.find()
        billing.error = ev.Reject("never")
        for replays in (1, 2):
            await dead_letters.replay(ev.Selection())
            await eventually(lambda: billing.record.count("dead") == 1 + replays)  # noqa: B023
            [new] = await dead_letters.find()
            assert (new.replays, new.reason, new.attempts) == (replays, "rejected", 1)
            assert new.id != old.id and new.origin == old.origin
            assert new.raw == old.raw and new.failed_at_s == old.failed_at_s
    assert billing.seen == [(1, 1), (1, 1)]


async def test_a_replay_leaves_out_dead_letters_that_were_added_after_it_began(connect: Connect) -> None:
    """Otherwise a replay whose events fail again at once might never end."""
    billing = BillingGroup()
    billing.error = ev.Reject("never")
    async with (
        connect(billing.app) as bus,
        billing.with_dead(bus, *range(130)) as dead_letters,
    ):  # more than it takes at a time
        billing.error = ev.Reject("never")
        outcome = await dead_letters.replay(ev.Selection())
        await eventually(lambda: billing.record.count("dead") == 260)
        assert len(outcome.ids) == len(billing.seen) == await dead_letters.size() == 130


async def test_a_replay_keeps_the_number_of_attempts_on_request(connect: Connect, inspector: Inspector) -> None:
    kept, exhausted = await add_dead_letters(inspector, {"attempts": 1, "reason": "rejected"}, {"attempts": 3})
    billing = BillingGroup()
    billing.error = None
    async with connect(billing.app) as bus, bus.running(groups=["billing"], observe=billing.record):
        dead_letters = bus.dead_letters("orders", "billing")
        await dead_letters.replay(ev.Selection(ids=[kept]), keep_attempts=True)
        await eventually(lambda: billing.seen == [(1, 2)])
        outcome = await dead_letters.replay(ev.Selection(ids=[exhausted]), keep_attempts=True)
        assert not outcome.ids
        assert "used up (3)" in outcome.obstacles[exhausted]
        [dead_letter] = await dead_letters.find()
    assert (dead_letter.reason, dead_letter.attempts, dead_letter.replays) == ("exhausted", 3, 0)
    assert billing.record.count("dead") == 0


@pytest.mark.usefixtures("early_sweeps")
async def test_trap_07_a_replayed_poison_entry_counts_its_attempts_from_one(
    connect: Connect, inspector: Inspector
) -> None:
    billing = BillingGroup()
    billing.error = None
    async with connect(billing.app) as bus:
        await bus.publish(OrderPlaced(number=1))
        [id_] = await inspector.read_and_die()
        await inspector.take_over(id_, "dead", idle_ms=60_000, deliveries=3)
        async with bus.running(groups=["billing"], observe=billing.record):
            dead_letters = bus.dead_letters("orders", "billing")
            [dead_letter] = await eventually(dead_letters.find)
            assert (dead_letter.reason, dead_letter.attempts, dead_letter.traceback, billing.seen) == (
                "poison",
                3,
                "",
                [],
            )
            await dead_letters.replay(ev.Selection(reason="poison"))
            await eventually(lambda: billing.record.count("acked"))
    assert billing.seen == [(1, 1)]


async def test_trap_10_a_rejected_event_is_no_longer_pending(connect: Connect, inspector: Inspector) -> None:
    billing = BillingGroup()
    billing.error = ev.Reject("negative")
    async with connect(billing.app) as bus, billing.with_dead(bus, 1) as dead_letters:
        assert await inspector.pending() == []
        billing.error = ev.Reject("still negative")
        await dead_letters.replay(ev.Selection())  # from the retry stream, a rejection must leave too
        await eventually(lambda: billing.record.count("dead") == 2)
        assert await inspector.pending(retried=True) == [] == await inspector.events(retried=True)
        [dead_letter] = await dead_letters.find()
    assert dead_letter.error == "Reject: still negative"


# Editing


@pytest.mark.parametrize(
    ("fields", "obstacle"),
    [
        ({b"event": TRUNCATED}, "not JSON"),
        ({b"event": b"\x00\xff"}, "not JSON"),
        ({b"event": b""}, "not JSON"),
        ({b"event": b'{"type":"order.placed"}'}, "no CloudEvents 1.0 envelope"),
        ({b"body": GOOD}, "no field 'event'"),
        ({b"attempts": b"x", b"origin": b"y"}, "no field 'event'"),
        ({b"f%d" % n: b"\xff" for n in range(4_000)}, "no field 'event'"),
    ],
    ids=["truncated", "no JSON", "empty", "no envelope", "no event field", "our names", "wide"],
)
async def test_trap_11_an_unreadable_entry_is_shown_whole_and_can_be_replayed_after_an_edit(
    connect: Connect, inspector: Inspector, fields: dict[bytes, bytes], obstacle: str
) -> None:
    app, handled = new_app()
    record = Record()
    await inspector.raw.xadd(inspector.keys.stream, fields)  # type: ignore[arg-type]  # invariant dict
    async with connect(app) as bus, bus.running(observe=record):
        dead_letters = bus.dead_letters("orders", "billing")
        [dead_letter] = await eventually(dead_letters.find)
        assert (dead_letter.reason, dead_letter.raw) == ("undecodable", fields)
        outcome = await dead_letters.replay(ev.Selection())
        assert outcome.ids == [] and obstacle in outcome.obstacles[dead_letter.id]
        edited = await dead_letters.edit(dead_letter.id, event=GOOD)
        assert (edited.id, edited.raw, edited.event, edited.obstacle) == (dead_letter.id, fields, GOOD, None)
        assert edited.edited_at_s is not None and edited.edited_at_s >= dead_letter.died_at_s
        assert (await dead_letters.replay(ev.Selection())).ids == [dead_letter.id]
        await eventually(lambda: handled == [1])
        await eventually(lambda: nothing_left(bus))
    assert not await inspector.raw.exists(inspector.keys.edits)


async def test_an_edit_of_the_data_keeps_the_rest_of_the_envelope(connect: Connect, inspector: Inspector) -> None:
    event = GOOD.replace(b'"data"', b'"traceparent":"00-ab","data"')
    [id_] = await add_dead_letters(inspector, {"raw.event": event})
    async with connect(ev.App("shop")) as bus:
        dead_letters = bus.dead_letters("orders", "billing")
        first = await dead_letters.edit(id_, data={"number": 2, "note": "\u00e9 \x00"})
        second = await dead_letters.edit(id_, data={"number": 3})
    assert first.edited is not None and '"note":"\u00e9 \\u0000"'.encode() in first.edited
    assert second.edited == event.replace(b'{"number":1}', b'{"number":3}')
    assert second.raw[b"event"] == event
    assert (second.event_id, second.correlation_id) == (first.event_id, "c1")


async def test_an_edit_is_validated_against_the_event_class(connect: Connect, inspector: Inspector) -> None:
    [id_] = await add_dead_letters(inspector, {})
    app, _ = new_app()
    async with connect(app) as bus, connect(ev.App("other")) as foreign:
        dead_letters = bus.dead_letters("orders", "billing")
        with pytest.raises(ev.DecodeError, match="number"):
            await dead_letters.edit(id_, data={"number": "one"})
        with pytest.raises(ev.UnsupportedVersion):
            await dead_letters.edit(id_, event=GOOD.replace(b'"eventversion":1', b'"eventversion":9'))
        with pytest.raises(ev.DecodeError, match="not JSON"):
            await dead_letters.edit(id_, event=TRUNCATED)
        with pytest.raises(ev.DecodeError, match="JSON form"):
            await dead_letters.edit(id_, data={"number": float("nan")})
        with pytest.raises(ev.DecodeError, match="JSON form"):
            await dead_letters.edit(id_, data={"number": "\ud800"})
        with pytest.raises(ev.InvalidArgument, match="either"):
            await dead_letters.edit(id_)
        with pytest.raises(ev.MissingDeadLetter):
            await dead_letters.edit("1-1", data={"number": 1})
        assert (await dead_letters.get(id_)).edited is None
        assert ((await dead_letters.edit(id_, event=TRUNCATED, force=True)).obstacle or "").startswith("not JSON")
        with pytest.raises(ev.DecodeError, match="whole event"):
            await dead_letters.edit(id_, data={"number": 1})
        unknown = foreign.dead_letters("orders", "billing")
        assert (await unknown.edit(id_, event=GOOD.replace(b'"number":1', b'"number":"one"'))).obstacle is None


async def test_an_edited_event_that_fails_again_is_marked_as_edited(connect: Connect) -> None:
    billing = BillingGroup()
    async with connect(billing.app) as bus, billing.with_dead(bus, 1) as dead_letters:
        [old] = await dead_letters.find()
        edited = await dead_letters.edit(old.id, data={"number": -1})
        billing.error = ev.Reject("negative")
        await dead_letters.replay(ev.Selection())
        await eventually(lambda: billing.record.count("dead") == 2)
        [new] = await dead_letters.find()
    assert billing.seen == [(-1, 1)]
    assert new.raw[b"event"] == edited.edited
    assert (new.edited, new.edited_at_s, new.replays) == (None, edited.edited_at_s, 1)


async def test_an_event_of_a_newer_version_can_be_replayed_after_a_deployment(
    connect: Connect, inspector: Inspector
) -> None:
    app, handled = new_app(newer_version_wait_s=0.0)
    newer, got = ev.App("shop"), list[str]()

    class OrderPlacedV9(ev.Event, type="order.placed", version=9, stream="orders"):
        name: str

    @newer.subscribe(OrderPlacedV9, group="billing")
    async def bill(event: OrderPlacedV9, _: ev.Delivery) -> None:
        got.append(event.name)

    await inspector.add(event=write(OrderPlacedV9(name="a"), "shop", None, None)[1])
    async with connect(app) as bus, bus.running():
        [dead_letter] = await eventually(bus.dead_letters("orders", "billing").find)
        assert (dead_letter.reason, dead_letter.obstacle, handled) == ("unsupported_version", None, [])
    async with connect(newer) as bus, bus.running():
        await bus.dead_letters("orders", "billing").replay(ev.Selection(reason="unsupported_version"))
        await eventually(lambda: got == ["a"])


# Purging


async def test_a_purge_deletes_the_selected_dead_letters_and_their_edits(
    connect: Connect, inspector: Inspector
) -> None:
    ids = await add_dead_letters(inspector, {}, {"reason": "rejected"}, {}, {"reason": "rejected"})
    async with connect(ev.App("shop")) as bus:
        dead_letters = bus.dead_letters("orders", "billing")
        for id_ in ids[:2]:
            await dead_letters.edit(id_, data={"number": 2})
        assert (await dead_letters.purge(ev.Selection(older_than_s=3600.0))).ids == []
        rejected = await dead_letters.purge(ev.Selection(reason="rejected"), limit=1)
        assert (rejected.ids, rejected.more) == ([ids[1]], True)
        assert [dead_letter.id for dead_letter in await dead_letters.find()] == [ids[0], ids[2], ids[3]]
        assert set(await inspector.raw.hkeys(inspector.keys.edits)) == {ids[0].encode()}
        gone = await dead_letters.purge(ev.Selection(ids=[ids[1], ids[2]]))
        assert (gone.ids, gone.gone) == ([ids[2]], [ids[1]])
        await dead_letters.purge(ev.Selection(since_s=(await dead_letters.get(ids[0])).died_at_s))
        assert await dead_letters.size() == 0 and not await inspector.raw.exists(inspector.keys.edits)


# Fields beside the event


FOREIGN: dict[str, dict[bytes, bytes]] = {
    "beside": {b"event": GOOD, b"trace": b"\x00\xff"},
    "before": {b"trace": b"x", b"event": GOOD, b"": b""},
    "named like the library's fields": {
        b"event": GOOD,
        b"attempts": b"many",
        b"origin": b"o",
        b"failed": b"f",
        b"packed": b"p",
    },
    "wide": {b"f%d" % n: b"%d" % n for n in range(4_000)} | {b"event": GOOD},
}


@pytest.mark.parametrize("wait_s", [0.0, 0.01])
@pytest.mark.parametrize("fields", FOREIGN.values(), ids=FOREIGN)
async def test_fields_beside_the_event_are_kept_on_every_path(
    connect: Connect, inspector: Inspector, fields: dict[bytes, bytes], wait_s: float
) -> None:
    """The paths: retries, at once and delayed, a consumer that leaves, the dead-letter queue and a replay."""
    app, tries, record = ev.App("shop"), list[int](), Record()

    @app.subscribe(OrderPlaced, group="billing", retry=ev.Retry(attempts=3, wait_s=wait_s, jitter="none"))
    async def bill(_: OrderPlaced, delivery: ev.Delivery) -> None:
        tries.append(delivery.attempt)
        raise ValueError("no")

    await inspector.raw.xadd(inspector.keys.stream, fields)  # type: ignore[arg-type]  # invariant dict
    await inspector.read_and_die()
    async with connect(app) as bus:
        dead_letters = bus.dead_letters("orders", "billing")
        for retried in (False, True):
            assert await ConsumerCommands(bus._broker, inspector.keys, "dead").leave() == 1
            if not retried:
                await inspector.read_and_die(retried=True)
        async with bus.running(observe=record):
            for replays in range(2):
                [dead_letter] = await eventually(dead_letters.find)
                assert (dead_letter.raw, dead_letter.attempts, dead_letter.replays) == (fields, 3, replays)
                await dead_letters.replay(ev.Selection())
            await eventually(lambda: record.count("dead") == 3)
    assert tries == [1, 2, 3] * 3
