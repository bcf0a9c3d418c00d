"""One batch of a stream is on its way at a time: a number that is overtaken would be taken for a repeat."""

import asyncio
import gc
from typing import cast

import pytest

import eventlib as ev
from eventlib.broker.commands import BATCH_BYTES, BATCH_LIMIT, Broker
from eventlib.publish.outage import Callers, _Repeated
from eventlib.publish.publisher import CapacityLimit, _Callers, _Sender, _Singles, _Slice
from eventlib.records import NumberedBatch, Unique


class NotedRoute:
    """Notes when a batch is begun and lets the test end it."""

    first_number = 1
    patience_s = 30.0

    def __init__(self) -> None:
        self.begun: list[NumberedBatch] = []
        self.ends: list[asyncio.Future[None]] = []
        self.error: Exception | None = None

    def send(self, batch: NumberedBatch, callers: Callers) -> "asyncio.Future[None]":
        if self.error is not None:
            raise self.error
        self.begun.append(batch)
        self.ends.append(asyncio.get_running_loop().create_future())
        return self.ends[-1]

    async def close(self) -> None:
        pass


@pytest.fixture
async def route() -> NotedRoute:
    return NotedRoute()


@pytest.fixture
async def sender(route: NotedRoute) -> _Sender:
    return _Sender("here", "orders", route, CapacityLimit())


def add(sender: _Sender, count: int) -> list[_Slice]:
    loop = asyncio.get_running_loop()
    slices = [_Slice((b"x",), (), 1, loop.create_future()) for _ in range(count)]
    for slice_ in slices:
        sender.add(slice_)
    return slices


def add_singles(sender: _Sender, *bodies: bytes) -> list["asyncio.Future[None]"]:
    return [sender.add_single(body, "an-id", None) for body in bodies]


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


async def test_single_publishes_fill_a_batch_and_begin_it_at_once(sender: _Sender, route: NotedRoute) -> None:
    sent = add_singles(sender, *[b"x"] * (2 * BATCH_LIMIT + 1))
    assert [len(batch.bodies) for batch in route.begun] == [BATCH_LIMIT]
    for number in range(3):
        await turns()
        assert [future.done() for future in sent] == [at < number * BATCH_LIMIT for at in range(len(sent))]
        route.ends[number].set_result(None)
    await asyncio.gather(*sent)
    assert [(batch.first, len(batch.bodies)) for batch in route.begun] == [
        (1, BATCH_LIMIT),
        (1 + BATCH_LIMIT, BATCH_LIMIT),
        (1 + 2 * BATCH_LIMIT, 1),
    ]
    assert sender._room._count == sender._room._size_bytes == 0


async def test_single_publishes_and_a_call_between_them_keep_their_order(sender: _Sender, route: NotedRoute) -> None:
    add_singles(sender, b"1", b"2")
    sender.add(_Slice((b"3", b"4"), (), 2, asyncio.get_running_loop().create_future()))
    add_singles(sender, b"5")
    await turns()
    assert [list(batch.bodies) for batch in route.begun] == [[b"1", b"2", b"3", b"4", b"5"]]
    route.ends[0].set_result(None)
    await turns()


async def test_who_comes_in_the_turn_in_which_a_batch_is_taken_goes_into_the_next(
    sender: _Sender, route: NotedRoute
) -> None:
    sent = add_singles(sender, b"1")
    await turns()
    route.ends[0].set_result(None)
    asyncio.get_running_loop().call_soon(lambda: sent.extend(add_singles(sender, b"3")))  # after 2 is on its way
    sent += add_singles(sender, b"2")
    await turns()
    assert [list(batch.bodies) for batch in route.begun] == [[b"1"], [b"2"]]
    for end in (1, 2):
        route.ends[end].set_result(None)
        await turns()
    assert [(batch.first, list(batch.bodies)) for batch in route.begun] == [(1, [b"1"]), (2, [b"2"]), (3, [b"3"])]
    assert all(future.done() for future in sent)


async def test_large_single_publishes_are_not_taken_together(sender: _Sender, route: NotedRoute) -> None:
    half = b"x" * (BATCH_BYTES // 2)
    sent = add_singles(sender, half, half, b"y", 3 * half, b"z")
    for number in range(4):
        await turns()
        route.ends[number].set_result(None)
    await asyncio.gather(*sent)
    assert [[len(body) for body in batch.bodies] for batch in route.begun] == [
        [len(half), len(half)],
        [1],
        [3 * len(half)],
        [1],
    ]


async def test_cancelled_ones_are_left_out_and_the_ids_of_the_others_stay_theirs(
    sender: _Sender, route: NotedRoute
) -> None:
    add_singles(sender, b"first")
    await turns()
    sent = [sender.add_single(b"%d" % n, f"id-{n}", 60.0 if n % 2 else None) for n in range(6)]
    for place in (0, 3):
        sent[place].cancel()
    route.ends[0].set_result(None)
    await turns()
    assert route.begun[1] == NumberedBatch(
        "orders",
        2,
        [b"1", b"2", b"4", b"5"],
        [Unique(0, "id-1", 60.0), Unique(3, "id-5", 60.0)],
    )
    assert sender._room._count == sender._room._size_bytes == 4
    assert sender._count == 0
    route.ends[1].set_result(None)
    await turns()
    assert all(future.done() for future in sent)
    assert sender._room._count == sender._room._size_bytes == 0
    for cancelled in add_singles(sender, b"a", b"b"):
        cancelled.cancel()
    await turns()
    assert len(route.begun) == 2, "nothing is left of it"
    assert sender._room._count == sender._room._size_bytes == 0


@pytest.mark.parametrize(("waited_s", "is_sent"), [(29.0, True), (30.0, False)])
async def test_nobody_has_less_patience_for_who_came_before_him_in_the_same_turn(
    sender: _Sender, route: NotedRoute, monkeypatch: pytest.MonkeyPatch, waited_s: float, is_sent: bool
) -> None:
    now_s = 0.0
    monkeypatch.setattr(sender, "_time", lambda: now_s)
    sent = add_singles(sender, *[b"x"] * BATCH_LIMIT, b"1")
    now_s = 20.0  # somebody holds up the loop
    sent += add_singles(sender, b"2")
    await turns()
    now_s += waited_s
    route.ends[0].set_exception(ev.BrokerUnavailable("here", "gone"))
    await turns()
    assert [list(batch.bodies) for batch in route.begun[1:]] == ([[b"1", b"2"]] if is_sent else [])
    if is_sent:
        route.ends[1].set_result(None)
    outcomes = await asyncio.gather(*sent, return_exceptions=True)
    assert [outcome is None for outcome in outcomes] == [False] * BATCH_LIMIT + [is_sent] * 2


async def test_who_comes_while_those_before_him_give_up_has_a_try_of_his_own(
    sender: _Sender, route: NotedRoute, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "_time", lambda: 7.0)
    route.patience_s = 0.0
    [gone] = add_singles(sender, b"1")
    await turns()
    route.ends[0].set_exception(ev.BrokerUnavailable("here", "gone"))
    [new] = add_singles(sender, b"2")
    await turns()
    route.ends[1].set_result(None)
    await new
    with pytest.raises(ev.BrokerUnavailable):
        await gone


async def test_a_batch_is_repeated_for_the_last_of_its_single_publishes_who_waits() -> None:
    gone, loop = ev.BrokerUnavailable("here", "gone"), asyncio.get_running_loop()
    singles, callers = _Singles(), [loop.create_future() for _ in range(3)]
    singles.bodies, singles.callers, singles.since_s = [b"x"] * 3, callers, 7.0
    callers[0].cancel()
    assert _Callers([singles]).give_up(6.0, gone) == 7.0
    assert [future.done() for future in callers] == [True, False, False]
    assert _Callers([singles]).give_up(7.0, gone) is None
    assert [future.exception() for future in callers[1:]] == [gone, gone]


async def test_the_next_batch_is_on_its_way_before_those_who_waited_for_the_last_one_hear(
    sender: _Sender, route: NotedRoute, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, heard = add(sender, BATCH_LIMIT), list[bool]()
    send = route.send

    def noting(batch: NumberedBatch, callers: Callers) -> "asyncio.Future[None]":
        heard.append(first[0].arrived)
        return send(batch, callers)

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


async def test_each_waits_as_long_as_he_said_though_one_batch_carries_all() -> None:
    class Away:
        def publish(self, *_: object) -> "asyncio.Future[int]":
            call = asyncio.get_running_loop().create_future()
            call.set_exception(ev.BrokerUnavailable("here", "gone"))
            return call

    loop, patience_s = asyncio.get_running_loop(), 0.3
    early, late = _Slice((b"x",), (), 1, loop.create_future()), _Slice((b"y",), (), 1, loop.create_future())
    early.since_s, late.since_s = loop.time() - 0.2, loop.time()
    heard_s: dict[_Slice, float] = {}
    for each in (early, late):
        each.sent.add_done_callback(lambda _, each=each: heard_s.setdefault(each, loop.time()))  # type: ignore[misc]
    route = _Repeated(cast(Broker, Away()), patience_s)
    with pytest.raises(ev.BrokerUnavailable):
        await route.send(NumberedBatch("orders", 1, [b"x", b"y"]), _Callers([early, late]))
    await turns()
    assert not early.arrived and not late.arrived
    assert heard_s[early] - early.since_s >= patience_s
    assert heard_s[late] - late.since_s >= patience_s
    assert heard_s[early] < late.since_s + patience_s


async def test_a_long_call_that_fails_early_ends_where_it_failed(sender: _Sender, route: NotedRoute) -> None:
    """However many parts it has: thousands wait for one another."""
    loop, slices = asyncio.get_running_loop(), list[_Slice]()
    for _ in range(5000):
        slices.append(_Slice((b"x",) * BATCH_LIMIT, (), 1, loop.create_future(), slices[-1] if slices else None))
        sender.add(slices[-1])
    await turns()
    route.ends[0].set_exception(ev.BrokerError("here", "full"))
    await turns()
    assert sender.task is None
    assert len(route.begun) == 1
    assert all(slice_.sent.done() for slice_ in slices)
    with pytest.raises(ev.BrokerError, match="full"):
        await slices[0].sent


async def test_those_behind_who_have_waited_long_enough_hear_after_the_same_try(
    sender: _Sender, route: NotedRoute
) -> None:
    old = add(sender, 3 * BATCH_LIMIT)
    await turns()
    for slice_ in old:
        slice_.since_s -= route.patience_s
    [new] = add(sender, 1)
    route.ends[0].set_exception(ev.BrokerUnavailable("here", "gone"))
    await turns()
    assert all(isinstance(slice_.sent.exception(), ev.BrokerUnavailable) for slice_ in old)
    assert [len(batch.bodies) for batch in route.begun] == [BATCH_LIMIT, 1]
    route.ends[1].set_result(None)
    await turns()
    assert new.arrived


async def test_what_is_refused_concerns_those_behind_not_at_all(sender: _Sender, route: NotedRoute) -> None:
    old = add(sender, BATCH_LIMIT + 1)
    await turns()
    for slice_ in old:
        slice_.since_s -= route.patience_s
    route.ends[0].set_exception(ev.BrokerError("here", "no"))
    await turns()
    assert len(route.begun) == 2
    route.ends[1].set_result(None)
    await turns()
    assert old[-1].arrived
    assert isinstance(old[0].sent.exception(), ev.BrokerError)
    gone = [slice_.sent.exception() for slice_ in old[:-1]]
    assert all(gone)


@pytest.mark.parametrize("arrived", [False, True])
async def test_a_repeated_batch_that_is_given_up_before_it_is_awaited_cancels_its_call(arrived: bool) -> None:
    calls = list[asyncio.Future[int]]()

    class Noting:
        def publish(self, *_: object) -> "asyncio.Future[int]":
            calls.append(asyncio.get_running_loop().create_future())
            return calls[-1]

    route = _Repeated(cast(Broker, Noting()), 30.0)
    sending = route.send(NumberedBatch("orders", 1, [b"x"]), _Callers([]))
    if arrived:
        calls[0].set_result(1)
    sending.cancel()
    del sending
    gc.collect()  # "coroutine was never awaited" would be an error
    assert len(calls) == 1
    assert calls[0].cancelled() == (not arrived)
