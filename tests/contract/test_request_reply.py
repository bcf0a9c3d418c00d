"""Requests run side by side, leave nothing behind, outlive their caller, and say what an outage did to them."""

import asyncio
import time
from pathlib import Path
from uuid import UUID

import pytest
import redis.asyncio as redis

import eventlib as ev
from eventlib.broker import connections
from eventlib.broker import listening as commands
from eventlib.broker.connections import Broker
from eventlib.broker.keys import Keys
from eventlib.operate import trimming
from eventlib.replies import listening
from eventlib.testing import eventually, fault_proxy, private_server
from tests.quotes import QuoteGiven, QuoteNoted, QuoteRefused, QuoteRequested, quoting
from tests.shop import Connect

SHOP = ev.App("shop")
LONG_S = 30.0
SHORT_S = 0.1
LOOK_S = 1.0  # time enough, on a machine that stands still, to find that the server does not answer


async def test_trap_36_requests_run_side_by_side(connect: Connect) -> None:
    """No reply comes before all have been asked, and then the last one is answered first."""
    app, asked = ev.App("quotes"), list[ev.Delivery]()
    app.group("quoting", concurrency=100)
    all_asked = asyncio.Event()

    @app.subscribe(QuoteRequested, group="quoting")
    async def quote(event: QuoteRequested, delivery: ev.Delivery) -> None:
        asked.append(delivery)
        if len(asked) == 50:
            all_asked.set()
        await all_asked.wait()
        await asyncio.sleep((50 - event.number) / 1000.0)
        await delivery.bus.publish(QuoteGiven(number=event.number))

    async with connect(app) as bus, bus.running():
        requests = (bus.request(QuoteRequested(number=n), QuoteGiven, timeout_s=LONG_S) for n in range(50))
        assert [given.number for given in await asyncio.gather(*requests)] == list(range(50))


async def test_trap_36_no_key_is_left_of_requests(connect: Connect, raw: redis.Redis, namespace: str) -> None:
    """The streams are there and what is kept with them. Nothing was made for a reply, in time or not."""
    async with connect(quoting()) as service, service.running(), connect(SHOP) as bus:
        for number in range(20):
            await bus.request(QuoteRequested(number=2 * number), QuoteGiven, timeout_s=LONG_S)
        with pytest.raises(ev.EventWaitTimeout):
            await bus.request(QuoteRequested(number=-1), QuoteGiven, timeout_s=SHORT_S)
    keys = Keys(namespace)
    left = {key.decode() for key in [key async for key in raw.scan_iter(f"{namespace}:*")]}
    kept = {keys.group("requests", "quoting").sweep, keys.retention("requests"), keys.retention("quotes")}
    assert {keys.stream("requests"), keys.stream("quotes")} <= left
    assert left <= {keys.stream("requests"), keys.stream("quotes"), keys.group("requests", "quoting").retry, *kept}


async def test_trap_36_thousands_are_outstanding_on_one_connection(connect: Connect, raw: redis.Redis) -> None:
    app, asked = ev.App("quotes"), list[ev.Delivery]()

    @app.subscribe_batch(QuoteRequested, group="quoting", size=500)
    async def quote(batch: ev.Batch[QuoteRequested]) -> None:
        asked.extend(batch.deliveries)

    count = 2000
    async with connect(app) as service, service.running(), connect(SHOP) as bus:
        await service.publish(QuoteNoted(number=1))  # so that all its connections are made
        one = asyncio.create_task(bus.request(QuoteRequested(number=0), QuoteGiven, timeout_s=LONG_S))
        await eventually(lambda: asked)
        connected = len(await raw.client_list())
        requests = [one] + [
            asyncio.create_task(bus.request(QuoteRequested(number=n), QuoteGiven, timeout_s=LONG_S))
            for n in range(1, count)
        ]
        await eventually(lambda: len(asked) == count)
        assert bus._waits.outstanding == count and len(await raw.client_list()) == connected
        for delivery in asked:
            assert delivery.correlation_id
        await asyncio.gather(
            *(service.publish(QuoteGiven(number=n), correlation_id=d.correlation_id) for n, d in enumerate(asked))
        )
        given = [each.number for each in await asyncio.gather(*requests)]
        assert sorted(given) == list(range(count)) and bus._waits.outstanding == 0


async def test_a_request_inside_a_handler_has_a_correlation_of_its_own(connect: Connect) -> None:
    """Otherwise two requests of one handler could not be told apart."""
    app, seen = quoting(), asyncio.Queue[tuple[str | None, int]]()

    @app.subscribe(QuoteNoted, group="asking")
    async def ask(event: QuoteNoted, delivery: ev.Delivery) -> None:
        both = (bus.request(QuoteRequested(number=n), QuoteGiven, timeout_s=LONG_S) for n in (2, 4))
        for given in await asyncio.gather(*both):
            seen.put_nowait((delivery.correlation_id, given.number))

    async with connect(app) as bus, bus.running():
        await bus.publish(QuoteNoted(number=1), correlation_id="the whole")
        assert [await seen.get(), await seen.get()] == [("the whole", 2), ("the whole", 4)]


# The caller that comes back


async def test_replies_are_found_in_the_past_page_by_page(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "PAGE_BYTES", 1000)
    ids = [ev.new_correlation_id() for _ in range(100)]
    async with connect(SHOP) as bus:
        for number, id_ in enumerate(ids):
            await bus.publish(QuoteRefused(number=number), correlation_id=id_)
            await bus.publish(QuoteGiven(number=number), correlation_id=id_)
    async with connect(SHOP) as bus:
        found = await asyncio.gather(*(bus.reply(id_, QuoteGiven, timeout_s=LONG_S) for id_ in ids))
        assert [given.number for given in found] == list(range(100))
        again = await asyncio.gather(*(bus.reply(id_, QuoteRefused, timeout_s=LONG_S) for id_ in ids))
        assert [refused.number for refused in again] == list(range(100))


async def test_looking_back_ends_an_hour_before_the_correlation_id_was_made(
    connect: Connect, raw: redis.Redis, namespace: str
) -> None:
    """Another id does not say when it was made: with such a one, the whole stream is looked at."""
    two_hours_ago, half_an_hour_ago = (round((time.time() - s) * 1000.0) for s in (7200.0, 1800.0))
    id_ = ev.new_correlation_id()
    made = UUID(id_).int

    async def add(at_ms: int, correlation_id: str) -> None:
        event = (
            f'{{"specversion":"1.0","source":"s","type":"quote.given","eventversion":1,"id":"1",'
            f'"time":"2026-05-04T12:00:00Z","correlationid":"{correlation_id}","data":{{"number":1}}}}'
        )
        await raw.xadd(Keys(namespace).stream("quotes"), {"event": event}, id=f"{at_ms}-*")

    later = str(UUID(int=made + 1))
    async with connect(SHOP) as bus:
        for correlation_id in (id_, "of our own"):
            await add(two_hours_ago, correlation_id)
        with pytest.raises(ev.EventWaitTimeout):
            await bus.reply(id_, QuoteGiven, timeout_s=SHORT_S)
        await bus.reply("of our own", QuoteGiven, timeout_s=LONG_S)
        await add(half_an_hour_ago, later)
        await bus.reply(later, QuoteGiven, timeout_s=LONG_S)


async def test_a_reply_that_comes_while_its_caller_looks_back_is_found(connect: Connect) -> None:
    async with connect(SHOP) as bus, connect(SHOP) as other:
        for number in range(30):  # it comes before, during or after the look
            id_ = ev.new_correlation_id()
            asking = asyncio.create_task(bus.reply(id_, QuoteGiven, timeout_s=LONG_S))
            await asyncio.sleep(number / 30_000.0)
            await other.publish(QuoteGiven(number=number), correlation_id=id_)
            assert (await asking).number == number


async def test_looking_back_goes_on_after_an_outage(
    connect: Connect, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "PAGE_LIMIT", 1)
    async with fault_proxy(url) as proxy, connect(SHOP, url=proxy.url) as bus:
        for number in range(20):
            await bus.publish(QuoteGiven(number=number), correlation_id=f"{number}")
        asking = asyncio.create_task(bus.reply("0", QuoteGiven, timeout_s=LONG_S))
        await eventually(lambda: bus._waits.streams)
        proxy.cut()
        assert (await asking).number == 0


# Outages


async def test_a_request_during_an_outage_waits_for_its_end(connect: Connect, url: str) -> None:
    async with (
        connect(quoting()) as service,
        service.running(),
        fault_proxy(url) as proxy,
        connect(SHOP, url=proxy.url) as bus,
    ):
        for number in (2, 4):  # with nothing listened to, then with an older position
            proxy.refusing = True
            proxy.cut()
            before = proxy.refused
            asking = asyncio.create_task(bus.request(QuoteRequested(number=number), QuoteGiven, timeout_s=LONG_S))
            await eventually(lambda: proxy.refused > before)  # noqa: B023 - it is awaited in its own round
            proxy.refusing = False
            assert (await asking).number == number


@pytest.mark.parametrize("listened_before", [False, True])
async def test_an_outage_at_the_end_of_a_wait_is_its_cause(connect: Connect, url: str, listened_before: bool) -> None:
    async with (
        connect(quoting()) as service,
        service.running(),
        fault_proxy(url) as proxy,
        connect(SHOP, url=proxy.url) as bus,
    ):
        if listened_before:
            await bus.request(QuoteRequested(number=2), QuoteGiven, timeout_s=LONG_S)
        proxy.refusing = True
        proxy.cut()
        with pytest.raises(ev.EventWaitTimeout) as timeout:
            await bus.request(QuoteRequested(number=4), QuoteGiven, timeout_s=LOOK_S)
        assert isinstance(timeout.value.__cause__, ev.BrokerUnavailable)
        assert bus._waits.outstanding == 0
        with pytest.raises(ev.EventWaitTimeout) as timeout:
            await bus.reply("x", QuoteGiven, timeout_s=SHORT_S)
        assert isinstance(timeout.value.__cause__, ev.BrokerUnavailable)
        proxy.refusing = False
        assert (await bus.request(QuoteRequested(number=6), QuoteGiven, timeout_s=LONG_S)).number == 6


@pytest.mark.parametrize("listened_before", [False, True])
async def test_a_silent_server_is_the_cause_too(connect: Connect, url: str, listened_before: bool) -> None:
    async with fault_proxy(url) as proxy, connect(SHOP, url=proxy.url) as bus:
        if listened_before:
            with pytest.raises(ev.WaitTimeout):
                await bus.reply("x", QuoteGiven, timeout_s=SHORT_S)
        proxy.swallowing = True
        with pytest.raises(ev.EventWaitTimeout) as timeout:
            await bus.request(QuoteRequested(number=4), QuoteGiven, timeout_s=LOOK_S)
        assert isinstance(timeout.value.__cause__, ev.BrokerUnavailable)
        proxy.cut()
        proxy.swallowing = False


async def test_with_fail_a_request_raises_at_once(connect: Connect, url: str) -> None:
    async with fault_proxy(url) as proxy, connect(SHOP, url=proxy.url, outage_policy=ev.Fail()) as bus:
        proxy.refusing = True
        proxy.cut()
        for _ in range(2):
            with pytest.raises(ev.BrokerUnavailable):
                await bus.request(QuoteRequested(number=2), QuoteGiven, timeout_s=LONG_S)
        proxy.refusing = False
        with pytest.raises(ev.EventWaitTimeout):
            await bus.request(QuoteRequested(number=2), QuoteGiven, timeout_s=SHORT_S)
        proxy.refusing = True
        proxy.cut()
        with pytest.raises(ev.BrokerUnavailable):
            await bus.request(QuoteRequested(number=2), QuoteGiven, timeout_s=LONG_S)


async def test_with_a_spool_a_request_that_times_out_is_published_later(
    connect: Connect, url: str, tmp_path: Path
) -> None:
    async with (
        connect(quoting()) as service,
        service.running(),
        fault_proxy(url) as proxy,
        connect(SHOP, url=proxy.url, outage_policy=ev.Spool(tmp_path / "spool")) as bus,
    ):
        await bus.request(QuoteRequested(number=2), QuoteGiven, timeout_s=LONG_S)
        proxy.refusing = True
        proxy.cut()
        id_ = ev.new_correlation_id()
        with pytest.raises(ev.EventWaitTimeout) as timeout:
            await bus.request(QuoteRequested(number=4), QuoteGiven, timeout_s=LOOK_S, correlation_id=id_)
        assert isinstance(timeout.value.__cause__, ev.BrokerUnavailable)
        proxy.refusing = False
        assert (await bus.reply(id_, QuoteGiven, timeout_s=LONG_S)).number == 4


async def test_a_lost_reply_of_the_server_loses_no_event(
    connect: Connect, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "BLOCK_S", 0.1)
    async with fault_proxy(url) as proxy, connect(SHOP, url=proxy.url) as bus, connect(SHOP) as other:
        monkeypatch.setattr(connections, "REPLY_TIMEOUT_S", 0.2)  # not before: a busy machine connects slowly
        async with bus.waiting_for(QuoteGiven, correlation_id="x", timeout_s=LONG_S) as given:
            proxy.lose_reply_to(b"XREAD")
            await other.publish(QuoteGiven(number=1), correlation_id="x")
        assert given.event.number == 1


async def test_a_killed_server_that_comes_back_is_listened_to(binary: Path) -> None:
    with private_server("--appendonly", "yes", "--appendfsync", "always", binary=binary) as server:
        async with ev.connect(SHOP, server.url) as bus:
            async with bus.waiting_for(QuoteGiven, correlation_id="x", timeout_s=LONG_S) as given:
                await bus.publish(QuoteGiven(number=0), correlation_id="y")
                server.kill()
                server.start()
                await bus.publish(QuoteGiven(number=1), correlation_id="x")
            assert given.event.number == 1


async def test_a_user_who_may_not_listen_hears_so_at_once(binary: Path) -> None:
    with private_server(binary=binary, port=0) as server:
        async with redis.Redis.from_url(server.url) as admin:
            rules = ("on", ">secret", *ev.acl_rules().split(), "-xread")
            await admin.execute_command("ACL", "SETUSER", "limited", *rules)  # type: ignore[no-untyped-call]  # redis-py
            async with ev.connect(SHOP, server.url.replace("redis://", "redis://limited:secret@")) as bus:
                for _ in range(2):
                    with pytest.raises(ev.AccessDenied, match="xread"):
                        await bus.request(QuoteRequested(number=1), QuoteGiven, timeout_s=LONG_S)


# Housekeeping


async def test_a_stream_that_is_only_waited_on_is_trimmed(
    connect: Connect, raw: redis.Redis, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else would trim it: it has no group. Without a declaration, the default holds."""
    monkeypatch.setattr(trimming, "EVERY_S", 0.02)
    key = Keys(namespace).stream("quotes")
    app = ev.App("shop")
    app.stream("quotes", retention=ev.Retention(keep_entries=10))

    async def shortened() -> bool:
        return bool(await raw.xlen(key) == 10)

    async with connect(app) as bus:
        await bus.publish_many([QuoteGiven(number=n) for n in range(100)])
        assert await raw.xlen(key) == 100
        with pytest.raises(ev.EventWaitTimeout):
            await bus.reply("x", QuoteGiven, timeout_s=SHORT_S)
        await eventually(shortened)
        await bus.publish_many([QuoteGiven(number=n) for n in range(100)])
        await eventually(shortened)  # also while no one waits


async def test_a_group_of_the_stream_keeps_what_it_has_to_do(
    broker: Broker, raw: redis.Redis, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, app = Keys(namespace).stream("quotes"), ev.App("shop")
    app.stream("quotes", retention=ev.Retention(keep_s=0.0, keep_entries=0))
    await raw.xgroup_create(key, "slow", "0", mkstream=True)
    await raw.xadd(key, {"event": "x"})
    assert await trimming.trimmer(broker, app, "quotes", listening=True).trim()
    assert await raw.xlen(key) == 1
