"""Handlers of a user's own, good and bad, for scenarios to name. The load sends `Placed`."""

import asyncio
import os
import time

import numpy as np

import eventlib as ev


class Placed(ev.Event, type="own.placed", version=2, stream="own-orders"):
    number: int
    size: float = 0.0

    @ev.upcast(1, example={"number": 1})
    def _v1(data: dict[str, object]) -> dict[str, object]:
        return data


class Paid(ev.Event, type="own.paid", stream="own-payments"):
    number: int


LEAKED: list[asyncio.Task[bool]] = []  # else they may be collected as garbage before they are looked for
BLOCKED: list[int] = []  # the number of the event that has blocked the loop

app = ev.App("own")
app.group("compute", concurrency=4, prefetch=1, lease_s=2.0)
app.group("wait", concurrency=50)
app.group("ordered", ordered_by="number")
app.group("late", lease_s=3.0)
app.group("sized", concurrency=50)
app.group("guarded", circuit_breaker=ev.CircuitBreaker(failures=3, failure_share=0.3, window_s=1.0, open_s=0.2))


@app.subscribe(Placed, group="compute", retry=ev.Retry(attempts=2, wait_s=0.0))
async def compute(event: Placed, delivery: ev.Delivery) -> None:
    """Computes for 4 ms; every tenth fails always, every seventh is rejected; pays twice for every third."""
    until = time.thread_time() + 0.004
    while time.thread_time() < until:
        pass
    if event.number % 10 == 9:
        raise RuntimeError("no")
    if event.number % 7 == 6:
        raise ev.Reject("never")
    await delivery.bus.publish(Paid(number=event.number))
    if event.number % 3 == 0:
        await delivery.bus.publish_many([Paid(number=event.number)])


@app.subscribe(Paid, group="wait")
async def wait(event: Paid, delivery: ev.Delivery) -> None:
    await asyncio.sleep(0.01)


@app.subscribe(Placed, group="late", retry=ev.Retry(attempts=2, wait_s=0.0))
async def block(event: Placed, delivery: ev.Delivery) -> None:
    """Blocks the loop once for over a third of the lease, leaves a task running, and calls sys.exit."""
    if not BLOCKED:
        BLOCKED.append(event.number)
        time.sleep(1.1)  # noqa: ASYNC251 - what no handler should do
    if event.number == 1:
        raise SystemExit("bye")
    if event.number == 2:
        LEAKED.append(asyncio.create_task(asyncio.Event().wait()))  # the leak that is to be found


@app.subscribe(Placed, group="sized")
async def take_size(event: Placed, delivery: ev.Delivery) -> None:
    """Waits for as long as its event says."""
    await asyncio.sleep(event.size)


@app.subscribe(Placed, group="guarded", retry=ev.Retry(attempts=9, wait_s=0.01))
async def guard(event: Placed, delivery: ev.Delivery) -> None:
    """What it calls fails at every other first attempt; every tenth event is refused, which is not for want of that."""
    await asyncio.sleep(0.02)
    if event.number % 10 == 5:
        raise ev.Reject("never")
    if delivery.attempt == 1 and event.number % 2:
        raise RuntimeError("not now")


@app.subscribe(Placed, group="dying")
async def die(event: Placed, delivery: ev.Delivery) -> None:
    os._exit(3)


@app.subscribe(Placed, group="ordered")
async def ordered(event: Placed, delivery: ev.Delivery) -> None:
    pass


@app.subscribe_batch(Placed, group="bulk", size=8, retry=ev.Retry(attempts=3, wait_s=0.05))
async def bulk(batch: ev.Batch[Placed]) -> None:
    """Waits 0.2 s, and 50 ms for each event; every tenth fails once by itself, and the others pay."""
    await asyncio.sleep(0.2 + 0.05 * len(batch))
    publishing = []
    for event, delivery in batch:
        if event.number % 10 == 9 and delivery.attempt == 1:
            batch.fail(delivery, RuntimeError("not now"))
        else:
            publishing.append(delivery.bus.publish(Paid(number=event.number)))
    await asyncio.gather(*publishing)


@app.subscribe(Placed, group="both")
@app.subscribe(Placed, group="idle")
async def idle(event: Placed, delivery: ev.Delivery) -> None:
    pass


@app.subscribe(Paid, group="both")
async def idle_too(event: Paid, delivery: ev.Delivery) -> None:
    pass


def placed(index: int, rng: np.random.Generator) -> Placed:
    return Placed(number=index, size=float(rng.random()))


def broken(index: int, rng: np.random.Generator) -> Placed:
    raise ValueError("no such order")


def later_broken(index: int, rng: np.random.Generator) -> Placed:
    return placed(index, rng) if index < 3 else broken(index, rng)


def other(index: int, rng: np.random.Generator) -> Paid:
    return Paid(number=index)


not_an_app = 7
