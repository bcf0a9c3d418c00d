"""What holds on every event loop: tasks may begin where they are made, and a reply may come a turn earlier.

`make loops` runs these tests, and all other coroutine tests of some folders, under eager tasks and under uvloop.
"""

import asyncio
from pathlib import Path
from typing import Any

import pytest

import eventlib as ev
from eventlib.broker.consuming import ConsumerCommands
from eventlib.broker.reading import Reader, Sink
from eventlib.consume.intake import READ_ON
from eventlib.publish.spool import SpoolFile
from eventlib.records import Entry
from eventlib.testing import Inspector, eventually, fault_proxy
from tests.shop import AT_ONCE, Connect, OrderPlaced, new_app, orders

pytestmark = pytest.mark.one_server  # what is tested is the client's own side


@pytest.mark.parametrize("concurrency", [1000, 1])
async def test_a_burst_into_an_idle_group_is_handled_once_and_in_order(connect: Connect, concurrency: int) -> None:
    """However many events come at once, nothing recurses by their number."""
    count = 10 * concurrency if concurrency > 1 else 500
    app, handled = new_app(concurrency=concurrency)
    async with connect(app) as bus, bus.running():
        await bus.publish(OrderPlaced(number=0))
        await bus.drained("orders", "billing")  # from here on, one worker rests
        await bus.publish_many(orders(*range(1, count)))
        await bus.drained("orders", "billing")
    assert handled == list(range(count))


class AnsweredSoon(Reader):
    """Has an answer to each read in the next turn of the loop."""

    def __init__(self, answers: list[list[Entry]]) -> None:
        self.answers = answers

    async def read(self, count: int, sink: Sink) -> None:
        if not self.answers:
            await asyncio.Event().wait()
        loop, answered = asyncio.get_running_loop(), asyncio.Event()
        loop.call_soon(sink, self.answers.pop(0))
        loop.call_soon(answered.set)
        await answered.wait()

    async def read_at_once(self, count: int, bytes_max: int, sink: Sink) -> None:
        await self.read(count, sink)

    async def close(self) -> None:
        pass


async def test_a_read_that_is_answered_before_the_last_one_is_opened_does_not_overtake_it(
    connect: Connect, inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, started = ev.App("shop"), list[int]()
    app.group("billing", concurrency=READ_ON * 2)

    @app.subscribe(OrderPlaced, group="billing", retry=AT_ONCE)
    async def bill(event: OrderPlaced, _: ev.Delivery) -> None:
        started.append(event.number)

    async with connect(app) as bus:
        await bus.publish_many(orders(*range(READ_ON + 5)))
        rows: Any = await inspector.raw.xrange(inspector.keys.stream)
        entries = [Entry(False, id_.decode(), id_.decode(), fields[b"event"], 0, 1) for id_, fields in rows]
        reader = AnsweredSoon([entries[:READ_ON], entries[READ_ON:]])
        monkeypatch.setattr(ConsumerCommands, "reader", lambda *_: reader)
        async with bus.running():
            await eventually(lambda: len(started) == READ_ON + 5)
    assert started == list(range(READ_ON + 5))


@pytest.mark.usefixtures("unhandled_errors")
async def test_a_replay_that_fails_as_soon_as_it_begins_is_begun_again(
    connect: Connect, inspector: Inspector, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        monkeypatch.undo()
        raise MemoryError

    spool = ev.Spool(tmp_path / "spool")
    async with fault_proxy(url) as faulty, connect(ev.App("shop"), url=faulty.url, outage_policy=spool) as bus:
        faulty.refusing = True
        faulty.cut()
        monkeypatch.setattr(SpoolFile, "read", fail)
        for number in range(2):
            await bus.publish(OrderPlaced(number=number))
        faulty.refusing = False
        await eventually(lambda: sent(inspector, 2))


async def sent(inspector: Inspector, count: int) -> bool:
    return len(await inspector.events()) == count
