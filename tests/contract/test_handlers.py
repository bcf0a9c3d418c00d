"""Whatever a handler does, its attempt ends, and the consumer lives."""

import asyncio
import logging

import pytest

import eventlib as ev
from tests.shop import AT_ONCE, Connect, OrderPlaced, Record, orders
from tests.waiting import eventually


class Strange(BaseException):
    """Not even an Exception."""


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
    ],
)
async def test_any_error_fails_the_attempt_and_not_the_consumer(connect: Connect, error: BaseException) -> None:
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
    assert [h.error for h in record.happenings if h.kind == "failed"] == [error]


async def test_a_handler_that_cancels_its_own_task_does_not_strand_its_event(connect: Connect) -> None:
    app, tries, record = ev.App("shop"), list[int](), Record()
    app.group("billing", lease_s=0.3)

    @app.subscribe(OrderPlaced, group="billing", retry=AT_ONCE)
    async def bill(_: OrderPlaced, delivery: ev.Delivery) -> None:
        tries.append(delivery.attempt)
        if delivery.attempt == 1:
            await cancel_itself()

    async with connect(app) as bus, bus.running(observe=record):
        await bus.publish(OrderPlaced(number=1))
        await eventually(lambda: record.count("acked"), timeout_s=5.0)
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
    assert [type(h.error) for h in record.happenings if h.kind == "failed"] == [TimeoutError]


async def test_an_observer_that_fails_stops_nothing(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    app, handled = ev.App("shop"), list[int]()

    @app.subscribe(OrderPlaced, group="billing")
    async def bill(event: OrderPlaced, _: ev.Delivery) -> None:
        handled.append(event.number)

    def observe(happening: ev.Happening) -> None:
        raise ValueError("observing is hard")

    async with connect(app) as bus:
        async with bus.running(observe=observe):
            await bus.publish_many(orders(1, 2))
            await eventually(lambda: len(handled) == 2)
        assert (await bus.backlog("orders", "billing")).total == 0
    assert any("observer" in r.message and r.levelno == logging.ERROR for r in caplog.records)


class Collector(list[ev.Happening]):
    """An observer that is false while it is empty."""

    def __call__(self, happening: ev.Happening) -> None:
        self.append(happening)


async def test_an_observer_that_is_a_collection_is_told_as_well(connect: Connect) -> None:
    app, told = ev.App("shop"), Collector()

    @app.subscribe(OrderPlaced, group="billing")
    async def bill(_: OrderPlaced, __: ev.Delivery) -> None: ...

    async with connect(app) as bus, bus.running(observe=told):
        await bus.publish(OrderPlaced(number=1))
        await eventually(lambda: [h.kind for h in told] == ["started", "handled", "acked"], timeout_s=3.0)


async def test_a_handler_knows_its_delivery(connect: Connect) -> None:
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

    async with connect(app) as bus:

        @app.subscribe(OrderPlaced, group="billing")
        async def bill(event: OrderPlaced, delivery: ev.Delivery) -> None:
            numbers.append(event.number)
            if event.number < 20:
                await bus.publish(OrderPlaced(number=event.number + 1), causation_id=delivery.event_id)

        async with bus.running():
            await bus.publish(OrderPlaced(number=1))
            await eventually(lambda: len(numbers) == 20)


async def test_a_handler_that_cancels_its_task_and_returns_has_handled(connect: Connect) -> None:
    """The cancellation would come at the next await, which is ours."""
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
