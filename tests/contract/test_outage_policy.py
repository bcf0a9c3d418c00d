"""During an outage a publish waits, fails or is spooled, as chosen. Nothing is lost and nothing is doubled."""

import asyncio
import errno
import itertools
import os
import threading
from pathlib import Path

import pytest
import redis.asyncio as redis

import eventlib as ev
from eventlib.broker.connections import Broker
from eventlib.broker.publishing import PublishCommands
from eventlib.policy import RECONNECT
from eventlib.publish.spool import SpoolFile
from eventlib.records import NumberedBatch
from eventlib.testing.fault_proxy import FaultProxy, fault_proxy
from eventlib.testing.inspector import Inspector
from eventlib.testing.waiting import eventually
from tests.contract.test_publishing import numbers
from tests.shop import Connect, OrderPlaced, StockCounted, orders

pytestmark = pytest.mark.one_server  # what is tested is the client's own side


@pytest.fixture
def spool(tmp_path: Path) -> ev.Spool:
    return ev.Spool(tmp_path / "spool")


def begin_outage(faulty: FaultProxy) -> None:
    """From now on the server cannot be reached."""
    faulty.refusing = True
    faulty.cut()


# Wait


@pytest.mark.parametrize("first", [True, False])
async def test_a_spooled_event_whose_reply_was_lost_is_appended_once_though_the_server_forgot_the_producer(
    connect: Connect,
    url: str,
    spool: ev.Spool,
    inspector: Inspector,
    raw: redis.Redis,
    namespace: str,
    first: bool,
) -> None:
    """Its clock jumped past the lifetime of the producer's key, for example."""
    async with fault_proxy(url) as faulty, connect(ev.App("shop"), url=faulty.url, outage_policy=spool) as bus:
        await bus.publish(StockCounted(number=0) if first else OrderPlaced(number=0))  # the connection is made
        faulty.lose_reply_to(b'"number":1}')
        faulty.refusing = True
        await bus.publish(OrderPlaced(number=1))
        [producer] = [key async for key in raw.scan_iter(f"{namespace}:*orders*:producer:*")]
        await raw.delete(producer)
        faulty.refusing = False
        await bus.publish(OrderPlaced(number=2))
        await eventually(lambda: count_of(inspector, 2))
    assert await numbers(inspector) == ([1, 2] if first else [0, 1, 2])


async def count_of(inspector: Inspector, number: int) -> int:
    return (await numbers(inspector)).count(number)


async def test_bodies_are_looked_for_among_small_and_large_ones(broker: Broker, inspector: Inspector) -> None:
    """The server forgot the producer before a batch was repeated. Pages of large entries would not fit into memory."""
    commands = PublishCommands(broker)
    sought = NumberedBatch("orders", 2, [b"first", b"second"])
    await commands.append(sought, "p", 60.0)
    for size in (10, 2**21, 10, 2**20):
        for number in range(8 if size > 10 else 700):
            await inspector.add(event=b"%d" % number + b"x" * size)
    await commands.forget_producer("orders", "p")
    assert await commands.append(sought, "p", 60.0, first_try_s=0.0) == 0


async def test_the_patience_of_a_call_counts_from_the_call_and_not_from_its_batch(connect: Connect, url: str) -> None:
    """A call that is queued behind a batch that is given up does not wait for as long again."""
    async with fault_proxy(url) as faulty, connect(ev.App("shop"), url=faulty.url, outage_policy=ev.Wait(0.5)) as bus:
        begin_outage(faulty)
        calls = [asyncio.create_task(bus.publish_many(orders(*range(500)))) for _ in range(20)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(result, ev.BrokerUnavailable) for result in results)
        assert faulty.refused < 40  # some tries for the first batch, then one for each
        faulty.refusing = False


async def test_a_batch_is_not_repeated_when_all_its_callers_were_cancelled(connect: Connect, url: str) -> None:
    async with fault_proxy(url) as faulty, connect(ev.App("shop"), url=faulty.url, outage_policy=ev.Wait(600.0)) as bus:
        await bus.publish(OrderPlaced(number=0))
        begin_outage(faulty)
        call = asyncio.create_task(bus.publish(OrderPlaced(number=1)))
        await eventually(lambda: faulty.refused >= 1)
        call.cancel()
        await asyncio.wait({call})
        async with asyncio.timeout(10.0):
            await bus._publisher.close()
        faulty.refusing = False


async def test_trap_24_reconnects_are_jittered_and_back_off(connect: Connect, url: str, waits_s: list[float]) -> None:
    """Publishers that lost the server at the same moment do not all reconnect at the same moment."""
    async with fault_proxy(url) as faulty, asyncio.TaskGroup() as tasks:
        policy = ev.Wait(10.0)
        async with (
            connect(ev.App("shop"), url=faulty.url, outage_policy=policy) as one,
            connect(ev.App("shop"), url=faulty.url, outage_policy=policy) as two,
        ):
            for bus in (one, two):
                await bus.publish(OrderPlaced(number=0))
            begin_outage(faulty)
            for bus in (one, two):
                await eventually(lambda: not bus._broker._bulk.connected)  # noqa: B023 - awaited in the loop
            delays, gaps = [], []
            for bus in (one, two):
                waits_s.clear()
                faulty.refused_at.clear()
                faulty.refusing = True
                publishing = tasks.create_task(bus.publish(OrderPlaced(number=1)))
                await eventually(lambda: faulty.refused >= 6)
                delays.append(waits_s[:5])
                gaps.append([after - before for before, after in itertools.pairwise(faulty.refused_at[:6])])
                faulty.refusing = False
                await publishing
    full = [min(0.05 * 2**n, RECONNECT.wait_s_max) for n in range(5)]
    for mine, waited in zip(delays, gaps, strict=True):  # "equal" jitter: at least half of each wait
        assert all(wait / 2.0 <= delay <= wait for delay, wait in zip(mine, full, strict=True))
        assert all(gap >= delay - 0.005 for gap, delay in zip(waited, mine, strict=True))
    assert not set(delays[0]) & set(delays[1])
    assert RECONNECT.jitter != "none" and RECONNECT.wait_s_max <= 0.5


async def test_trap_22_the_server_remembers_a_producer_for_longer_than_a_publish_is_repeated(
    connect: Connect, raw: redis.Redis, namespace: str
) -> None:
    for patience_s in (30.0, 86_400.0):
        async with connect(ev.App("shop"), outage_policy=ev.Wait(patience_s)) as bus:
            await bus.publish(OrderPlaced(number=1))
            [key] = await raw.keys(f"{namespace}:*producer*")
            assert await raw.pttl(key) >= (patience_s + 1800.0) * 1000.0


@pytest.mark.parametrize("make", [lambda: ev.Wait(-1.0), lambda: ev.Wait(float("inf")), lambda: ev.Spool("x", 0)])
def test_a_policy_with_an_impossible_value_is_refused(make: object) -> None:
    with pytest.raises(ev.InvalidDeclaration):
        make()  # type: ignore[operator]


async def test_a_publish_is_repeated_until_its_patience_has_passed(connect: Connect, url: str) -> None:
    """The last try is made when the patience ends, however long the pauses have become."""
    async with fault_proxy(url) as faulty, connect(ev.App("shop"), url=faulty.url, outage_policy=ev.Wait(0.5)) as bus:
        begin_outage(faulty)
        now_s, last_tries_s = asyncio.get_running_loop().time, list[float]()
        for _ in range(3):  # a process that stands still while a try is refused may have no time for another one
            began = now_s()
            with pytest.raises(ev.BrokerUnavailable):
                await bus.publish(OrderPlaced(number=1))
            assert now_s() - began >= 0.49
            last_tries_s.append(faulty.refused_at[-1] - began)
            if last_tries_s[-1] >= 0.49:
                break
        assert last_tries_s[-1] >= 0.49, last_tries_s


@pytest.mark.parametrize("wrong", [ev.Fail, "spool"])
async def test_a_value_that_is_no_policy_is_refused(connect: Connect, wrong: object) -> None:
    with pytest.raises(ev.InvalidArgument, match="outage_policy"):
        async with connect(ev.App("shop"), outage_policy=wrong):
            pass


# Fail


async def test_with_fail_a_publish_fails_at_once_and_works_again_after_the_outage(
    connect: Connect, inspector: Inspector, url: str
) -> None:
    async with fault_proxy(url) as faulty, connect(ev.App("shop"), url=faulty.url, outage_policy=ev.Fail()) as bus:
        await bus.publish(OrderPlaced(number=0))
        begin_outage(faulty)
        with pytest.raises(ev.BrokerUnavailable):
            await bus.publish(OrderPlaced(number=1))
        assert faulty.refused <= 1
        faulty.refusing = False
        await bus.publish(OrderPlaced(number=2))
    assert await numbers(inspector) == [0, 2]


# Spool


async def test_spooled_events_arrive_in_order_and_later_events_behind_them(
    connect: Connect, inspector: Inspector, url: str, raw: redis.Redis, namespace: str, spool: ev.Spool
) -> None:
    async with fault_proxy(url) as faulty, connect(ev.App("shop"), url=faulty.url, outage_policy=spool) as bus:
        await bus.publish(OrderPlaced(number=0))
        begin_outage(faulty)
        await bus.publish(OrderPlaced(number=1))  # returns during the outage
        await bus.publish_many([*orders(*range(2, 700)), StockCounted(number=0)])
        for number in range(700, 720):
            await bus.publish(OrderPlaced(number=number))
        faulty.refusing = False
        for number in range(720, 740):
            await bus.publish(OrderPlaced(number=number))
        await eventually(lambda: bus._publisher._route._file.empty)  # type: ignore[attr-defined]
        await bus.publish(OrderPlaced(number=740))
    assert await numbers(inspector) == list(range(741))
    assert await raw.xlen(f"{namespace}:{{stock}}:events") == 1
    keys = await raw.keys(f"{namespace}:*producer*")  # kept, for the first tries may still be on their way
    assert keys and all([await raw.pttl(key) > 0 for key in keys])


async def test_trap_22_a_lost_reply_that_sends_an_event_to_the_spool_does_not_double_it(
    connect: Connect, broker: Broker, inspector: Inspector, url: str, spool: ev.Spool
) -> None:
    async with fault_proxy(url) as faulty, connect(ev.App("shop"), url=faulty.url, outage_policy=spool) as bus:
        await bus.publish(OrderPlaced(number=0))
        faulty.lose_reply_to(b'"number":1}')
        await bus.publish(OrderPlaced(number=1))
        assert faulty.lost == 1
        faulty.lose_reply_to(b'"number":3}')  # this time while it is replayed, or sent
        await bus.publish_many(orders(2, 3, 4))
        await bus.publish(OrderPlaced(number=5))
        await eventually(lambda: arrived(inspector, 6))
        producer = bus._publisher._route._file.producer  # type: ignore[attr-defined]
    late = (await inspector.events())[1][b"event"]
    # The first try, which a proxy held back until now.
    assert await PublishCommands(broker).append(NumberedBatch("orders", 2, [late]), producer, 3600.0) == 0
    assert await numbers(inspector) == list(range(6))


async def test_trap_22_a_close_that_is_cancelled_while_the_disk_is_slow_does_not_double_an_event(
    connect: Connect, inspector: Inspector, url: str, spool: ev.Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server has the event and the frame is about to be on disk: the server must remember the producer."""
    writing, closing, sync, close = threading.Event(), threading.Event(), os.fdatasync, SpoolFile.close

    def sync_slowly(file: int) -> None:
        writing.set()
        assert closing.wait(10.0)
        sync(file)

    def close_and_tell(file: SpoolFile) -> None:
        closing.set()
        close(file)

    async def serve(url: str) -> None:
        async with connect(ev.App("shop"), url=url, outage_policy=spool) as bus:
            await bus.publish(OrderPlaced(number=0))
            monkeypatch.setattr(os, "fdatasync", sync_slowly)
            monkeypatch.setattr(SpoolFile, "close", close_and_tell)
            await bus.publish(OrderPlaced(number=1))

    async with fault_proxy(url) as faulty:
        faulty.lose_reply_to(b'"number":1}')
        serving = asyncio.create_task(serve(faulty.url))
        await eventually(writing.is_set)
        serving.cancel()
        await asyncio.sleep(0)
        serving.cancel()
        await asyncio.wait({serving})
    monkeypatch.undo()
    async with connect(ev.App("shop"), outage_policy=spool) as bus:
        await eventually(lambda: bus._publisher._route._file.empty)  # type: ignore[attr-defined]
    assert await numbers(inspector) == [0, 1]


async def test_trap_22_a_first_try_that_arrives_after_a_later_connect_has_closed_does_not_double_an_event(
    connect: Connect, inspector: Inspector, broker: Broker, url: str, spool: ev.Spool
) -> None:
    """A proxy held the first try back. Meanwhile the event went to the spool and was replayed."""
    async with fault_proxy(url) as faulty:
        faulty.lose_reply_to(b'"number":1}')
        async with connect(ev.App("shop"), url=faulty.url, outage_policy=spool) as bus:
            first = bus._publisher._route.first_number
            await bus.publish(OrderPlaced(number=0))
            await bus.publish(OrderPlaced(number=1))
            await eventually(lambda: bus._publisher._route._file.empty)  # type: ignore[attr-defined]
    async with connect(ev.App("shop"), outage_policy=spool) as bus:
        producer = bus._publisher._route._file.producer  # type: ignore[attr-defined]
        await bus.publish(OrderPlaced(number=2))
    late = [fields[b"event"] for fields in await inspector.events()][1:2]
    assert await PublishCommands(broker).append(NumberedBatch("orders", first + 1, late), producer, 3600.0) == 0
    assert await numbers(inspector) == [0, 1, 2]


async def test_a_publish_cancelled_while_the_disk_is_slow_does_not_damage_the_spool(
    connect: Connect, inspector: Inspector, url: str, spool: ev.Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its thread still writes when the frames before it were replayed. The file must not be emptied then."""
    writing, go_on, sync = threading.Event(), threading.Event(), os.fdatasync

    def sync_slowly(file: int) -> None:
        writing.set()
        assert go_on.wait(10.0)
        sync(file)

    async with fault_proxy(url) as faulty, connect(ev.App("shop"), url=faulty.url, outage_policy=spool) as bus:
        await bus.publish(OrderPlaced(number=0))
        begin_outage(faulty)
        await bus.publish(OrderPlaced(number=1))
        monkeypatch.setattr(os, "fdatasync", sync_slowly)
        cancelled = asyncio.create_task(bus.publish(OrderPlaced(number=2)))
        await eventually(writing.is_set)
        monkeypatch.undo()
        task = bus._publisher._senders["orders"].task
        assert task is not None
        task.cancel()
        faulty.refusing = False
        await eventually(lambda: arrived(inspector, 2))
        go_on.set()
        await asyncio.wait({cancelled})
        assert isinstance(cancelled.exception(), ev.BrokerUnavailable)
        await bus.publish(OrderPlaced(number=3))
        file = bus._publisher._route._file  # type: ignore[attr-defined]
        await eventually(lambda: file.empty)
    async with connect(ev.App("shop"), outage_policy=spool):
        pass
    assert await numbers(inspector) == [0, 1, 2, 3]


async def arrived(inspector: Inspector, count: int) -> bool:
    return len(await inspector.events()) >= count


async def test_events_left_in_the_spool_at_close_are_logged_and_replayed_by_the_next_connect(
    connect: Connect, inspector: Inspector, url: str, spool: ev.Spool, caplog: pytest.LogCaptureFixture
) -> None:
    async with fault_proxy(url) as faulty:
        async with connect(ev.App("shop"), url=faulty.url, outage_policy=spool) as bus:
            await bus.publish(OrderPlaced(number=0))
            begin_outage(faulty)
            await bus.publish_many(orders(1, 2, 3))
        assert await numbers(inspector) == [0]
        assert "for the next connect" in caplog.records[-1].message
        faulty.refusing = False
        async with connect(ev.App("shop"), url=faulty.url, outage_policy=spool) as bus:
            await bus.publish(OrderPlaced(number=4))
            await eventually(lambda: arrived(inspector, 5))
            await eventually(lambda: "is replayed" in caplog.records[-1].message)
    assert await numbers(inspector) == [0, 1, 2, 3, 4]


async def test_a_replay_that_was_not_recorded_in_the_file_doubles_no_event(
    connect: Connect, inspector: Inspector, url: str, spool: ev.Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a crash between the reply of the server and the note in the file."""
    async with fault_proxy(url) as faulty:
        async with connect(ev.App("shop"), url=faulty.url, outage_policy=spool) as bus:
            begin_outage(faulty)
            await bus.publish_many(orders(0, 1, 2))
            kept = content(spool)
        faulty.refusing = False
        for _ in range(2):
            restore(spool, kept)
            async with connect(ev.App("shop"), url=faulty.url, outage_policy=spool) as bus:
                monkeypatch.setattr(PublishCommands, "forget_producer", not_called)
                await eventually(lambda: bus._publisher._route._file.empty)  # type: ignore[attr-defined]
    assert await numbers(inspector) == [0, 1, 2]


def content(spool: ev.Spool) -> bytes:
    return Path(spool.path).read_bytes()


def restore(spool: ev.Spool, kept: bytes) -> None:
    Path(spool.path).write_bytes(kept)


async def not_called(stream: str, producer: str) -> None:
    """A process that is killed does not ask the server to forget its producer."""


async def test_a_unique_id_is_kept_through_the_spool(
    connect: Connect, inspector: Inspector, url: str, spool: ev.Spool
) -> None:
    async with fault_proxy(url) as faulty, connect(ev.App("shop"), url=faulty.url, outage_policy=spool) as bus:
        begin_outage(faulty)
        for number in range(3):
            await bus.publish(OrderPlaced(number=number))
            assert await bus.publish(OrderPlaced(number=100 + number), id="same", unique_for_s=60.0) == "same"
        faulty.refusing = False
        await eventually(lambda: arrived(inspector, 4))
        await bus.publish(OrderPlaced(number=9))
    assert await numbers(inspector) == [0, 100, 1, 2, 9]


async def test_a_full_spool_refuses_events_and_keeps_what_it_has(
    connect: Connect, inspector: Inspector, url: str, tmp_path: Path
) -> None:
    spool = ev.Spool(tmp_path / "spool", size_bytes_max=2000)
    async with fault_proxy(url) as faulty, connect(ev.App("shop"), url=faulty.url, outage_policy=spool) as bus:
        begin_outage(faulty)
        calls = [bus.publish(OrderPlaced(number=number)) for number in range(20)]
        results = [(await asyncio.gather(call, return_exceptions=True))[0] for call in calls]
        kept = [number for number, result in enumerate(results) if isinstance(result, str)]
        assert all(isinstance(result, str | ev.SpoolFull) for result in results)
        assert 2 < len(kept) < 20
        faulty.refusing = False
        await eventually(lambda: arrived(inspector, len(kept)))
        await eventually(lambda: bus._publisher._route._file.empty)  # type: ignore[attr-defined]
        await bus.publish(OrderPlaced(number=1000))
    assert await numbers(inspector) == [*kept, 1000]


async def test_a_spool_on_a_full_disk_goes_on_as_soon_as_the_server_is_back(
    connect: Connect, inspector: Inspector, url: str, spool: ev.Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in the file is sent, and later events go to the server, although the disk takes not even a note of it."""

    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    async with fault_proxy(url) as faulty, connect(ev.App("shop"), url=faulty.url, outage_policy=spool) as bus:
        begin_outage(faulty)
        await bus.publish(OrderPlaced(number=0))
        with monkeypatch.context() as disk:
            for call in ("pwrite", "ftruncate"):
                disk.setattr(os, call, refuse)
            with pytest.raises(ev.SpoolUnusable, match="No space"):
                await bus.publish(OrderPlaced(number=1))
            faulty.refusing = False
            file = bus._publisher._route._file  # type: ignore[attr-defined]
            await eventually(lambda: file.empty)
            await bus.publish_many(orders(2, 3))
            assert await numbers(inspector) == [0, 2, 3]
            begin_outage(faulty)
            with pytest.raises(ev.SpoolUnusable, match="No space"):
                await bus.publish(OrderPlaced(number=4))
        await bus.publish(OrderPlaced(number=5))  # there is space again
        faulty.refusing = False
        await eventually(lambda: arrived(inspector, 4))
        await eventually(lambda: file.empty and file.size_bytes == 0)
    async with connect(ev.App("shop"), outage_policy=spool) as bus:
        await bus.publish(OrderPlaced(number=6))
    assert await numbers(inspector) == [0, 2, 3, 5, 6]


async def test_a_second_bus_with_the_same_spool_is_refused(connect: Connect, spool: ev.Spool) -> None:
    async with connect(ev.App("shop"), outage_policy=spool):
        with pytest.raises(ev.SpoolUnusable, match="in use"):
            async with connect(ev.App("shop"), outage_policy=spool):
                pass
    async with connect(ev.App("shop"), outage_policy=spool):
        pass


async def test_a_replay_goes_on_after_a_refusal(
    connect: Connect, inspector: Inspector, raw: redis.Redis, url: str, spool: ev.Spool
) -> None:
    """A stream key of the wrong kind, a full server and a changed password can be put right, so nothing is dropped."""
    async with fault_proxy(url) as faulty, connect(ev.App("shop"), url=faulty.url, outage_policy=spool) as bus:
        begin_outage(faulty)
        await bus.publish_many(orders(0, 1))
        await raw.set(inspector.keys.stream, "no stream")
        faulty.refusing = False
        await eventually(lambda: bus._publisher.capacity.count == 0)
        await bus.publish(OrderPlaced(number=2))
        await raw.delete(inspector.keys.stream)
        await eventually(lambda: arrived(inspector, 3))
    assert await numbers(inspector) == [0, 1, 2]
