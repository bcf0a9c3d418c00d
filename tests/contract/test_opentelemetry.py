"""One trace from a publish through handlers, retries, dead letters, tasks, requests and sagas, on a real server."""

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from pydantic import BaseModel

import eventlib as ev
from eventlib import opentelemetry, tracing
from eventlib.testing import eventually
from tests.shop import AT_ONCE, Connect, OrderPlaced, OrderShipped, nothing_left, orders

pytestmark = pytest.mark.one_server  # what is tested is the client's own side


class Spans:
    """What was exported, and a tracer for the spans of the program itself."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = self.provider.get_tracer("test")

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self._exporter.get_finished_spans() if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        [found] = self.named(name)
        return found

    @property
    def names(self) -> list[str]:
        return [span.name for span in self._exporter.get_finished_spans()]

    @property
    def traces(self) -> set[int]:
        return {of(span).trace_id for span in self._exporter.get_finished_spans()}


def of(span: ReadableSpan) -> Any:
    return span.get_span_context()


def about(span: ReadableSpan) -> dict[str, Any]:
    return {name.removeprefix("messaging."): value for name, value in (span.attributes or {}).items()}


def is_child(span: ReadableSpan, parent: ReadableSpan) -> bool:
    return span.parent is not None and span.parent.span_id == of(parent).span_id


def linked(span: ReadableSpan) -> set[int]:
    return {link.context.span_id for link in span.links}


@pytest.fixture
def spans() -> Iterator[Spans]:
    made = Spans()
    opentelemetry.instrument(made.provider)
    yield made
    opentelemetry.uninstrument()
    assert tracing.active is None


async def test_an_event_and_what_its_handler_publishes_are_one_trace(connect: Connect, spans: Spans) -> None:
    app = ev.App("shop")

    @app.subscribe(OrderPlaced, group="billing")
    async def bill(event: OrderPlaced, delivery: ev.Delivery) -> None:
        with spans.tracer.start_as_current_span("bank"):
            await delivery.bus.publish(OrderShipped(number=event.number))

    async with connect(app) as bus, bus.running(consumer="c1"):
        with spans.tracer.start_as_current_span("checkout"):
            event_id = await bus.publish(OrderPlaced(number=1), correlation_id="C1")
        await eventually(lambda: len(spans.named("process orders")) == 1)
    sent, shipped = sorted(spans.named("publish orders"), key=lambda span: span.start_time or 0)
    handled = spans.one("process orders")
    assert is_child(sent, spans.one("checkout")) and is_child(handled, sent) and is_child(shipped, spans.one("bank"))
    assert is_child(spans.one("bank"), handled) and len(spans.traces) == 1
    assert (sent.kind, handled.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    assert linked(handled) == {of(sent).span_id}
    assert about(sent) == {
        "system": "redis",
        "operation.type": "send",
        "operation.name": "publish",
        "destination.name": "orders",
        "message.id": event_id,
    }
    assert about(handled) == {
        "system": "redis",
        "operation.type": "process",
        "operation.name": "process",
        "destination.name": "orders",
        "consumer.group.name": "billing",
        "client.id": "c1",
        "message.id": event_id,
        "message.conversation_id": "C1",
        "eventlib.attempt": 1,
    }


async def test_a_batch_is_linked_to_each_of_its_events(connect: Connect, spans: Spans) -> None:
    app = ev.App("shop")

    @app.subscribe_batch(OrderPlaced, group="billing", size=10)
    async def bill(_: ev.Batch[OrderPlaced]) -> None: ...

    async with connect(app) as bus:
        for number in range(3):
            await bus.publish(OrderPlaced(number=number))
        await bus.publish_many(orders(3, 4))
        async with bus.running():
            await eventually(lambda: nothing_left(bus))
    handled = spans.one("process orders")
    sent = spans.named("publish orders")
    assert linked(handled) == {of(span).span_id for span in sent} and len(sent) == 4
    assert len(handled.links) == 5 and handled.parent is None
    assert (about(sent[-1])["batch.message_count"], about(handled)["batch.message_count"]) == (2, 5)


async def test_what_is_published_without_a_tracer_is_published_with_one(connect: Connect, spans: Spans) -> None:
    async with connect(ev.App("shop")) as bus:
        generated: Any = (each for each in orders(1, 2))  # no list, as the signature asks for
        assert len(await bus.publish_many(generated)) == 2
        assert (await bus.backlog("orders", "billing")).waiting == 2
    assert about(spans.one("publish orders"))["batch.message_count"] == 2


async def test_attempts_the_dead_letter_and_its_replay_are_in_the_trace(connect: Connect, spans: Spans) -> None:
    app, fails = ev.App("shop"), [True]

    @app.subscribe(OrderPlaced, group="billing", retry=AT_ONCE)
    async def bill(_: OrderPlaced, __: ev.Delivery) -> None:
        if fails:
            raise ConnectionError("the bank does not answer")

    async with connect(app) as bus, bus.running():
        await bus.publish(OrderPlaced(number=1))
        await eventually(lambda: bus.dead_letters("orders", "billing").find())
        fails.clear()
        await bus.dead_letters("orders", "billing").replay(ev.Selection())
        await eventually(lambda: len(spans.named("process orders")) == 4)
    sent = spans.one("publish orders")
    attempts = spans.named("process orders")
    assert len(spans.traces) == 1 and all(is_child(span, sent) for span in attempts)
    assert [about(span)["eventlib.attempt"] for span in attempts] == [1, 2, 3, 1]
    assert [span.status.status_code for span in attempts] == [StatusCode.ERROR] * 3 + [StatusCode.UNSET]
    assert {about(span).get("error.type") for span in attempts[:3]} == {"ConnectionError"}
    assert all(is_child(span, sent) for span in (*spans.named("retry orders"), spans.one("dead_letter orders")))
    assert len(spans.named("retry orders")) == 2


async def test_a_task_a_request_and_its_reply_each_are_one_trace(connect: Connect, spans: Spans) -> None:
    app = ev.App("shop")

    @app.task()
    async def send_receipt(number: int) -> int:
        return number

    @app.subscribe(OrderPlaced, group="billing")
    async def ship(event: OrderPlaced, delivery: ev.Delivery) -> None:
        await delivery.bus.publish(OrderShipped(number=event.number))

    async with connect(app) as bus, bus.running():
        with spans.tracer.start_as_current_span("checkout"):
            handle = await bus.enqueue(send_receipt)(1)
            assert await handle.result(timeout_s=30.0) == 1
            await bus.request(OrderPlaced(number=1), OrderShipped, timeout_s=30.0)
        await eventually(lambda: len(spans.named("process orders")) == 1)
    assert is_child(spans.one("process tasks.default"), spans.one("publish tasks.default"))
    request, reply = sorted(spans.named("publish orders"), key=lambda span: span.start_time or 0)
    received = spans.one("receive orders")
    assert is_child(received, spans.one("checkout")) and is_child(request, received)
    assert is_child(spans.one("process orders"), request) and is_child(reply, spans.one("process orders"))
    assert linked(received) == {of(reply).span_id} and len(spans.traces) == 1


class Number(BaseModel):
    number: int


async def test_the_steps_of_a_saga_and_what_they_emit_are_one_trace(connect: Connect, spans: Spans) -> None:
    app = ev.App("shop")

    async def reserve(context: ev.SagaContext[Number]) -> None:
        context.emit(OrderShipped(number=context.input.number))

    async def pay(_: ev.SagaContext[Number]) -> None: ...

    order = app.saga("order", ev.Step(reserve, undo=pay), ev.Step(pay), input=Number)
    got = list[str]()

    @app.subscribe(OrderShipped, group="billing")
    async def note(_: OrderShipped, delivery: ev.Delivery) -> None:
        got.append(delivery.event_id)

    async with connect(app) as bus, bus.running():
        with spans.tracer.start_as_current_span("checkout"):
            await bus.sagas(order).wait(await bus.start(order, Number(number=1)), timeout_s=30.0)
        await eventually(lambda: got and spans.named("process orders"))
    assert len(spans.traces) == 1, spans.names
    started = spans.one("publish saga.order")
    first, *others = sorted(spans.named("process saga.order"), key=lambda span: span.start_time or 0)
    assert is_child(first, started) and len(others) >= 2
    assert all(is_child(span, first) for span in others[:2]), "the next step, and the message about what was emitted"
    assert is_child(spans.one("process orders"), first)


async def test_without_a_tracer_nothing_is_made_and_what_was_given_is_kept(connect: Connect, spans: Spans) -> None:
    given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    app, got = ev.App("shop"), list[str | None]()

    @app.subscribe(OrderPlaced, group="billing")
    async def bill(_: OrderPlaced, delivery: ev.Delivery) -> None:
        got.append(delivery.envelope.traceparent if delivery.envelope else None)

    async with connect(app) as bus, bus.running():
        await bus.publish(OrderPlaced(number=1), traceparent=given)
        await eventually(lambda: got)
        assert got == [given] and linked(spans.one("publish orders")) == {0x00F067AA0BA902B7}
        await eventually(lambda: spans.named("process orders"))
        opentelemetry.uninstrument()
        before = spans.names
        await bus.publish(OrderPlaced(number=2))
        await eventually(lambda: len(got) == 2)
        assert got[1] is None and spans.names == before


async def test_a_publish_that_fails_is_an_error_of_its_span(connect: Connect, spans: Spans) -> None:
    no_number: Any = "\ud800"
    async with connect(ev.App("shop")) as bus:
        with pytest.raises(ev.InvalidArgument):
            await bus.publish(OrderPlaced(number=1), id="no good id")
        with pytest.raises(ev.InvalidArgument):
            await bus.publish(OrderPlaced.model_construct(number=no_number))
    failed = spans.one("publish orders")
    assert failed.status.status_code is StatusCode.ERROR
    assert about(failed)["error.type"] == "eventlib.errors.InvalidArgument"
