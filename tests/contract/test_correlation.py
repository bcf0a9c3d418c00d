"""The correlation of a handled event is passed on to the events that its handler publishes, and to no others."""

import asyncio

import pytest

import eventlib as ev
from eventlib.events.envelope import Envelope, current
from eventlib.testing.waiting import eventually
from tests.shop import Connect, OrderPlaced, OrderShipped, StockCounted

pytestmark = pytest.mark.one_server  # what is tested is the client's own side

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def test_a_chain_of_handlers_shares_one_correlation_and_one_trace(connect: Connect) -> None:
    """This one needs the delivery loop to set `current` around each handler."""
    app, seen = ev.App("shop"), dict[str, Envelope]()

    @app.subscribe(OrderPlaced, group="shipping")
    async def ship(event: OrderPlaced, delivery: ev.Delivery) -> None:
        seen["placed"] = _envelope(delivery)
        await asyncio.create_task(bus.publish(OrderShipped(number=event.number)))

    @app.subscribe(OrderShipped, group="stock")
    async def count(event: OrderShipped, delivery: ev.Delivery) -> None:
        seen["shipped"] = _envelope(delivery)
        await bus.publish_many([StockCounted(number=event.number)])

    @app.subscribe(StockCounted, group="stock")
    async def look(_: StockCounted, delivery: ev.Delivery) -> None:
        seen["counted"] = _envelope(delivery)

    async with connect(app) as bus, bus.running():
        first = await bus.publish(OrderPlaced(number=1), traceparent=PARENT, tracestate="congo=1")
        await eventually(lambda: "counted" in seen)
    assert current.get() is None
    placed, shipped, counted = (seen[name] for name in ("placed", "shipped", "counted"))
    assert placed.id == first and placed.traceparent == PARENT
    assert (placed.correlation_id, placed.causation_id) == (None, None)
    assert (shipped.correlation_id, shipped.causation_id) == (first, first)
    assert (counted.correlation_id, counted.causation_id) == (first, shipped.id)
    traces = [str(envelope.traceparent) for envelope in (placed, shipped, counted)]
    assert {(trace[:36], trace[-2:]) for trace in traces} == {(PARENT[:36], "01")} and len(set(traces)) == 3
    assert {envelope.tracestate for envelope in (placed, shipped, counted)} == {"congo=1"}


async def test_correlation_does_not_leak_from_one_handler_to_the_next(connect: Connect) -> None:
    """This one needs the delivery loop to set `current` around each handler."""
    app, causes, between = ev.App("shop"), dict[int, list[str | None]](), set[Envelope | None]()
    app.group("billing", concurrency=4)

    @app.subscribe(OrderPlaced, group="billing", retry=ev.Retry(attempts=2, wait_s=0.0))
    async def bill(event: OrderPlaced, delivery: ev.Delivery) -> None:
        for _ in range(3):
            handled = current.get()
            causes.setdefault(event.number, []).append(handled and handled.id)
            await asyncio.sleep(0)
        assert handled is delivery.envelope
        if event.number % 3 == 0 and delivery.attempt == 1:
            raise ValueError("once more")

    async with connect(app) as bus, bus.running(observe=lambda _: between.add(current.get())):
        ids = await bus.publish_many([OrderPlaced(number=number) for number in range(30)])
        await eventually(lambda: sum(map(len, causes.values())) == 3 * 40)
        assert current.get() is None
    assert between == {None}
    assert {number: set(found) for number, found in causes.items()} == {n: {id_} for n, id_ in enumerate(ids)}


def _envelope(delivery: ev.Delivery) -> Envelope:
    assert delivery.envelope is not None
    return delivery.envelope
