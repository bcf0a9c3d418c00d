"""One batch of a stream is on its way at a time: a number that is overtaken would be taken for a repeat."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

import eventlib as ev
from eventlib.broker import BATCH_LIMIT, NumberedBatch
from eventlib.publishing import Room, _Sender, _Slice


class NotedRoute:
    """Notes when a batch is begun and lets the test end it."""

    first_number = 1

    def __init__(self) -> None:
        self.begun: list[NumberedBatch] = []
        self.ends: list[asyncio.Future[None]] = []
        self.error: Exception | None = None

    def send(self, batch: NumberedBatch, since_s: float) -> Coroutine[Any, Any, None]:
        if self.error is not None:
            raise self.error
        self.begun.append(batch)
        self.ends.append(asyncio.get_running_loop().create_future())
        return self._ended(self.ends[-1])

    async def _ended(self, end: "asyncio.Future[None]") -> None:
        await end

    async def close(self) -> None:
        pass


@pytest.fixture
async def route() -> NotedRoute:
    return NotedRoute()


@pytest.fixture
async def sender(route: NotedRoute) -> _Sender:
    return _Sender("here", "orders", route, Room())


def add(sender: _Sender, count: int) -> list[_Slice]:
    loop = asyncio.get_running_loop()
    slices = [_Slice((b"x",), (), 1, loop.create_future()) for _ in range(count)]
    for slice_ in slices:
        sender.add(slice_)
    return slices


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_full_batch_is_begun_at_once_and_no_other_beside_it(sender: _Sender, route: NotedRoute) -> None:
    slices = add(sender, BATCH_LIMIT)
    assert [len(batch.bodies) for batch in route.begun] == [BATCH_LIMIT]
    slices += add(sender, 2 * BATCH_LIMIT)
    await turns()
    slices += add(sender, BATCH_LIMIT)
    await turns()
    assert len(route.begun) == 1
    for number in range(4):
        route.ends[number].set_result(None)
        await turns()
    assert [(batch.first, len(batch.bodies)) for batch in route.begun] == [
        (1 + number * BATCH_LIMIT, BATCH_LIMIT) for number in range(4)
    ]
    assert all(slice_.arrived for slice_ in slices)
    assert sender.task is None
    add(sender, BATCH_LIMIT)
    assert len(route.begun) == 5, "at once again"
    route.ends[4].set_result(None)
    await turns()


async def test_the_next_batch_is_on_its_way_before_those_who_waited_for_the_last_one_hear(
    sender: _Sender, route: NotedRoute, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, heard = add(sender, BATCH_LIMIT), list[bool]()
    send = route.send

    def noting(batch: NumberedBatch, since_s: float) -> Coroutine[Any, Any, None]:
        heard.append(first[0].arrived)
        return send(batch, since_s)

    monkeypatch.setattr(route, "send", noting)
    [second] = add(sender, 1)
    await turns()
    route.ends[0].set_result(None)
    await turns()
    assert heard == [False]
    assert first[0].arrived
    assert not second.arrived
    route.ends[1].set_result(None)
    await turns()
    assert second.arrived


async def test_what_follows_a_failed_part_of_the_same_call_is_never_on_its_way(
    sender: _Sender, route: NotedRoute
) -> None:
    loop = asyncio.get_running_loop()
    first = _Slice((b"x",) * BATCH_LIMIT, (), BATCH_LIMIT, loop.create_future())
    second = _Slice((b"x",), (), 1, loop.create_future(), after=first)
    sender.add(first)
    sender.add(second)
    await turns()
    route.ends[0].set_exception(ev.BrokerUnavailable("here", "gone"))
    await turns()
    assert len(route.begun) == 1
    assert sender.task is None
    with pytest.raises(ev.BrokerUnavailable):
        await first.sent


async def test_those_of_a_batch_that_arrived_hear_of_it_whatever_becomes_of_the_next(
    sender: _Sender, route: NotedRoute, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = add(sender, BATCH_LIMIT)
    [second] = add(sender, 1)
    await turns()

    def fail(slices: object) -> NumberedBatch:
        raise MemoryError

    monkeypatch.setattr(sender, "_batch", fail)
    route.ends[0].set_result(None)
    await turns()
    assert all(slice_.arrived for slice_ in first)
    with pytest.raises(MemoryError):
        await asyncio.wait_for(second.sent, 1.0)
    assert sender.task is None


async def test_less_than_a_batch_waits_a_turn_of_the_loop_for_company(sender: _Sender, route: NotedRoute) -> None:
    for _ in range(2):
        slices = add(sender, BATCH_LIMIT - 1)
        assert len(route.begun) == len(route.ends)
        begun = len(route.begun)
        await turns()
        assert len(route.begun) == begun + 1
        route.ends[-1].set_result(None)
        await turns()
        assert all(slice_.arrived for slice_ in slices)


async def test_a_batch_is_begun_in_the_very_next_turn(sender: _Sender, route: NotedRoute) -> None:
    """Not by the task that then waits for it, which would be another turn."""
    add(sender, 1)
    assert route.begun == []
    await asyncio.sleep(0)
    assert [len(batch.bodies) for batch in route.begun] == [1]
    add(sender, 3)
    await turns()
    assert len(route.begun) == 1, "one at a time"
    for end in range(2):
        route.ends[end].set_result(None)
        await turns()
    assert [len(batch.bodies) for batch in route.begun] == [1, 3]
    assert sender.task is None


async def test_a_sender_that_is_closed_in_the_turn_it_was_added_to_sends_nothing(
    sender: _Sender, route: NotedRoute
) -> None:
    [slice_] = add(sender, 1)
    sender.close()
    await turns()
    assert route.begun == []
    with pytest.raises(ev.BusClosed):
        await asyncio.wait_for(slice_.sent, 5.0)


async def test_what_cannot_even_be_begun_is_told_to_those_who_wait(sender: _Sender, route: NotedRoute) -> None:
    route.error = ev.BrokerError("here", "no")
    for slice_ in add(sender, 3):
        with pytest.raises(ev.BrokerError):
            await asyncio.wait_for(slice_.sent, 5.0)
    await turns()
    route.error = None
    [slice_] = add(sender, 1)
    await turns()
    route.ends[0].set_result(None)
    await asyncio.wait_for(slice_.sent, 5.0)


async def test_closing_tells_everybody(sender: _Sender) -> None:
    slices = add(sender, BATCH_LIMIT + 3)
    sender.close()
    expected: list[tuple[_Slice, type[Exception]]] = [(slices[0], ev.BrokerUnavailable), (slices[-1], ev.BusClosed)]
    for slice_, error in expected:
        with pytest.raises(error):
            await asyncio.wait_for(slice_.sent, 5.0)
    for slice_ in slices:
        slice_.drop()
    await turns()
    assert sender.task is None
