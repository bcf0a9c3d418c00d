"""Whatever a handler does, its attempt ends and the consumer goes on."""

import asyncio
import logging
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

import eventlib as ev
from eventlib.testing.inspector import Inspector
from eventlib.testing.waiting import eventually
from tests.shop import AT_ONCE, Connect, OrderPlaced, Record, orders

pytestmark = pytest.mark.one_server  # what is tested is the client's own side


class Strange(BaseException):
    """An error that is not a subclass of Exception."""


class Unprintable(Exception):
    """An error whose `str` and `repr` fail."""

    def __str__(self) -> str:
        raise ValueError("no text")

    __repr__ = __str__


async def cancel_itself() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        SystemExit(1),
        asyncio.CancelledError(),
        Strange(),
        TimeoutError(),
        ExceptionGroup("g", [ValueError()]),
        BaseExceptionGroup("g", [Strange(), asyncio.CancelledError()]),
        MemoryError(),
        RecursionError(),
        StopIteration(),
        StopAsyncIteration(),
        Unprintable(),
        ConnectionError("the handler's own"),
        ev.BrokerUnavailable("elsewhere", "the handler's own"),
        ev.AccessDenied("elsewhere", "the handler's own"),
        ev.MissingGroup("elsewhere", "the handler's own"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_error_of_any_kind_fails_the_attempt_and_the_consumer_goes_on(
    connect: Connect, error: BaseException
) -> None:
    app, tries, record = ev.App("shop"), list[int](), Record()

    @app.subscribe(OrderPlaced, group="billing", retry=AT_ONCE)
    async def bill(_: OrderPlaced, delivery: ev.Delivery) -> None:
        tries.append(delivery.attempt)
        if delivery.attempt == 1:
            raise error

    async with connect(app) as bus, bus.running(observe=record):
        await bus.publish(OrderPlaced(number=1))
        await eventually(lambda: record.count("acked"))
    assert tries == [1, 2]
    [failure] = [h.error for h in record.observations if h.kind == "failed"]
    assert failure is error or (failure is not None and failure.__cause__ is error)  # a coroutine wraps StopIteration


async def test_an_event_whose_handler_cancels_its_own_task_is_retried(connect: Connect) -> None:
    app, tries, record = ev.App("shop"), list[int](), Record()
    app.group("billing", lease_s=0.3)

    @app.subscribe(OrderPlaced, group="billing", retry=AT_ONCE)
    async def bill(_: OrderPlaced, delivery: ev.Delivery) -> None:
        tries.append(delivery.attempt)
        if delivery.attempt == 1:
            await cancel_itself()

    async with connect(app) as bus, bus.running(observe=record):
        await bus.publish(OrderPlaced(number=1))
        await eventually(lambda: record.count("acked"))
    assert tries == [1, 2]


async def test_a_handler_that_takes_too_long_is_cancelled_and_tried_again(connect: Connect) -> None:
    app, tries, record = ev.App("shop"), list[int](), Record()

    @app.subscribe(OrderPlaced, group="billing", retry=AT_ONCE, timeout_s=0.05)
    async def bill(_: OrderPlaced, delivery: ev.Delivery) -> None:
        tries.append(delivery.attempt)
        if delivery.attempt == 1:
            await asyncio.Event().wait()

    async with connect(app) as bus, bus.running(observe=record):
        await bus.publish(OrderPlaced(number=1))
        await eventually(lambda: record.count("acked"))
    assert tries == [1, 2]
    assert [type(h.error) for h in record.observations if h.kind == "failed"] == [TimeoutError]


async def test_an_observer_that_raises_does_not_stop_the_consumer(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    app, handled = ev.App("shop"), list[int]()

    @app.subscribe(OrderPlaced, group="billing")
    async def bill(event: OrderPlaced, _: ev.Delivery) -> None:
        handled.append(event.number)

    def observe(observation: ev.Observation) -> None:
        raise ValueError("observing is hard")

    async with connect(app) as bus:
        async with bus.running(observe=observe):
            await bus.publish_many(orders(1, 2))
            await eventually(lambda: len(handled) == 2)
        assert (await bus.backlog("orders", "billing")).total == 0
    assert any("observer" in r.message and r.levelno == logging.ERROR for r in caplog.records)


class Collector(list[ev.Observation]):
    """An observer whose truth value is false while it is empty."""

    def __call__(self, observation: ev.Observation) -> None:
        self.append(observation)


async def test_an_observer_whose_truth_value_is_false_is_called_too(connect: Connect) -> None:
    app, told = ev.App("shop"), Collector()

    @app.subscribe(OrderPlaced, group="billing")
    async def bill(_: OrderPlaced, __: ev.Delivery) -> None: ...

    async with connect(app) as bus, bus.running(observe=told):
        await bus.publish(OrderPlaced(number=1))
        await eventually(lambda: [h.kind for h in told] == ["started", "handled", "acked"])


async def test_a_handler_gets_a_delivery_with_ids_attempt_and_consumer(connect: Connect) -> None:
    app, seen = ev.App("shop"), list[ev.Delivery]()

    @app.subscribe(OrderPlaced, group="billing")
    async def bill(_: OrderPlaced, delivery: ev.Delivery) -> None:
        seen.append(delivery)

    async with connect(app) as bus, bus.running(consumer="c1"):
        event_id = await bus.publish(OrderPlaced(number=1), correlation_id="order-1", causation_id="e0")
        [delivery] = await eventually(lambda: seen)
    assert (delivery.stream, delivery.group, delivery.consumer, delivery.attempt) == ("orders", "billing", "c1", 1)
    assert (delivery.event_id, delivery.correlation_id, delivery.lost) == (event_id, "order-1", False)


async def test_a_handler_may_publish(connect: Connect) -> None:
    app, numbers = ev.App("shop"), list[int]()

    @app.subscribe(OrderPlaced, group="billing")
    async def bill(event: OrderPlaced, delivery: ev.Delivery) -> None:
        numbers.append(event.number)
        if event.number < 20:
            await delivery.bus.publish(OrderPlaced(number=event.number + 1), causation_id=delivery.event_id)

    async with connect(app) as bus, bus.running():
        await bus.publish(OrderPlaced(number=1))
        await eventually(lambda: len(numbers) == 20)


async def test_a_handler_that_cancels_its_task_and_then_returns_has_handled_its_event(connect: Connect) -> None:
    """The cancellation would take effect at the next await, which is in the library."""
    app, handled, record = ev.App("shop"), list[int](), Record()
    app.group("billing", concurrency=1)

    @app.subscribe(OrderPlaced, group="billing", retry=AT_ONCE)
    async def bill(event: OrderPlaced, _: ev.Delivery) -> None:
        handled.append(event.number)
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    async with connect(app) as bus, bus.running(observe=record):
        await bus.publish_many(orders(1, 2, 3))
        await eventually(lambda: record.count("acked") == 3)
    assert handled == [1, 2, 3]


async def test_a_recursion_error_or_memory_error_fails_its_event_alone(connect: Connect) -> None:
    app, record = ev.App("shop"), Record()

    def fall(depth: int) -> int:
        return fall(depth + 1) + 1

    @app.subscribe(OrderPlaced, group="billing", retry=ev.Retry(attempts=1))
    async def bill(event: OrderPlaced, _: ev.Delivery) -> None:
        if event.number == 1:
            fall(0)
        elif event.number == 2:
            bytearray(1 << 62)

    async with connect(app) as bus, bus.running(observe=record):
        await bus.publish_many(orders(1, 2, 3))
        await eventually(lambda: record.count("acked") == 1 and record.count("dead") == 2)
        dead_letters = await bus.dead_letters("orders", "billing").find()
    assert sorted(dead_letter.error.partition(":")[0] for dead_letter in dead_letters) == [
        "MemoryError",
        "RecursionError",
    ]


async def test_an_event_whose_error_cannot_be_printed_becomes_a_dead_letter(connect: Connect) -> None:
    app = ev.App("shop")

    @app.subscribe(OrderPlaced, group="billing", retry=ev.Retry(attempts=1))
    async def bill(_: OrderPlaced, __: ev.Delivery) -> None:
        raise Unprintable

    async with connect(app) as bus, bus.running():
        await bus.publish(OrderPlaced(number=1))
        [dead] = await eventually(lambda: bus.dead_letters("orders", "billing").find())
    assert (dead.reason, dead.error) == ("exhausted", "Unprintable: (its text cannot be read)")


async def test_a_handler_that_never_returns_blocks_neither_other_handlers_nor_the_shutdown(connect: Connect) -> None:
    app, handled, record = ev.App("shop"), list[int](), Record()
    app.group("billing", concurrency=2)

    @app.subscribe(OrderPlaced, group="billing")
    async def bill(event: OrderPlaced, _: ev.Delivery) -> None:
        while event.number == 1:
            try:
                await asyncio.sleep(3600.0)
            except asyncio.CancelledError:  # it is told once, and does not listen at first
                if handled.count(1):
                    raise
                handled.append(1)
                if task := asyncio.current_task():
                    asyncio.get_running_loop().call_soon(task.cancel)
        handled.append(event.number)

    async with connect(app) as bus:
        async with bus.running(observe=record, grace_s=0.05):
            await bus.publish_many(orders(*range(1, 30)))
            await eventually(lambda: record.count("acked") == 28)
        assert (await bus.backlog("orders", "billing")).total == 1
    assert sorted(handled) == list(range(1, 30))


async def run_misbehaving(url: str, namespace: str, deed: str) -> int:
    """Run a consumer whose handler does the deed; returns its exit status."""
    misbehaving_consumer = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.contract.misbehaving_consumer", url, namespace, deed),
        cwd=Path(__file__).parents[2],
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        return await asyncio.wait_for(misbehaving_consumer.wait(), 30.0)
    finally:
        if misbehaving_consumer.returncode is None:
            misbehaving_consumer.kill()
            await misbehaving_consumer.wait()


@pytest.mark.parametrize("deed", ["exit", "abort"])
async def test_trap_07_an_event_that_ended_two_processes_is_dead_lettered_by_the_third(
    connect: Connect, url: str, namespace: str, deed: str
) -> None:
    """Two attempts are allowed. The server counted them, because the processes ended before they could report."""
    app, handled, record = ev.App("shop"), list[int](), Record()
    app.group("billing", lease_s=0.3)

    @app.subscribe(OrderPlaced, group="billing", retry=ev.Retry(attempts=2))
    async def bill(event: OrderPlaced, _: ev.Delivery) -> None:
        handled.append(event.number)

    async with connect(app) as bus:
        await bus.publish(OrderPlaced(number=1))
        assert [await run_misbehaving(url, namespace, deed) for _ in range(2)] == [{"exit": 7, "abort": -9}[deed]] * 2
        async with bus.running(observe=record):
            await bus.publish(OrderPlaced(number=2))
            await eventually(lambda: record.count("dead") == 1 and record.count("acked") == 1)
        [dead] = await bus.dead_letters("orders", "billing").find()
    assert (dead.reason, dead.attempts, handled) == ("poison", 2, [2])


async def test_a_keyboard_interrupt_in_a_handler_ends_the_program_and_the_event_is_taken_over(
    connect: Connect, url: str, namespace: str
) -> None:
    app, seen = ev.App("shop"), list[int]()
    app.group("billing", lease_s=0.3)

    @app.subscribe(OrderPlaced, group="billing", retry=ev.Retry(attempts=2))
    async def bill(_: OrderPlaced, delivery: ev.Delivery) -> None:
        seen.append(delivery.attempt)

    async with connect(app) as bus:
        await bus.publish(OrderPlaced(number=1))
        assert await run_misbehaving(url, namespace, "interrupt") == -signal.SIGINT
        async with bus.running():
            await eventually(lambda: seen == [2])


async def test_on_sigint_running_handlers_finish_and_no_entry_stays_pending(
    connect: Connect, inspector: Inspector, url: str, namespace: str
) -> None:
    async with connect(ev.App("shop")) as bus:
        await bus.publish(OrderPlaced(number=1))
        assert await run_misbehaving(url, namespace, "signal") == -signal.SIGINT
        assert await inspector.consumers() == set()
        assert await bus.backlog("orders", "billing") == ev.Backlog(0, 0, 0, 0, 0)


@pytest.mark.parametrize("turns", [1, 2, 3])
async def test_a_worker_task_that_is_cancelled_while_it_settles_leaves_no_entry_pending(
    connect: Connect, turns: int
) -> None:
    """A handler kept its worker's task. The cancellation arrives while the worker settles the handler's failure."""
    app, attempts = ev.App("shop"), list[tuple[int, int]]()
    app.group("billing", concurrency=1)

    @app.subscribe(OrderPlaced, group="billing", retry=ev.Retry(attempts=3, wait_s=0.0, jitter="none"))
    async def bill(event: OrderPlaced, delivery: ev.Delivery) -> None:
        attempts.append((event.number, delivery.attempt))
        if delivery.attempt == 1:
            task = asyncio.current_task()
            assert task is not None
            cancel_in(turns, task)
            raise ValueError("no")

    async with connect(app) as bus, bus.running():
        await bus.publish_many(orders(*range(5)))
        async with asyncio.timeout(20.0):  # less than a lease
            await bus.drained("orders", "billing")
    assert {number for number, attempt in attempts if attempt == 2} == set(range(5))


def cancel_in(turns: int, task: "asyncio.Task[Any]") -> None:
    loop = asyncio.get_running_loop()
    if turns:
        loop.call_soon(cancel_in, turns - 1, task)
    else:
        task.cancel()
