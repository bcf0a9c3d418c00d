"""What a group gave up can be looked at, mended, delivered once more to that group alone, or deleted."""

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
from tests.shop import AT_ONCE, Connect, OrderPlaced, OrderShipped, Record, new_app, orders

GOOD = write(OrderPlaced(number=1), "shop", "c1", None)[1]
TRUNCATED = GOOD[:-5]


class Desk:
    """A group "billing" that fails while it is told to, and a group "stock" that never does."""

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
        """Run the group while the block runs, once these orders are dead; what it handles then is well."""
        async with bus.running(groups=["billing"], observe=self.record):
            await bus.publish_many(orders(*numbers), correlation_id="c1")
            await eventually(lambda: self.record.count("dead") == len(numbers))
            self.error = None
            self.seen.clear()
            yield bus.dead_letters("orders", "billing")


async def add_letters(inspector: Inspector, *letters: dict[str, Any]) -> list[str]:
    """Write letters as the library does, past it."""
    pipe = inspector.raw.pipeline()
    for number, letter in enumerate(letters):
        fields: dict[Any, Any] = {"origin": f"1-{number}", "reason": "exhausted", "attempts": 3, "raw.event": GOOD}
        pipe.xadd(inspector.keys.dead_letters, fields | letter)
    return [id_.decode() for id_ in await pipe.execute()]


async def nothing_left(bus: ev.Bus) -> bool:
    return (await bus.backlog("orders", "billing")).total == 0


# Looking


async def test_a_letter_says_all_that_an_operator_needs(connect: Connect, inspector: Inspector) -> None:
    desk = Desk()
    async with connect(desk.app) as bus:
        before_s = await inspector.now_s()
        async with desk.with_dead(bus, 7) as letters:
            [letter] = await letters.find()
            assert letter == await letters.get(letter.id)
            assert await letters.size() == 1
            age_s = await letters.oldest_age_s()
            assert age_s is not None and 0.0 <= age_s < 20.0
        after_s = await inspector.now_s()
        entries: Any = await inspector.raw.xrange(inspector.keys.stream)
    assert (letter.reason, letter.error, letter.attempts) == ("exhausted", "ValueError: no money", 3)
    assert "raise self.error" in letter.traceback
    assert "bill" in letter.handler and letter.consumer
    assert (letter.origin, letter.event_type, letter.correlation_id) == (entries[0][0].decode(), "order.placed", "c1")
    assert letter.event_id and letter.event_id.encode() in letter.raw[b"event"]
    assert letter.failed_at_s is not None
    assert before_s - 0.001 <= letter.failed_at_s <= letter.died_at_s <= after_s
    assert (letter.replays, letter.edited, letter.edited_at_s, letter.obstacle) == (0, None, None, None)


async def test_nothing_died_before_it_failed(connect: Connect, broker: Broker, inspector: Inspector) -> None:
    """Not even where both are of the same moment: one is a time that was written, the other is in an id."""
    await PublishCommands(broker).append(NumberedBatch("orders", 1, [GOOD] * 200), "p1", 3600.0)
    for id_ in await inspector.read_and_die(200):
        assert await ConsumerCommands(broker, inspector.keys, "dead").to_dead_letters(
            Entry(False, id_, id_, GOOD), {"reason": "rejected"}
        )
    async with connect(ev.App("shop")) as bus:
        letters = await bus.dead_letters("orders", "billing").find(count=200)
    assert len(letters) == 200
    assert not [letter for letter in letters if letter.failed_at_s is None or letter.failed_at_s > letter.died_at_s]


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
async def test_letters_are_found_by_what_they_say(
    connect: Connect, inspector: Inspector, which: ev.Selection, found: list[int]
) -> None:
    shipped = write(OrderShipped(number=1), "shop", None, None)[1]
    ids = await add_letters(
        inspector,
        {"error": "TimeoutError: the bank", "handler": "shop.bill"},
        {"error": "Reject: negative", "reason": "rejected", "handler": "shop.bill"},
        {"error": "TimeoutError: the van", "handler": "shop.ship", "raw.event": shipped},
        {"error": "DecodeError: not JSON", "reason": "undecodable", "raw.event": b"\xff"},
    )
    async with connect(ev.App("shop")) as bus:
        letters = bus.dead_letters("orders", "billing")
        assert [letter.id for letter in await letters.find(which)] == [ids[n] for n in found]
        assert (await letters.count(which)).total() == len(found)


async def test_ten_thousand_letters_are_paged(connect: Connect, inspector: Inspector) -> None:
    ids: list[str] = []
    for start in range(0, 10_000, 2_500):
        some = [{"reason": "rejected" if n % 4 == 0 else "exhausted"} for n in range(start, start + 2_500)]
        ids += await add_letters(inspector, *some)
    async with connect(ev.App("shop")) as bus:
        letters = bus.dead_letters("orders", "billing")
        assert await letters.size() == 10_000
        assert await letters.count() == {"exhausted": 7_500, "rejected": 2_500}
        seen: list[str] = []
        while page := await letters.find(after=seen[-1] if seen else None, count=999):
            assert len(page) == min(999, 10_000 - len(seen))
            seen += [letter.id for letter in page]
        assert seen == ids
        rejected = await letters.find(ev.Selection(reason="rejected"), after=ids[5_000], count=2)
        assert [letter.id for letter in rejected] == [ids[5_004], ids[5_008]]


async def test_large_letters_come_a_few_at_a_time(broker: Broker, connect: Connect, inspector: Inspector) -> None:
    """A page is bounded in bytes too: a hundred letters of 10 MB would fill both memories."""
    ids = await add_letters(inspector, *[{"raw.event": b"x" * 3_000_000}] * 5)
    assert len(await DeadLetterCommands(broker, inspector.keys).read("-", "+", 100)) == 2
    async with connect(ev.App("shop")) as bus:
        found = await bus.dead_letters("orders", "billing").find()
    assert [letter.id for letter in found] == ids


async def test_a_misspelt_name_is_told_from_an_empty_queue(connect: Connect, inspector: Inspector) -> None:
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


async def test_letters_that_others_wrote_badly_are_listed_all_the_same(connect: Connect, inspector: Inspector) -> None:
    await inspector.raw.xadd(
        inspector.keys.dead_letters, {"attempts": "many", "failed": "x", b"\xff": b"\xff", "error": b"\xff"}
    )
    async with connect(ev.App("shop")) as bus:
        [letter] = await bus.dead_letters("orders", "billing").find()
    assert (letter.attempts, letter.reason, letter.error) == (0, "", "\\xff")
    assert letter.obstacle and "no field 'event'" in letter.obstacle


async def test_a_long_queue_is_noticed_once(
    broker: Broker, inspector: Inspector, caplog: pytest.LogCaptureFixture
) -> None:
    await inspector.raw.xadd(inspector.keys.stream, {"event": "x"})
    await add_letters(inspector, *[{}] * 998)
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
    desk = Desk()
    async with connect(desk.app) as bus, bus.running(groups=["stock"]):
        async with desk.with_dead(bus, 1, 2) as letters:
            await eventually(lambda: len(desk.reserved) == 2)
            outcome = await letters.replay(ev.Selection())
            await eventually(lambda: desk.record.count("acked") == 2)
            assert await letters.size() == 0
            await eventually(lambda: nothing_left(bus))
        assert (await bus.backlog("orders", "stock")).waiting == 0
    assert len(outcome.ids) == 2 and not outcome.more and not outcome.gone
    assert sorted(desk.seen) == [(1, 1), (2, 1)]  # attempts count afresh
    assert sorted(desk.reserved) == [1, 2]
    assert len(await inspector.events()) == 2  # the event stream has not grown


async def test_a_dry_run_says_what_would_be_done_and_does_nothing(connect: Connect, inspector: Inspector) -> None:
    good, bad = await add_letters(inspector, {}, {"raw.event": TRUNCATED})
    async with connect(ev.App("shop")) as bus:
        letters = bus.dead_letters("orders", "billing")
        before = await letters.find()
        replay = await letters.replay(ev.Selection(), dry_run=True)
        purge = await letters.purge(ev.Selection(), dry_run=True)
        assert await letters.find() == before
        assert (await bus.backlog("orders", "billing")).total == 0
        done = await letters.replay(ev.Selection())
    assert (replay.ids, list(replay.obstacles)) == ([good], [bad])
    assert (purge.ids, list(purge.obstacles)) == ([good, bad], [])
    assert done == replay


async def test_a_replay_whose_reply_is_lost_moves_each_letter_once(
    connect: Connect, inspector: Inspector, url: str
) -> None:
    ids = await add_letters(inspector, *[{}] * 5)
    async with fault_proxy(url) as faulty, connect(ev.App("shop"), url=faulty.url) as bus:
        letters = bus.dead_letters("orders", "billing")
        await letters.replay(ev.Selection(ids=[ids[0]]))  # so that the server knows the script
        faulty.lose_reply_to(REPLAY.sha.encode())
        outcome = await letters.replay(ev.Selection())
        assert faulty.lost == 1
        assert outcome.ids == ids[1:] and not outcome.gone
        again = await letters.replay(ev.Selection(ids=ids))
    assert (again.ids, again.gone) == ([], ids)
    assert [fields[b"origin"] for fields in await inspector.events(retried=True)] == [b"1-%d" % n for n in range(5)]


@pytest.mark.parametrize("script", [EDIT, PURGE], ids=lambda script: script.name)
async def test_edits_and_purges_may_lose_replies_too(
    connect: Connect, inspector: Inspector, url: str, script: Script
) -> None:
    ids = await add_letters(inspector, *[{}] * 3)
    async with fault_proxy(url) as faulty, connect(ev.App("shop"), url=faulty.url) as bus:
        letters = bus.dead_letters("orders", "billing")
        await letters.edit(ids[0], event=GOOD)
        await letters.purge(ev.Selection(ids=[ids[0]]))
        faulty.lose_reply_to(script.sha.encode())
        edited = await letters.edit(ids[1], data={"number": 5})
        purged = await letters.purge(ev.Selection())
        assert faulty.lost == 1
    assert edited.edited is not None and b'"data":{"number":5}' in edited.edited
    assert purged.ids == ids[1:]
    assert not await inspector.raw.xlen(inspector.keys.dead_letters) and not await inspector.raw.exists(
        inspector.keys.edits
    )


async def test_two_operators_at_once_replay_each_letter_once(connect: Connect, inspector: Inspector) -> None:
    ids = await add_letters(inspector, *[{}] * 500)
    async with connect(ev.App("shop")) as one, connect(ev.App("shop")) as other:
        outcomes = await asyncio.gather(
            *(bus.dead_letters("orders", "billing").replay(ev.Selection()) for bus in (one, other))
        )
        assert await one.dead_letters("orders", "billing").size() == 0
    assert sorted([*outcomes[0].ids, *outcomes[1].ids]) == sorted(ids)
    origins = [fields[b"origin"] for fields in await inspector.events(retried=True)]
    assert len(origins) == len(set(origins)) == 500


async def test_a_replay_is_bounded_and_says_that_there_is_more(connect: Connect, inspector: Inspector) -> None:
    ids = await add_letters(inspector, {"raw.event": TRUNCATED}, *[{}] * 250)
    async with connect(ev.App("shop")) as bus:
        letters = bus.dead_letters("orders", "billing")
        first = await letters.replay(ev.Selection(), limit=120)
        second = await letters.replay(ev.Selection(), limit=130)
        third = await letters.replay(ev.Selection(), limit=130)
    assert (first.ids, first.more) == (ids[1:121], True)
    assert (second.ids, second.more) == (ids[121:], False)
    assert (third.ids, list(third.obstacles), third.more) == ([], [ids[0]], False)


async def test_what_fails_again_is_a_new_letter_that_says_how_often_it_was_replayed(connect: Connect) -> None:
    desk = Desk()
    async with connect(desk.app) as bus, desk.with_dead(bus, 1) as letters:
        [old] = await letters.find()
        desk.error = ev.Reject("never")
        for replays in (1, 2):
            await letters.replay(ev.Selection())
            await eventually(lambda: desk.record.count("dead") == 1 + replays)  # noqa: B023
            [new] = await letters.find()
            assert (new.replays, new.reason, new.attempts) == (replays, "rejected", 1)
            assert new.id != old.id and new.origin == old.origin
            assert new.raw == old.raw and new.failed_at_s == old.failed_at_s
    assert desk.seen == [(1, 1), (1, 1)]


async def test_a_replay_does_not_meet_what_it_made_die(connect: Connect) -> None:
    """Letters that die again while a replay goes on are for the next one, or it might never end."""
    desk = Desk()
    desk.error = ev.Reject("never")
    async with connect(desk.app) as bus, desk.with_dead(bus, *range(130)) as letters:  # more than it takes at a time
        desk.error = ev.Reject("never")
        outcome = await letters.replay(ev.Selection())
        await eventually(lambda: desk.record.count("dead") == 260)
        assert len(outcome.ids) == len(desk.seen) == await letters.size() == 130


async def test_attempts_are_kept_on_request(connect: Connect, inspector: Inspector) -> None:
    kept, exhausted = await add_letters(inspector, {"attempts": 1, "reason": "rejected"}, {"attempts": 3})
    desk = Desk()
    desk.error = None
    async with connect(desk.app) as bus, bus.running(groups=["billing"], observe=desk.record):
        letters = bus.dead_letters("orders", "billing")
        await letters.replay(ev.Selection(ids=[kept]), keep_attempts=True)
        await eventually(lambda: desk.seen == [(1, 2)])
        outcome = await letters.replay(ev.Selection(ids=[exhausted]), keep_attempts=True)
        assert not outcome.ids
        assert "used up (3)" in outcome.obstacles[exhausted]
        [letter] = await letters.find()
    assert (letter.reason, letter.attempts, letter.replays) == ("exhausted", 3, 0)
    assert desk.record.count("dead") == 0


async def test_trap_07_a_poison_letter_that_is_replayed_counts_afresh(connect: Connect, inspector: Inspector) -> None:
    desk = Desk()
    desk.error = None
    desk.app.group("billing", lease_s=0.3)
    async with connect(desk.app) as bus:
        await bus.publish(OrderPlaced(number=1))
        [id_] = await inspector.read_and_die()
        await inspector.take_over(id_, "dead", idle_ms=60_000, deliveries=3)
        async with bus.running(groups=["billing"], observe=desk.record):
            letters = bus.dead_letters("orders", "billing")
            [letter] = await eventually(letters.find)
            assert (letter.reason, letter.attempts, letter.traceback, desk.seen) == ("poison", 3, "", [])
            await letters.replay(ev.Selection(reason="poison"))
            await eventually(lambda: desk.record.count("acked"))
    assert desk.seen == [(1, 1)]


async def test_trap_10_a_rejected_event_is_pending_no_more(connect: Connect, inspector: Inspector) -> None:
    desk = Desk()
    desk.error = ev.Reject("negative")
    async with connect(desk.app) as bus, desk.with_dead(bus, 1) as letters:
        assert await inspector.pending() == []
        desk.error = ev.Reject("still negative")
        await letters.replay(ev.Selection())  # from the retry stream, a rejection must leave too
        await eventually(lambda: desk.record.count("dead") == 2)
        assert await inspector.pending(retried=True) == [] == await inspector.events(retried=True)
        [letter] = await letters.find()
    assert letter.error == "Reject: still negative"


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
async def test_trap_11_what_cannot_be_read_is_shown_whole_and_replayed_when_mended(
    connect: Connect, inspector: Inspector, fields: dict[bytes, bytes], obstacle: str
) -> None:
    app, handled = new_app()
    record = Record()
    await inspector.raw.xadd(inspector.keys.stream, fields)  # type: ignore[arg-type]  # invariant dict
    async with connect(app) as bus, bus.running(observe=record):
        letters = bus.dead_letters("orders", "billing")
        [letter] = await eventually(letters.find)
        assert (letter.reason, letter.raw) == ("undecodable", fields)
        outcome = await letters.replay(ev.Selection())
        assert outcome.ids == [] and obstacle in outcome.obstacles[letter.id]
        edited = await letters.edit(letter.id, event=GOOD)
        assert (edited.id, edited.raw, edited.event, edited.obstacle) == (letter.id, fields, GOOD, None)
        assert edited.edited_at_s is not None and edited.edited_at_s >= letter.died_at_s
        assert (await letters.replay(ev.Selection())).ids == [letter.id]
        await eventually(lambda: handled == [1])
        await eventually(lambda: nothing_left(bus))
    assert not await inspector.raw.exists(inspector.keys.edits)


async def test_an_edit_of_the_data_keeps_the_rest_of_the_envelope(connect: Connect, inspector: Inspector) -> None:
    event = GOOD.replace(b'"data"', b'"traceparent":"00-ab","data"')
    [id_] = await add_letters(inspector, {"raw.event": event})
    async with connect(ev.App("shop")) as bus:
        letters = bus.dead_letters("orders", "billing")
        first = await letters.edit(id_, data={"number": 2, "note": "\u00e9 \x00"})
        second = await letters.edit(id_, data={"number": 3})
    assert first.edited is not None and '"note":"\u00e9 \\u0000"'.encode() in first.edited
    assert second.edited == event.replace(b'{"number":1}', b'{"number":3}')
    assert second.raw[b"event"] == event
    assert (second.event_id, second.correlation_id) == (first.event_id, "c1")


async def test_an_edit_is_held_against_the_apps_class(connect: Connect, inspector: Inspector) -> None:
    [id_] = await add_letters(inspector, {})
    app, _ = new_app()
    async with connect(app) as bus, connect(ev.App("other")) as foreign:
        letters = bus.dead_letters("orders", "billing")
        with pytest.raises(ev.DecodeError, match="number"):
            await letters.edit(id_, data={"number": "one"})
        with pytest.raises(ev.UnsupportedVersion):
            await letters.edit(id_, event=GOOD.replace(b'"eventversion":1', b'"eventversion":9'))
        with pytest.raises(ev.DecodeError, match="not JSON"):
            await letters.edit(id_, event=TRUNCATED)
        with pytest.raises(ev.DecodeError, match="JSON form"):
            await letters.edit(id_, data={"number": float("nan")})
        with pytest.raises(ev.DecodeError, match="JSON form"):
            await letters.edit(id_, data={"number": "\ud800"})
        with pytest.raises(ev.InvalidArgument, match="either"):
            await letters.edit(id_)
        with pytest.raises(ev.MissingDeadLetter):
            await letters.edit("1-1", data={"number": 1})
        assert (await letters.get(id_)).edited is None
        assert ((await letters.edit(id_, event=TRUNCATED, force=True)).obstacle or "").startswith("not JSON")
        with pytest.raises(ev.DecodeError, match="whole event"):
            await letters.edit(id_, data={"number": 1})
        unknown = foreign.dead_letters("orders", "billing")
        assert (await unknown.edit(id_, event=GOOD.replace(b'"number":1', b'"number":"one"'))).obstacle is None


async def test_what_was_edited_and_fails_again_says_so(connect: Connect) -> None:
    desk = Desk()
    async with connect(desk.app) as bus, desk.with_dead(bus, 1) as letters:
        [old] = await letters.find()
        edited = await letters.edit(old.id, data={"number": -1})
        desk.error = ev.Reject("negative")
        await letters.replay(ev.Selection())
        await eventually(lambda: desk.record.count("dead") == 2)
        [new] = await letters.find()
    assert desk.seen == [(-1, 1)]
    assert new.raw[b"event"] == edited.edited
    assert (new.edited, new.edited_at_s, new.replays) == (None, edited.edited_at_s, 1)


async def test_a_version_from_the_future_is_replayed_after_a_deployment(connect: Connect, inspector: Inspector) -> None:
    app, handled = new_app()
    newer, got = ev.App("shop"), list[str]()

    class OrderPlacedV9(ev.Event, type="order.placed", version=9, stream="orders"):
        name: str

    @newer.subscribe(OrderPlacedV9, group="billing")
    async def bill(event: OrderPlacedV9, _: ev.Delivery) -> None:
        got.append(event.name)

    await inspector.add(event=write(OrderPlacedV9(name="a"), "shop", None, None)[1])
    async with connect(app) as bus, bus.running():
        [letter] = await eventually(bus.dead_letters("orders", "billing").find)
        assert (letter.reason, letter.obstacle, handled) == ("unsupported_version", None, [])
    async with connect(newer) as bus, bus.running():
        await bus.dead_letters("orders", "billing").replay(ev.Selection(reason="unsupported_version"))
        await eventually(lambda: got == ["a"])


# Purging


async def test_a_purge_deletes_what_was_selected_and_its_edits(connect: Connect, inspector: Inspector) -> None:
    ids = await add_letters(inspector, {}, {"reason": "rejected"}, {}, {"reason": "rejected"})
    async with connect(ev.App("shop")) as bus:
        letters = bus.dead_letters("orders", "billing")
        for id_ in ids[:2]:
            await letters.edit(id_, data={"number": 2})
        assert (await letters.purge(ev.Selection(older_than_s=3600.0))).ids == []
        rejected = await letters.purge(ev.Selection(reason="rejected"), limit=1)
        assert (rejected.ids, rejected.more) == ([ids[1]], True)
        assert [letter.id for letter in await letters.find()] == [ids[0], ids[2], ids[3]]
        assert set(await inspector.raw.hkeys(inspector.keys.edits)) == {ids[0].encode()}
        gone = await letters.purge(ev.Selection(ids=[ids[1], ids[2]]))
        assert (gone.ids, gone.gone) == ([ids[2]], [ids[1]])
        await letters.purge(ev.Selection(since_s=(await letters.get(ids[0])).died_at_s))
        assert await letters.size() == 0 and not await inspector.raw.exists(inspector.keys.edits)


# Carrying


FOREIGN: dict[str, dict[bytes, bytes]] = {
    "beside": {b"event": GOOD, b"trace": b"\x00\xff"},
    "before": {b"trace": b"x", b"event": GOOD, b"": b""},
    "named as ours": {b"event": GOOD, b"attempts": b"many", b"origin": b"o", b"failed": b"f", b"packed": b"p"},
    "wide": {b"f%d" % n: b"%d" % n for n in range(4_000)} | {b"event": GOOD},
}


@pytest.mark.parametrize("wait_s", [0.0, 0.01])
@pytest.mark.parametrize("fields", FOREIGN.values(), ids=FOREIGN)
async def test_fields_beside_the_event_are_carried_wherever_it_goes(
    connect: Connect, inspector: Inspector, fields: dict[bytes, bytes], wait_s: float
) -> None:
    """Through retries, at once and delayed, a consumer that leaves, the dead letters and a replay."""
    app, tries, record = ev.App("shop"), list[int](), Record()

    @app.subscribe(OrderPlaced, group="billing", retry=ev.Retry(attempts=3, wait_s=wait_s, jitter="none"))
    async def bill(_: OrderPlaced, delivery: ev.Delivery) -> None:
        tries.append(delivery.attempt)
        raise ValueError("no")

    await inspector.raw.xadd(inspector.keys.stream, fields)  # type: ignore[arg-type]  # invariant dict
    await inspector.read_and_die()
    async with connect(app) as bus:
        letters = bus.dead_letters("orders", "billing")
        for retried in (False, True):
            assert await ConsumerCommands(bus._broker, inspector.keys, "dead").leave() == 1
            if not retried:
                await inspector.read_and_die(retried=True)
        async with bus.running(observe=record):
            for replays in range(2):
                [letter] = await eventually(letters.find)
                assert (letter.raw, letter.attempts, letter.replays) == (fields, 3, replays)
                await letters.replay(ev.Selection())
            await eventually(lambda: record.count("dead") == 3)
    assert tries == [1, 2, 3] * 3
