"""A task that talks to Redis can be cancelled at any moment."""

import asyncio
import gc
import random
from pathlib import Path

import pytest

import eventlib as ev
from eventlib.broker.reading import OrderedReader
from eventlib.publish.spool import SpoolFile
from eventlib.records import NumberedBatch
from eventlib.testing.fault_proxy import fault_proxy
from eventlib.testing.waiting import eventually
from tests.shop import Connect, OrderPlaced

pytestmark = pytest.mark.one_server  # what is tested is the client's own side


async def test_a_cancellation_is_never_swallowed(connect: Connect) -> None:
    """The connection, which other calls share, stays open."""
    rng = random.Random(1)
    async with connect(ev.App("shop")) as bus:
        for _ in range(100):

            async def ask(bus: ev.Bus = bus) -> None:
                while True:
                    await bus.backlog("orders", "billing")

            asking = asyncio.create_task(ask())
            await asyncio.sleep(rng.random() * 0.003)  # any moment
            asking.cancel()
            await asyncio.wait({asking}, timeout=30.0)
            assert asking.cancelled()


async def test_a_publish_that_is_cancelled_with_all_other_tasks_leaves_no_unhandled_error(
    connect: Connect, url: str, unhandled_errors: list[str]
) -> None:
    """The publish was under way when the connection broke, and no caller awaits the error any more."""
    async with fault_proxy(url) as faulty, connect(ev.App("shop"), url=faulty.url) as bus:
        await bus.publish(OrderPlaced(number=0))
        faulty.swallowing = True
        sender = bus._publisher._senders["orders"]
        call = asyncio.create_task(bus.publish(OrderPlaced(number=1)))
        for _ in range(2):  # it is added, it is begun
            await asyncio.sleep(0)
        assert sender._under_way is not None and sender.task is not None
        sender.task.cancel()
        call.cancel()
        await asyncio.wait({call, sender.task})
        assert bus._publisher.capacity.available
        faulty.cut()
        await eventually(lambda: not bus._broker._bulk.connected)
        gc.collect()
    assert unhandled_errors == []


async def test_an_ordered_group_stops_without_unhandled_errors_when_the_connection_breaks(
    connect: Connect, url: str, unhandled_errors: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    app, asked = ev.App("shop"), asyncio.Event()
    app.group("billing", ordered_by="number")

    @app.subscribe(OrderPlaced, group="billing")
    async def bill(_: OrderPlaced, __: ev.Delivery) -> None: ...

    async def never_read(*_: object) -> None:
        asked.set()
        await asyncio.sleep(0.01)
        raise ev.BrokerUnavailable(url, "gone")

    monkeypatch.setattr(OrderedReader, "hand_out", never_read)
    async with connect(app) as bus, bus.running():
        await asked.wait()
    gc.collect()
    assert unhandled_errors == []


async def test_a_publish_that_is_cancelled_before_it_is_spooled_is_not_written(
    connect: Connect, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that writes cannot be cancelled. So the cancellation must be noticed before the thread starts."""
    asyncio.get_running_loop().set_task_factory(None)  # an eager task would start the thread at once
    written, append = list[int](), SpoolFile.append

    def noting(file: SpoolFile, batch: NumberedBatch) -> None:
        written.append(batch.first)
        append(file, batch)

    monkeypatch.setattr(SpoolFile, "append", noting)
    spool = ev.Spool(tmp_path / "spool")
    async with fault_proxy(url) as faulty, connect(ev.App("shop"), url=faulty.url, outage_policy=spool) as bus:
        await bus.publish(OrderPlaced(number=0))
        faulty.refusing = True
        faulty.cut()
        await bus.publish(OrderPlaced(number=1))
        call = asyncio.create_task(bus.publish(OrderPlaced(number=2)))
        sender = bus._publisher._senders["orders"]
        for _ in range(2):  # it is added, it is begun
            await asyncio.sleep(0)
        assert sender.task is not None
        sender.task.cancel()
        await asyncio.wait({call})
        assert isinstance(call.exception(), ev.BrokerUnavailable)
        faulty.refusing = False
        await bus.publish(OrderPlaced(number=3))
    first = written[0]
    assert written in ([first], [first, first + 2])
