"""One batch of a stream is under way at a time: the server would take an overtaken number for a repeat."""

import asyncio

import pytest

import eventlib as ev
from eventlib.broker.publishing import BATCH_BYTES, BATCH_LIMIT
from eventlib.publish.batches import Callers, Slice
from eventlib.publish.capacity import CapacityLimit
from eventlib.publish.sender import Sender
from eventlib.records import NumberedBatch, Unique


class ManualRoute:
    """Notes which batches were begun, and lets the test end each of them."""

    first_number = 1
    patience_s = 30.0
    spooled_bytes = 0
    spool_bytes_max = 0

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
async def route() -> ManualRoute:
    return ManualRoute()


@pytest.fixture
async def capacity() -> CapacityLimit:
    return CapacityLimit()


@pytest.fixture
async def sender(route: ManualRoute, capacity: CapacityLimit) -> Sender:
    return Sender("here", "orders", route, capacity)


def add(sender: Sender, count: int) -> list[Slice]:
    slices = [Slice((b"x",), (), 1) for _ in range(count)]
    for slice_ in slices:
        sender.add(slice_)
    return slices


def add_singles(sender: Sender, *bodies: bytes) -> list["asyncio.Future[None]"]:
    return [sender.add_single(body, "an-id", None) for body in bodies]


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def is_empty(capacity: CapacityLimit) -> bool:
    return capacity.count == capacity._size_bytes == 0


# When a batch is begun


async def test_a_full_batch_is_begun_at_once_and_no_other_beside_it(sender: Sender, route: ManualRoute) -> None:
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


async def test_single_publishes_fill_a_batch_and_begin_it_at_once(
    sender: Sender, route: ManualRoute, capacity: CapacityLimit
) -> None:
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
    assert is_empty(capacity)


async def test_less_than_a_batch_waits_until_the_turn_of_the_loop_is_over(sender: Sender, route: ManualRoute) -> None:
    for _ in range(2):
        slices = add(sender, BATCH_LIMIT - 1)
        assert len(route.begun) == len(route.ends)
        begun = len(route.begun)
        await turns()
        assert len(route.begun) == begun + 1
        route.ends[-1].set_result(None)
        await turns()
        assert all(slice_.arrived for slice_ in slices)


async def test_a_batch_is_begun_in_the_very_next_turn(sender: Sender, route: ManualRoute) -> None:
    """Not by the task that then waits for it: that would be another turn later."""
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


async def test_the_next_batch_is_begun_before_the_callers_of_the_last_one_are_told(
    sender: Sender, route: ManualRoute, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, told = add(sender, BATCH_LIMIT), list[bool]()
    send = route.send

    def note_and_send(batch: NumberedBatch, callers: Callers) -> "asyncio.Future[None]":
        told.append(first[0].arrived)
        return send(batch, callers)

    monkeypatch.setattr(route, "send", note_and_send)
    [second] = add(sender, 1)
    await turns()
    route.ends[0].set_result(None)
    await turns()
    assert told == [False]
    assert first[0].arrived
    assert not second.arrived
    route.ends[1].set_result(None)
    await turns()
    assert second.arrived


# What goes into a batch


async def test_single_publishes_and_a_call_between_them_keep_their_order(sender: Sender, route: ManualRoute) -> None:
    add_singles(sender, b"1", b"2")
    sender.add(Slice((b"3", b"4"), (), 2))
    add_singles(sender, b"5")
    await turns()
    assert [list(batch.bodies) for batch in route.begun] == [[b"1", b"2", b"3", b"4", b"5"]]
    route.ends[0].set_result(None)
    await turns()


async def test_a_publish_in_the_turn_in_which_a_batch_was_taken_goes_into_the_next_batch(
    sender: Sender, route: ManualRoute
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


async def test_large_single_publishes_are_not_put_into_one_batch(sender: Sender, route: ManualRoute) -> None:
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


async def test_cancelled_publishes_are_left_out_and_unique_ids_stay_with_their_bodies(
    sender: Sender, route: ManualRoute, capacity: CapacityLimit
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
    assert capacity.count == capacity._size_bytes == 4
    assert sender._queue.count == 0
    route.ends[1].set_result(None)
    await turns()
    assert all(future.done() for future in sent)
    assert is_empty(capacity)
    for cancelled in add_singles(sender, b"a", b"b"):
        cancelled.cancel()
    await turns()
    assert len(route.begun) == 2, "nothing is left of the batch"
    assert is_empty(capacity)


# Failures


async def test_a_batch_that_cannot_be_begun_fails_its_callers(sender: Sender, route: ManualRoute) -> None:
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


async def test_the_callers_of_a_batch_that_arrived_are_told_even_if_the_next_cannot_be_begun(
    sender: Sender, route: ManualRoute, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = add(sender, BATCH_LIMIT)
    [second] = add(sender, 1)
    await turns()

    def fail(taken: object) -> NumberedBatch:
        raise MemoryError

    monkeypatch.setattr(sender, "_numbered", fail)
    route.ends[0].set_result(None)
    await turns()
    assert all(slice_.arrived for slice_ in first)
    with pytest.raises(MemoryError):
        await asyncio.wait_for(second.sent, 1.0)
    assert sender.task is None


async def test_what_follows_a_failed_slice_of_the_same_call_is_not_sent(sender: Sender, route: ManualRoute) -> None:
    first = Slice((b"x",) * BATCH_LIMIT, (), BATCH_LIMIT)
    second = Slice((b"x",), (), 1, after=first)
    sender.add(first)
    sender.add(second)
    await turns()
    route.ends[0].set_exception(ev.BrokerUnavailable("here", "gone"))
    await turns()
    assert len(route.begun) == 1
    assert sender.task is None
    with pytest.raises(ev.BrokerUnavailable):
        await first.sent


async def test_a_call_of_thousands_of_slices_ends_where_it_failed(
    sender: Sender, route: ManualRoute, capacity: CapacityLimit
) -> None:
    slices = list[Slice]()
    for _ in range(5000):
        slices.append(Slice((b"x",) * BATCH_LIMIT, (), 1, after=slices[-1] if slices else None))
        sender.add(slices[-1])
    await turns()
    route.ends[0].set_exception(ev.BrokerError("here", "full"))
    await turns()
    assert sender.task is None
    assert len(route.begun) == 1
    assert all(slice_.sent.done() for slice_ in slices)
    assert is_empty(capacity)
    with pytest.raises(ev.BrokerError, match="full"):
        await slices[0].sent


async def test_queued_callers_who_have_waited_long_enough_fail_with_the_batch_before_them(
    sender: Sender, route: ManualRoute
) -> None:
    old = add(sender, 3 * BATCH_LIMIT)
    await turns()
    for slice_ in old:
        slice_.called_at_s -= route.patience_s
    [new] = add(sender, 1)
    route.ends[0].set_exception(ev.BrokerUnavailable("here", "gone"))
    await turns()
    assert all(isinstance(slice_.sent.exception(), ev.BrokerUnavailable) for slice_ in old)
    assert [len(batch.bodies) for batch in route.begun] == [BATCH_LIMIT, 1]
    route.ends[1].set_result(None)
    await turns()
    assert new.arrived


async def test_a_refused_batch_does_not_fail_those_who_are_queued(sender: Sender, route: ManualRoute) -> None:
    old = add(sender, BATCH_LIMIT + 1)
    await turns()
    for slice_ in old:
        slice_.called_at_s -= route.patience_s
    route.ends[0].set_exception(ev.BrokerError("here", "no"))
    await turns()
    assert len(route.begun) == 2
    route.ends[1].set_result(None)
    await turns()
    assert old[-1].arrived
    assert isinstance(old[0].sent.exception(), ev.BrokerError)
    refused = [slice_.sent.exception() for slice_ in old[:-1]]
    assert all(refused)


@pytest.mark.parametrize(("waited_s", "is_sent"), [(29.0, True), (30.0, False)])
async def test_single_publishes_of_one_turn_wait_as_long_as_the_last_of_them(
    sender: Sender, route: ManualRoute, monkeypatch: pytest.MonkeyPatch, waited_s: float, is_sent: bool
) -> None:
    now_s = 0.0
    for clock in (sender, sender._queue):
        monkeypatch.setattr(clock, "_now", lambda: now_s)
    sent = add_singles(sender, *[b"x"] * BATCH_LIMIT, b"1")
    now_s = 20.0  # something holds up the loop
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


async def test_a_publish_in_the_turn_in_which_the_batch_before_fails_has_a_try_of_its_own(
    sender: Sender, route: ManualRoute, monkeypatch: pytest.MonkeyPatch
) -> None:
    for clock in (sender, sender._queue):
        monkeypatch.setattr(clock, "_now", lambda: 7.0)
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


async def test_a_batch_that_has_failed_when_it_is_first_awaited_holds_up_no_later_one(
    sender: Sender, route: ManualRoute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An eager task, which awaits it, has ended then before its maker goes on."""
    send = route.send

    def send_and_fail(batch: NumberedBatch, callers: Callers) -> "asyncio.Future[None]":
        failed = send(batch, callers)
        failed.set_exception(ev.BrokerUnavailable("here", "gone"))
        return failed

    monkeypatch.setattr(route, "send", send_and_fail)
    [gone] = add(sender, 1)
    with pytest.raises(ev.BrokerUnavailable):
        await gone.sent
    monkeypatch.undo()
    [again] = add(sender, 1)  # in the turn in which its caller hears
    await turns()
    route.ends[1].set_result(None)
    await again.sent
    assert sender.task is None


# Closing


async def test_a_sender_that_is_closed_in_the_turn_of_a_publish_sends_nothing(
    sender: Sender, route: ManualRoute
) -> None:
    [slice_] = add(sender, 1)
    sender.close()
    await turns()
    assert route.begun == []
    with pytest.raises(ev.BusClosed):
        await asyncio.wait_for(slice_.sent, 5.0)


@pytest.mark.parametrize("awaited", [False, True])
async def test_closing_cancels_the_batch_under_way_and_fails_all_callers(
    sender: Sender, route: ManualRoute, capacity: CapacityLimit, awaited: bool
) -> None:
    slices = add(sender, BATCH_LIMIT + 3)
    if awaited:
        await turns()
    assert (sender.task is not None) == awaited
    sender.close()
    assert route.ends[0].cancelled()
    expected: list[tuple[Slice, type[Exception]]] = [(slices[0], ev.BrokerUnavailable), (slices[-1], ev.BusClosed)]
    for slice_, error in expected:
        with pytest.raises(error):
            await asyncio.wait_for(slice_.sent, 5.0)
    for slice_ in slices:
        slice_.drop()
    await turns()
    assert len(route.begun) == 1
    assert sender.task is None
    assert is_empty(capacity)
