"""The queue of one bus is limited. Publishes beyond the limit wait for capacity, and can be cancelled."""

import asyncio

import pytest

import eventlib as ev
from eventlib.events.envelope import write
from eventlib.publish import capacity, publisher
from eventlib.testing.fault_proxy import fault_proxy
from eventlib.testing.inspector import Inspector
from eventlib.testing.waiting import eventually
from tests.contract.test_publishing import numbers
from tests.shop import Connect, OrderPlaced, orders

pytestmark = pytest.mark.one_server  # what is tested is the client's own side


class WriteCounter:
    """Counts the events that were serialised. Those beyond the limit must not be: they would take up memory."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0

        def counting(*attributes: object) -> tuple[str, bytes]:
            self.count += 1
            return write(*attributes)  # type: ignore[arg-type]

        monkeypatch.setattr(publisher, "write", counting)


async def test_events_beyond_the_limit_are_not_serialised_until_there_is_capacity(
    connect: Connect, inspector: Inspector, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity, "QUEUED_MAX", 10)
    written = WriteCounter(monkeypatch)
    async with fault_proxy(url) as faulty, connect(ev.App("shop"), url=faulty.url) as bus:
        faulty.refusing = True
        faulty.cut()
        calls = [asyncio.create_task(bus.publish(event)) for event in orders(*range(50))]
        await eventually(lambda: faulty.refused >= 2)
        assert written.count == 10
        for cancelled in (calls[20], calls[30], calls[49]):
            cancelled.cancel()
        faulty.refusing = False
        await asyncio.gather(*calls, return_exceptions=True)
    assert await numbers(inspector) == [n for n in range(50) if n not in (20, 30, 49)]  # in the order of the calls


async def test_the_queue_is_limited_in_bytes_too(
    connect: Connect, inspector: Inspector, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity, "QUEUED_BYTES_MAX", 1000)
    written = WriteCounter(monkeypatch)
    async with fault_proxy(url) as faulty, connect(ev.App("shop"), url=faulty.url) as bus:
        faulty.refusing = True
        faulty.cut()
        calls = [asyncio.create_task(bus.publish(event)) for event in orders(*range(50))]
        await eventually(lambda: faulty.refused >= 2)
        assert 1 < written.count < 10
        faulty.refusing = False
        await asyncio.gather(*calls)
    assert await numbers(inspector) == list(range(50))


async def test_a_call_larger_than_the_limit_is_sent_slice_by_slice(
    connect: Connect, inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity, "QUEUED_MAX", 100)
    async with connect(ev.App("shop")) as bus:
        first = asyncio.create_task(bus.publish_many(orders(*range(3000))))
        await asyncio.sleep(0)
        second = asyncio.create_task(bus.publish(OrderPlaced(number=-1)))
        await asyncio.gather(first, second)
    seen = await numbers(inspector)
    assert [n for n in seen if n >= 0] == list(range(3000))
    assert seen.index(-1) < 3000  # a long call does not keep others waiting until it is over


async def test_a_cancelled_large_call_sends_no_further_slice(
    connect: Connect, inspector: Inspector, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity, "QUEUED_MAX", 100)
    async with fault_proxy(url) as faulty, connect(ev.App("shop"), url=faulty.url) as bus:
        await bus.publish(OrderPlaced(number=-1))
        faulty.refusing = True
        faulty.cut()
        call = asyncio.create_task(bus.publish_many(orders(*range(3000))))
        await eventually(lambda: faulty.refused >= 2)
        call.cancel()
        await asyncio.wait({call})
        faulty.refusing = False
        await bus.publish(OrderPlaced(number=5000))
        assert bus._publisher.capacity.count == bus._publisher.capacity._size_bytes == 0
    assert await numbers(inspector) in ([-1, 5000], [-1, *range(500), 5000])  # the first slice was on its way


async def test_queued_calls_that_were_cancelled_are_not_sent(connect: Connect, inspector: Inspector, url: str) -> None:
    async with fault_proxy(url) as faulty, connect(ev.App("shop"), url=faulty.url) as bus:
        await bus.publish(OrderPlaced(number=0))
        faulty.refusing = True
        faulty.cut()
        under_way = asyncio.create_task(bus.publish(OrderPlaced(number=1)))
        await eventually(lambda: faulty.refused >= 1)
        queued = [asyncio.create_task(bus.publish(event)) for event in orders(2, 3)]
        await asyncio.sleep(0)
        queued[0].cancel()
        faulty.refusing = False
        await asyncio.gather(under_way, queued[1])
    assert await numbers(inspector) == [0, 1, 3]
