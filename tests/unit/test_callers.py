"""Callers who share a batch wait for as long as each of them may wait, counted from its own call."""

import asyncio

import eventlib as ev
from eventlib.publish.batches import Callers, SinglePublishes, Slice

GONE = ev.BrokerUnavailable("here", "gone")


def slices_called_at(*times_s: float) -> list[Slice]:
    slices = [Slice((b"x",), (), 1) for _ in times_s]
    for slice_, time_s in zip(slices, times_s, strict=True):
        slice_.called_at_s = time_s
    return slices


async def test_callers_whose_patience_has_passed_fail_and_the_others_wait() -> None:
    slices = slices_called_at(1.0, 2.0, 3.0)
    callers = Callers(slices)
    assert callers.waiting_since_s() == 1.0
    callers.fail_those_who_called_by(2.0, GONE)
    assert [slice_.waiting for slice_ in slices] == [False, False, True]
    assert [slice_.sent.exception() for slice_ in slices[:2]] == [GONE, GONE]
    assert callers.waiting_since_s() == 3.0
    callers.fail_those_who_called_by(3.0, GONE)
    assert callers.waiting_since_s() is None
    assert slices[2].sent.exception() == GONE


async def test_a_cancelled_caller_does_not_count_as_waiting() -> None:
    slices = slices_called_at(1.0, 2.0)
    slices[0].drop()
    assert Callers(slices).waiting_since_s() == 2.0
    slices[1].drop()
    assert Callers(slices).waiting_since_s() is None


async def test_a_batch_of_single_publishes_waits_as_long_as_one_of_its_callers_waits() -> None:
    loop = asyncio.get_running_loop()
    singles, waiters = SinglePublishes(), [loop.create_future() for _ in range(3)]
    singles.bodies, singles.waiters, singles.called_at_s = [b"x"] * 3, waiters, 7.0
    callers = Callers([singles])
    waiters[0].cancel()
    callers.fail_those_who_called_by(6.0, GONE)
    assert callers.waiting_since_s() == 7.0
    assert [waiter.done() for waiter in waiters] == [True, False, False]
    callers.fail_those_who_called_by(7.0, GONE)
    assert callers.waiting_since_s() is None
    assert [waiter.exception() for waiter in waiters[1:]] == [GONE, GONE]
