"""The library, as its README uses it: plain asyncio, typed events, retry, leases and sweeps on."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple
from unittest.mock import patch
from urllib.request import urlopen

import redis.asyncio as redis

from benchmarks.evidence import Tally
from benchmarks.openloop import Stopwatch
from benchmarks.payload import FileUploaded, event, events
from eventlib import App, Batch, Bus, Delivery, connect, tracing
from eventlib.broker.keys import Keys
from eventlib.consume.settlement import Settler
from eventlib.counts import Histogram
from eventlib.events.schema import spec_of

BATCH = 500
AT_ONCE = 1000
GROUP = "bench"


@asynccontextmanager
async def connected(app: App, url: str, namespace: str) -> AsyncIterator[Bus]:
    """A bus whose keys are all deleted at the end."""
    async with connect(app, url, namespace=namespace) as bus:
        try:
            yield bus
        finally:
            await bus.delete_all()


async def publish_many(url: str, namespace: str, count: int) -> float:
    """Events published a second, 500 in a call. They are made, and so validated, before; their encoding is timed."""
    async with connected(App("bench"), url, namespace) as bus:
        load = events(count)
        start = time.perf_counter()
        for first in range(0, count, BATCH):
            await bus.publish_many(load[first : first + BATCH])
        return count / (time.perf_counter() - start)


async def make_and_publish_many(url: str, namespace: str, count: int) -> float:
    """The same, but the time to make the events, field by field, counts too."""
    async with connected(App("bench"), url, namespace) as bus:
        start = time.perf_counter()
        for first in range(0, count, BATCH):
            await bus.publish_many([event(index) for index in range(first, min(first + BATCH, count))])
        return count / (time.perf_counter() - start)


async def publish_concurrently(url: str, namespace: str, count: int) -> float:
    """Events published a second by 1,000 calls of `publish` at once, each in its own task, again and again.

    The first thousand are not timed, because they connect, load the script and make memory grow.
    """
    async with connected(App("bench"), url, namespace) as bus:
        load = events(min(count, AT_ONCE))
        await asyncio.gather(*(bus.publish(each) for each in load))
        bursts = count // len(load)
        start = time.perf_counter()
        for _ in range(bursts):
            await asyncio.gather(*(bus.publish(each) for each in load))
        return bursts * len(load) / (time.perf_counter() - start)


async def publish_in_turn(url: str, namespace: str, count: int) -> float:
    """Events published a second, each awaited before the next. The first thousand are not timed either."""
    async with connected(App("bench"), url, namespace) as bus:
        load = events(count)
        for each in load[:AT_ONCE]:
            await bus.publish(each)
        start = time.perf_counter()
        for each in load:
            await bus.publish(each)
        return count / (time.perf_counter() - start)


def handling(tally: Tally) -> App:
    """One-event handlers: 256 run at once, and 768 more events wait for them."""
    app = App("bench")
    app.group(GROUP, concurrency=256, prefetch=768)

    @app.subscribe(FileUploaded, group=GROUP)
    async def handle(event: FileUploaded, delivery: Delivery) -> None:
        tally.saw(event)

    return app


def handling_batches(tally: Tally) -> App:
    """Batch handlers of up to 500 events."""
    app = App("bench")
    app.group(GROUP, concurrency=1, prefetch=2 * BATCH)  # batches are read while one is handled

    @app.subscribe_batch(FileUploaded, group=GROUP, size=BATCH)
    async def handle(batch: Batch[FileUploaded]) -> None:
        for each in batch.events:
            tally.saw(each)

    return app


async def handle(url: str, namespace: str, count: int) -> float:
    """Events handled a second, one in a call."""
    return (await handle_untold(url, namespace, count)).per_s


class Drained(NamedTuple):
    """How fast a backlog was handled: by the clock, and what it took of this process's processor time."""

    per_s: float
    cpu_us: float  # for each event, in all threads


async def handle_scraped(url: str, namespace: str, count: int) -> Drained:
    """The program serves its metrics, and a thread of it scrapes them once a second."""
    tally = Tally(count)
    return await _drain(url, namespace, count, tally, handling(tally), _scraped)


async def handle_uncounted(url: str, namespace: str, count: int) -> Drained:
    """No time of an event goes into a histogram. Plain counters are kept."""
    with patch.object(Histogram, "add", _nothing), patch.object(Settler, "_measure_lag", _nothing):
        return await handle_untold(url, namespace, count)


async def handle_instrumented(url: str, namespace: str, count: int) -> Drained:
    """OpenTelemetry makes metrics, no spans, and a thread of the program collects them once a second."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    from eventlib import opentelemetry

    gc.collect()
    gc.freeze()  # as `turn` does for what was imported before: the modules of the SDK are no garbage
    reader = InMemoryMetricReader()
    opentelemetry.instrument(meter_provider=MeterProvider([reader]))
    tracing.install(None)
    tally = Tally(count)
    try:
        return await _drain(url, namespace, count, tally, handling(tally), lambda _: reader.get_metrics_data)
    finally:
        opentelemetry.uninstrument()


async def handle_untold(url: str, namespace: str, count: int) -> Drained:
    """Nothing asks for metrics."""
    tally = Tally(count)
    return await _drain(url, namespace, count, tally, handling(tally))


def _nothing(*_: object) -> None: ...


async def handle_batches(url: str, namespace: str, count: int) -> float:
    """Events handled a second, up to 500 in a call."""
    tally = Tally(count)
    return (await _drain(url, namespace, count, tally, handling_batches(tally))).per_s


async def _drain(
    url: str,
    namespace: str,
    count: int,
    tally: Tally,
    app: App,
    look: Callable[[Bus], Callable[[], object]] | None = None,
) -> Drained:
    """Handle `count` events that wait. What `look` gives is called once before, since it imports, then each second."""
    async with connected(app, url, namespace) as bus, redis.Redis.from_url(url) as client, AsyncExitStack() as stack:
        await bus.publish_many(events(count))
        if look is not None:
            looking = look(bus)
            await asyncio.to_thread(looking)
            stack.callback(asyncio.create_task(_each_second(looking)).cancel)
        start, cpu_start = time.perf_counter(), time.process_time()
        async with bus.running():
            await tally.complete(client, stream_key(namespace), GROUP)
            took_s, cpu_s = time.perf_counter() - start, time.process_time() - cpu_start
            return Drained(count / took_s, cpu_s / count * 1e6)


def _scraped(bus: Bus) -> Callable[[], object]:
    url = bus.serve_health(0).url
    return lambda: urlopen(f"{url}/metrics").read()


async def _each_second(look: Callable[[], object]) -> None:
    while True:
        await asyncio.to_thread(look)
        await asyncio.sleep(1.0)


async def latency(url: str, namespace: str) -> tuple[float, float, float]:
    """End-to-end latency: p50, p99, lateness of the load; milliseconds."""
    stopwatch = Stopwatch()
    app = App("bench")

    @app.subscribe(FileUploaded, group=GROUP)
    async def handle(event: FileUploaded, delivery: Delivery) -> None:
        stopwatch.saw(event)

    async with connected(app, url, namespace) as bus, bus.running():
        await stopwatch.drive(bus.publish)
    return stopwatch.figures_ms()


def stream_key(namespace: str) -> str:
    """The key of the stream that the events are in."""
    return Keys(namespace).stream(spec_of(FileUploaded).stream)
