"""Waiting for an event by its correlation id: nothing is missed, nothing is left, and what cannot come is told."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis.asyncio as redis

import eventlib as ev
from eventlib.broker.keys import Keys
from eventlib.replies import listening, waiting
from eventlib.testing import eventually, fault_proxy
from tests.quotes import QuoteGiven, QuoteNoted, QuoteRefused, QuoteRequested, quoting
from tests.shop import Connect

SHOP = ev.App("shop")
LONG_S = 30.0  # never reached by a wait that ends
SHORT_S = 0.1


async def clients(raw: redis.Redis) -> int:
    return len(await raw.client_list())


async def test_what_is_published_in_the_block_is_there_at_its_end(connect: Connect) -> None:
    async with connect(SHOP) as bus:
        for number in range(20):  # the reading lasts: nothing is missed between two waits either
            id_ = f"order-{number}"
            async with bus.waiting_for(QuoteGiven, correlation_id=id_, timeout_s=LONG_S) as given:
                await bus.publish(QuoteGiven(number=-1), correlation_id="of another")
                await bus.publish(QuoteGiven(number=number), correlation_id=id_)
            assert given.event == QuoteGiven(number=number)


async def test_only_what_comes_after_the_beginning_counts(connect: Connect) -> None:
    async with connect(SHOP) as bus:
        await bus.publish(QuoteGiven(number=1), correlation_id="x")
        async with bus.waiting_for(QuoteGiven, correlation_id="x", timeout_s=LONG_S) as given:
            finds_it = asyncio.create_task(bus.reply("x", QuoteGiven, timeout_s=LONG_S))
            assert await finds_it == QuoteGiven(number=1)
            await bus.publish(QuoteGiven(number=2), correlation_id="x")
        assert given.event.number == 2


async def test_a_wait_that_ends_in_time_names_what_else_was_seen(connect: Connect) -> None:
    async with connect(quoting()) as bus, bus.running():
        for timeout_s in (0.3, 3.0, 30.0):
            with pytest.raises(ev.EventWaitTimeout) as timeout:
                await bus.request(QuoteRequested(number=1), QuoteGiven, timeout_s=timeout_s)
            if timeout.value.seen:  # a machine that stood still for so long has more time
                break
        assert timeout.value.types == ("quote.given",) and timeout.value.seen == ("quote.refused",)
        assert timeout.value.__cause__ is None
        assert "quote.refused" in str(timeout.value) and f"{timeout_s:g} s" in str(timeout.value)


async def test_a_request_does_not_see_itself(connect: Connect) -> None:
    """Even on a stream where replies travel too."""

    class Asked(ev.Event, type="asked", version=1, stream="quotes"): ...

    async with connect(SHOP) as bus:
        with pytest.raises(ev.EventWaitTimeout) as timeout:
            await bus.request(Asked(), QuoteGiven, timeout_s=SHORT_S)
        assert timeout.value.seen == ()


async def test_the_time_of_a_wait_begins_with_the_block(connect: Connect) -> None:
    async with connect(SHOP) as bus:
        began_s = time.monotonic()
        with pytest.raises(ev.EventWaitTimeout):
            async with bus.waiting_for(QuoteGiven, correlation_id="x", timeout_s=0.2):
                await eventually(lambda: time.monotonic() > began_s + 0.2)
        assert time.monotonic() - began_s < LONG_S / 2


async def test_what_came_while_this_process_stood_still_is_heard(connect: Connect) -> None:
    """Its time is over when the event loop goes on, and the event is in the connection."""

    async def publish() -> None:
        async with connect(SHOP) as bus:
            await bus.publish(QuoteGiven(number=1), correlation_id="x")
        await eventually(lambda: time.monotonic() > began_s + 2 * SHORT_S)

    async with connect(SHOP) as bus:
        async with bus.waiting_for(QuoteGiven, correlation_id="x", timeout_s=SHORT_S) as given:
            began_s, other = time.monotonic(), threading.Thread(target=asyncio.run, args=(publish(),))
            other.start()
            other.join()  # this event loop stands still
        assert given.event.number == 1


async def test_a_wait_ends_even_if_this_process_stands_still_again_and_again(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "_LATE_S", -1.0)  # every timer is too late
    async with connect(SHOP) as bus:
        began_s = time.monotonic()
        with pytest.raises(ev.EventWaitTimeout):
            async with asyncio.timeout(LONG_S):
                await bus.reply("x", QuoteGiven, timeout_s=SHORT_S)
        assert time.monotonic() - began_s >= SHORT_S + waiting._LAST_LOOKS * waiting._LAST_LOOK_S


async def test_a_reply_after_the_timeout_changes_nothing_and_can_be_asked_for(connect: Connect) -> None:
    async with connect(SHOP) as bus:
        waiting = bus.waiting_for(QuoteGiven, correlation_id="x", timeout_s=SHORT_S)
        with pytest.raises(ev.EventWaitTimeout):
            async with waiting:
                pass
        await bus.publish(QuoteGiven(number=1), correlation_id="x")
        assert await bus.reply("x", QuoteGiven, timeout_s=LONG_S) == QuoteGiven(number=1)
        with pytest.raises(ev.InvalidArgument, match="block has ended"):
            _ = waiting.event


async def test_what_the_block_raises_goes_on_at_once(connect: Connect) -> None:
    async with connect(SHOP) as bus:
        with pytest.raises(ZeroDivisionError):
            async with bus.waiting_for(QuoteGiven, correlation_id="x", timeout_s=LONG_S):
                raise ZeroDivisionError
        assert bus._waits.outstanding == 0


async def test_one_of_several_types_on_several_streams(connect: Connect) -> None:
    async with connect(SHOP) as bus:
        for event in (QuoteNoted(number=1), QuoteRefused(number=2), QuoteGiven(number=3)):
            either = QuoteGiven | QuoteRefused | QuoteNoted
            async with bus.waiting_for(either, correlation_id="x", timeout_s=LONG_S) as seen:
                await bus.publish(event, correlation_id="x")
            assert seen.event == event


async def test_many_wait_for_the_same(connect: Connect) -> None:
    async with connect(SHOP) as bus:
        async with (
            bus.waiting_for(QuoteGiven, correlation_id="x", timeout_s=LONG_S) as one,
            bus.waiting_for(QuoteGiven, correlation_id="x", timeout_s=LONG_S) as other,
        ):
            await bus.publish(QuoteGiven(number=1), correlation_id="x")
        assert one.event == other.event


@pytest.mark.parametrize("written", ["order", "escapes", "fields", "decoy"])
async def test_events_of_other_writers_are_found(
    connect: Connect, raw: redis.Redis, namespace: str, written: str
) -> None:
    """Their attributes may be in any order, with any spaces and escapes, and their entries may have other fields."""
    head = (
        '"specversion":"1.0","type":"quote.given","eventversion":1,"id":"1","source":"go","time":"2026-05-04T12:00:00Z"'
    )
    event = {
        "order": '{"correlationid" : "x/1", "data": {"number": 1}, ' + head + "}",
        "escapes": "{" + head + ',"data":{"number":1},"correlation\\u0069d":"x\\/1"}',
        "fields": "{" + head + ',"correlationid":"x/1","data":{"number":1}}',
        "decoy": "{" + head + ',"data":{"number":1,"correlationid":"other"},"correlationid":"x/1"}',
    }[written]
    fields: Any = {"a": "b", "event": event} if written == "fields" else {"event": event}
    async with connect(SHOP) as bus:
        async with bus.waiting_for(QuoteGiven, correlation_id="x/1", timeout_s=LONG_S) as given:
            entries: list[Any] = [{"no": "event"}, {"event": "no JSON x/1"}, {"event": '["correlationid"]'}, fields]
            for entry in entries:
                await raw.xadd(Keys(namespace).stream("quotes"), entry)
        assert given.event.number == 1
        assert (await bus.reply("x/1", QuoteGiven, timeout_s=LONG_S)).number == 1


@pytest.mark.parametrize("looks_back", [False, True])
@pytest.mark.parametrize(
    ("version", "data", "error"), [(1, '{"number":"one"}', ev.DecodeError), (9, "{}", ev.UnsupportedVersion)]
)
async def test_a_reply_that_cannot_be_read_is_told_at_once(
    connect: Connect,
    raw: redis.Redis,
    namespace: str,
    looks_back: bool,
    version: int,
    data: str,
    error: type[Exception],
) -> None:
    event = (
        f'{{"specversion":"1.0","source":"s","type":"quote.given","eventversion":{version},"id":"1",'
        f'"time":"2026-05-04T12:00:00Z","correlationid":"x","data":{data}}}'
    )
    async with connect(SHOP) as bus:
        if looks_back:
            await raw.xadd(Keys(namespace).stream("quotes"), {"event": event})
            with pytest.raises(error):
                await bus.reply("x", QuoteGiven, timeout_s=LONG_S)
        else:
            with pytest.raises(error):
                async with bus.waiting_for(QuoteGiven, correlation_id="x", timeout_s=LONG_S):
                    await raw.xadd(Keys(namespace).stream("quotes"), {"event": event})


async def test_a_stream_that_is_new_to_the_bus_is_listened_to_while_others_block(connect: Connect) -> None:
    async with connect(SHOP) as bus, bus.waiting_for(QuoteGiven, correlation_id="x", timeout_s=LONG_S):
        async with bus.waiting_for(QuoteNoted, correlation_id="x", timeout_s=LONG_S) as noted:
            await bus.publish(QuoteNoted(number=1), correlation_id="x")
        assert noted.event.number == 1
        await bus.publish(QuoteGiven(number=1), correlation_id="x")


async def test_cancelling_one_leaves_the_others_and_no_task(connect: Connect, raw: redis.Redis) -> None:
    async with connect(SHOP) as bus:
        async with bus.waiting_for(QuoteGiven, correlation_id="x", timeout_s=LONG_S) as given:
            before = asyncio.all_tasks()
            requests = [
                asyncio.create_task(bus.request(QuoteRequested(number=-1), QuoteGiven, timeout_s=LONG_S))
                for _ in range(3)
            ]
            await eventually(lambda: bus._waits.outstanding == 4)
            for request in requests:
                request.cancel()
            await asyncio.wait(requests)
            assert all(request.cancelled() for request in requests) and bus._waits.outstanding == 1
            await eventually(lambda: asyncio.all_tasks() <= before)
            await bus.publish(QuoteGiven(number=1), correlation_id="x")
        assert given.event.number == 1


async def test_reading_ends_after_the_last_waiter(
    connect: Connect, raw: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "BLOCK_S", 0.01)
    monkeypatch.setattr(listening, "LINGER_S", 0.0)
    async with connect(SHOP) as bus:
        before = await clients(raw)
        for _ in range(2):
            async with bus.waiting_for(QuoteGiven, correlation_id="x", timeout_s=LONG_S):
                await eventually(lambda: more_clients(raw, before))
                await bus.publish(QuoteGiven(number=1), correlation_id="x")
            await eventually(lambda: not bus._waits.streams)
            await eventually(lambda: no_more_clients(raw, before + 1))  # the one that carries events is made once


async def more_clients(raw: redis.Redis, than: int) -> bool:
    return await clients(raw) > than


async def no_more_clients(raw: redis.Redis, than: int) -> bool:
    return await clients(raw) <= than


async def test_closing_the_bus_ends_all_waits(connect: Connect) -> None:
    before = asyncio.all_tasks()
    async with connect(SHOP) as bus:
        waits = [
            asyncio.create_task(bus.request(QuoteRequested(number=-1), QuoteGiven, timeout_s=LONG_S)),
            asyncio.create_task(bus.reply("x", QuoteNoted, timeout_s=LONG_S)),
        ]
        await eventually(lambda: bus._waits.streams == ["notes", "quotes"])
    for wait in waits:
        with pytest.raises(ev.BusClosed):
            await wait
    assert asyncio.all_tasks() <= before
    with pytest.raises(ev.BusClosed):
        await bus.request(QuoteRequested(number=-1), QuoteGiven, timeout_s=LONG_S)


async def test_what_comes_while_the_connection_is_down_is_not_missed(connect: Connect, url: str) -> None:
    async with fault_proxy(url) as proxy, connect(SHOP, url=proxy.url) as bus, connect(SHOP) as other:
        async with bus.waiting_for(QuoteGiven, correlation_id="x", timeout_s=LONG_S) as given:
            proxy.refusing = True
            proxy.cut()
            await other.publish(QuoteGiven(number=1), correlation_id="x")
            await eventually(lambda: proxy.refused >= 2)
            proxy.refusing = False
        assert given.event.number == 1


async def test_a_stream_that_begins_anew_with_lower_ids_is_listened_to(
    connect: Connect, url: str, raw: redis.Redis, namespace: str
) -> None:
    """As after a failover to a server whose clock is behind."""
    key = Keys(namespace).stream("quotes")
    event = (
        '{"specversion":"1.0","source":"s","type":"quote.given","eventversion":1,"id":"1",'
        '"time":"2026-05-04T12:00:00Z","correlationid":"x","data":{"number":1}}'
    )
    async with fault_proxy(url) as proxy, connect(SHOP, url=proxy.url) as bus:
        await bus.publish(QuoteGiven(number=0), correlation_id="y")
        async with bus.waiting_for(QuoteGiven, correlation_id="x", timeout_s=LONG_S) as given:
            proxy.refusing = True
            proxy.cut()
            await raw.unlink(key)
            await raw.xadd(key, {"event": "old"}, id="5-0")
            await raw.xadd(key, {"event": event}, id="6-0")
            proxy.refusing = False
        assert given.event.number == 1


@pytest.mark.parametrize("gone", ["FLUSH", "TRIM"])
async def test_a_stream_that_is_emptied_meanwhile_is_listened_to_all_the_same(
    connect: Connect, raw: redis.Redis, namespace: str, gone: str
) -> None:
    key = Keys(namespace).stream("quotes")

    async def empty() -> None:
        await (raw.unlink(key) if gone == "FLUSH" else raw.xtrim(key, maxlen=0, approximate=False))

    async with connect(SHOP) as bus:
        await bus.publish(QuoteGiven(number=0), correlation_id="x")
        async with bus.waiting_for(QuoteGiven, correlation_id="x", timeout_s=LONG_S) as given:
            await empty()
            await bus.publish(QuoteGiven(number=1), correlation_id="x")
        assert given.event.number == 1
        with pytest.raises(ev.EventWaitTimeout):
            async with bus.waiting_for(QuoteGiven, correlation_id="x", timeout_s=SHORT_S):
                await empty()
        with pytest.raises(ev.EventWaitTimeout):
            await bus.reply("x", QuoteGiven, timeout_s=SHORT_S)


async def test_a_key_that_is_no_stream_is_refused_at_once(connect: Connect, raw: redis.Redis, namespace: str) -> None:
    await raw.set(Keys(namespace).stream("quotes"), "text")
    async with connect(SHOP) as bus:
        with pytest.raises(ev.BrokerError, match="WRONGTYPE"):
            await bus.reply("x", QuoteGiven, timeout_s=LONG_S)


class Untyped(ev.Event): ...


class OtherGiven(ev.Event, type="quote.given", version=2, stream="quotes"): ...


@pytest.mark.parametrize(
    ("ask", "error", "told"),
    [
        (lambda bus: bus.reply("x", Untyped, timeout_s=1.0), ev.UnknownEventType, "Untyped"),
        (lambda bus: bus.reply("x", int, timeout_s=1.0), ev.UnknownEventType, "int"),
        (lambda bus: bus.reply("x", "quote.given", timeout_s=1.0), ev.InvalidArgument, "no event class"),
        (lambda bus: bus.reply("x", [QuoteGiven], timeout_s=1.0), ev.InvalidArgument, "no event class"),
        (lambda bus: bus.reply("x", QuoteGiven | None, timeout_s=1.0), ev.UnknownEventType, "NoneType"),
        (lambda bus: bus.reply("x", QuoteGiven | OtherGiven, timeout_s=1.0), ev.InvalidArgument, "both 'quote.given'"),
        (lambda bus: bus.reply("", QuoteGiven, timeout_s=1.0), ev.InvalidArgument, "correlation_id"),
        (lambda bus: bus.reply(7, QuoteGiven, timeout_s=1.0), ev.InvalidArgument, "correlation_id"),
        (lambda bus: bus.reply("\ud800", QuoteGiven, timeout_s=1.0), ev.InvalidArgument, "correlation_id"),
        (lambda bus: bus.reply("x", QuoteGiven, timeout_s=0.0), ev.InvalidArgument, "timeout_s"),
        (lambda bus: bus.reply("x", QuoteGiven, timeout_s=-1.0), ev.InvalidArgument, "timeout_s"),
        (lambda bus: bus.reply("x", QuoteGiven, timeout_s=float("nan")), ev.InvalidArgument, "timeout_s"),
        (lambda bus: bus.reply("x", QuoteGiven, timeout_s=float("inf")), ev.InvalidArgument, "timeout_s"),
        (lambda bus: bus.reply("x", QuoteGiven, timeout_s="5"), ev.InvalidArgument, "timeout_s"),
        (lambda bus: bus.request(QuoteGiven(number=1), QuoteGiven, timeout_s=1.0), ev.InvalidArgument, "own reply"),
        (lambda bus: bus.request("quote", QuoteGiven, timeout_s=1.0), ev.UnknownEventType, "str"),
    ],
)
async def test_bad_input_is_refused_at_once(
    connect: Connect, ask: Callable[[Any], Any], error: type[Exception], told: str
) -> None:
    async with connect(SHOP) as bus:
        with pytest.raises(error, match=told):
            await ask(bus)
        assert bus._waits.outstanding == 0 and bus._waits.streams == []


async def test_a_stream_that_does_not_exist_yet_is_waited_on(connect: Connect) -> None:
    async with connect(SHOP) as bus:
        with pytest.raises(ev.EventWaitTimeout, match=r"no quote\.given with correlation id 'x'"):
            await bus.reply("x", QuoteGiven, timeout_s=SHORT_S)
