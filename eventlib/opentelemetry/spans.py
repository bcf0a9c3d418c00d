"""Traces of publishes and deliveries for OpenTelemetry.

Names and attributes follow OpenTelemetry's semantic conventions for messaging spans (version 1.43, in development).
The context travels in the envelope, by the distributed tracing extension of CloudEvents.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from eventlib import tracing
from eventlib.extras import needs_extra
from eventlib.signals import Reject, RetryAfter, Snooze

with needs_extra("opentelemetry", "eventlib.opentelemetry"):
    from opentelemetry import context as contexts
    from opentelemetry import trace
    from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_LINKS_MAX = 128  # that a span keeps by default: OTEL_SPAN_LINK_COUNT_LIMIT
_W3C = TraceContextTextMapPropagator()


class _Sending:
    def __init__(self, span: Span) -> None:
        self._span = span

    def is_about(self, message_id: str) -> None:
        self._span.set_attribute("messaging.message.id", message_id)

    def end(self, error: BaseException | None = None) -> None:
        if error is not None:
            _note_error(self._span, error)
        self._span.end()


class _Receiving:
    def __init__(self, span: Span) -> None:
        self._span = span

    def got(self, message: tracing.Message) -> None:
        self._span.set_attribute("messaging.message.id", message.id)
        for link in _links([message]):
            self._span.add_link(link.context, link.attributes)


class SpanTracer:
    """Spans by the messaging conventions."""

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    def here(self) -> tracing.TraceContext:
        carrier: dict[str, str] = {}
        _W3C.inject(carrier)
        return carrier.get("traceparent"), carrier.get("tracestate")

    @contextmanager
    def writing(self, stream: str | None, count: int, given: tracing.TraceContext) -> Iterator[_Sending]:
        links = [Link(found)] if (found := _span_context(*given)) is not None else []
        attributes = _attributes("send", "publish", stream)
        if count != 1:
            attributes["messaging.batch.message_count"] = count
        span = self._tracer.start_span(_name("publish", stream), None, SpanKind.PRODUCER, attributes, links)
        sending = _Sending(span)
        try:
            with trace.use_span(span, record_exception=False, set_status_on_exception=False):
                yield sending
        except BaseException as error:
            sending.end(error)
            raise

    @contextmanager
    def receiving(self, streams: Sequence[str], correlation_id: str) -> Iterator[_Receiving]:
        stream = streams[0] if len(streams) == 1 else None
        attributes = _attributes("receive", "receive", stream)
        attributes["messaging.message.conversation_id"] = correlation_id
        span = self._tracer.start_span(_name("receive", stream), None, SpanKind.CLIENT, attributes)
        with _current(span):
            yield _Receiving(span)

    @contextmanager
    def processing(self, deliveries: Sequence[tracing.Held]) -> Iterator[object]:
        with self._consuming("process", "process", deliveries) as span:
            yield span

    @contextmanager
    def settling(self, how: Literal["retry", "dead_letter"], delivery: tracing.Held) -> Iterator[object]:
        with self._consuming("settle", how, [delivery]) as span:
            yield span

    @contextmanager
    def _consuming(self, type_: str, name: str, deliveries: Sequence[tracing.Held]) -> Iterator[Span]:
        """A span about deliveries. About one it continues the message's trace, about several it is linked to each."""
        first = deliveries[0]
        messages = [each.envelope for each in deliveries if each.envelope is not None]
        attributes = _attributes(type_, name, first.stream)
        attributes["messaging.consumer.group.name"] = first.group
        attributes["messaging.client.id"] = first.consumer
        parent = None
        if len(deliveries) == 1:
            attributes["eventlib.attempt"] = first.attempt
            for message in messages:
                attributes["messaging.message.id"] = message.id
                if message.correlation_id is not None:
                    attributes["messaging.message.conversation_id"] = message.correlation_id
                if (found := _span_context(message.traceparent, message.tracestate)) is not None:
                    parent = trace.set_span_in_context(trace.NonRecordingSpan(found), contexts.Context())
        else:
            attributes["messaging.batch.message_count"] = len(deliveries)
        # Without one, what the consumer itself was started in is no parent either.
        parent = contexts.Context() if parent is None else parent
        links = _links(messages)
        span = self._tracer.start_span(_name(name, first.stream), parent, SpanKind.CONSUMER, attributes, links)
        with _current(span):
            yield span


@contextmanager
def _current(span: Span) -> Iterator[None]:
    """Make a span the current one, and end it with the block."""
    try:
        with trace.use_span(span, record_exception=False, set_status_on_exception=False):
            yield
    except BaseException as error:
        _note_error(span, error)
        raise
    finally:
        span.end()


def _note_error(span: Span, error: BaseException) -> None:
    """Say how it failed. What a handler asks for by a signal is no error, unless it rejects the event."""
    span.set_attribute("error.type", error_type(error))
    if isinstance(error, Snooze | RetryAfter):
        return
    span.set_status(Status(StatusCode.ERROR, error.reason if isinstance(error, Reject) else type(error).__name__))
    if isinstance(error, Exception) and not isinstance(error, Reject):
        span.record_exception(error)


def error_type(error: BaseException) -> str:
    """The value of the attribute `error.type`."""
    return f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")


def _name(operation: str, stream: str | None) -> str:
    return operation if stream is None else f"{operation} {stream}"


def _attributes(type_: str, name: str, stream: str | None) -> dict[str, Any]:
    found = {"messaging.system": "redis", "messaging.operation.type": type_, "messaging.operation.name": name}
    return found if stream is None else {**found, "messaging.destination.name": stream}


def _links(messages: Sequence[tracing.Message]) -> list[Link]:
    links = list[Link]()
    for message in messages:
        if (found := _span_context(message.traceparent, message.tracestate)) is not None:
            links.append(Link(found, {"messaging.message.id": message.id}))
    return links[:_LINKS_MAX]


def _span_context(traceparent: str | None, tracestate: str | None) -> trace.SpanContext | None:
    if traceparent is None:
        return None
    carrier: Mapping[str, str] = {"traceparent": traceparent, "tracestate": tracestate or ""}
    found = trace.get_current_span(_W3C.extract(carrier, contexts.Context())).get_span_context()
    return found if found.is_valid else None
