"""Traces and metrics for OpenTelemetry. `instrument()` turns them on for the whole process.

Without it, nothing of OpenTelemetry is imported, and none of it costs anything.
"""

from weakref import WeakKeyDictionary

from eventlib import measuring, tracing
from eventlib.extras import needs_extra
from eventlib.health import probes
from eventlib.opentelemetry.metrics import OpenTelemetryMeter
from eventlib.opentelemetry.spans import SpanTracer

with needs_extra("opentelemetry", "eventlib.opentelemetry"):
    from opentelemetry import metrics, trace

__all__ = ["instrument", "uninstrument"]

# A provider makes each instrument once, and reads it from the meter that made it. So each provider keeps its meter.
_meters: "WeakKeyDictionary[metrics.MeterProvider, OpenTelemetryMeter]" = WeakKeyDictionary()


def instrument(
    tracer_provider: "trace.TracerProvider | None" = None, meter_provider: "metrics.MeterProvider | None" = None
) -> None:
    """Make spans and metrics of what every bus of this process publishes, requests, handles and settles.

    Without a provider, it is the global one, which may be set later; where a program sets none, nothing is made.
    Calling it again replaces the providers.
    """
    uninstrument()
    tracing.install(SpanTracer(trace.get_tracer("eventlib", tracer_provider=tracer_provider)))
    provider = meter_provider or metrics.get_meter_provider()
    if (meter := _meters.get(provider)) is None:
        meter = _meters[provider] = OpenTelemetryMeter(provider.get_meter("eventlib"))
    measuring.install(meter)
    probes.when_closed = meter.keep


def uninstrument() -> None:
    """Make no more spans and metrics. What is under way ends."""
    tracing.install(None)
    measuring.install(None)
    probes.when_closed = None
