"""FastStream on Redis Streams, with its best documented settings.

- `StreamSub(group=, consumer=)`: a consumer group, so that unacknowledged entries are kept. `no_ack` stays off.
- `AckPolicy.REJECT_ON_ERROR`: its default for streams. A handler that returns is acknowledged with XACK.
- `max_records=500`: entries in a read, or in a batch. 100 and 1,000 are not faster if one event is handled in a call.
  For batches they are within the noise of 500, which is also eventlib's batch.
- `polling_interval=1000`: how long a read blocks. The default of 100 ms only reads more often.
- `max_workers` stays 1: 4, 16 and 64 were each slower by a sixth with a handler that does not wait.
- `logger=None`: no access log, which writes a line for each event.
- uvloop, which its command line uses if it is installed: it gains a fifth or more if one event is handled in a call.
- orjson, which it uses for JSON if it is installed: it gains as much for batches.
- A backlog is published through its `pipeline=`.
"""

import time
from collections.abc import Callable
from typing import Any

import redis.asyncio as redis
from faststream import AckPolicy
from faststream.redis import RedisBroker, StreamSub

from benchmarks.evidence import Tally
from benchmarks.openloop import Stopwatch
from benchmarks.payload import FileUploaded, events

BATCH = 500
GROUP = "bench"


async def handle(url: str, namespace: str, count: int) -> float:
    """Events handled a second, one a call."""
    tally = Tally(count)

    async def handle(event: FileUploaded) -> None:
        tally.saw(event)

    return await _drain(url, namespace, count, tally, handle, batch=False)


async def handle_batches(url: str, namespace: str, count: int) -> float:
    """Events handled a second, up to 500 a call."""
    tally = Tally(count)

    async def handle(batch: list[FileUploaded]) -> None:
        for event in batch:
            tally.saw(event)

    return await _drain(url, namespace, count, tally, handle, batch=True)


async def _drain(
    url: str, namespace: str, count: int, tally: Tally, handler: Callable[..., Any], *, batch: bool
) -> float:
    stream = f"{namespace}:faststream"
    async with redis.Redis.from_url(url) as client:
        try:
            await _preload(url, stream, count, client)
            broker = subscribed(url, stream, handler, batch=batch)
            start = time.perf_counter()
            await broker.start()
            try:
                await tally.complete(client, stream, GROUP)
                return count / (time.perf_counter() - start)
            finally:
                await broker.stop()
        finally:
            await client.unlink(stream)


async def latency(url: str, namespace: str) -> tuple[float, float, float]:
    """End-to-end latency: p50, p99, lateness of the load; milliseconds."""
    stream = f"{namespace}:faststream"
    stopwatch = Stopwatch()

    async def handle(event: FileUploaded) -> None:
        stopwatch.saw(event)

    async with redis.Redis.from_url(url) as client:
        try:
            await client.xgroup_create(stream, GROUP, "0", mkstream=True)
            broker = subscribed(url, stream, handle, batch=False)
            await broker.start()
            try:
                await stopwatch.drive(lambda event: broker.publish(event, stream=stream))
            finally:
                await broker.stop()
        finally:
            await client.unlink(stream)
    return stopwatch.figures_ms()


async def _preload(url: str, stream: str, count: int, client: redis.Redis) -> None:
    """Fill the stream and create the group at its start. FastStream itself would create it at the stream's end."""
    broker = RedisBroker(url, logger=None)
    await broker.connect()
    load = events(count)
    for first in range(0, count, BATCH):
        async with client.pipeline(transaction=False) as pipeline:
            for event in load[first : first + BATCH]:
                await broker.publish(event, stream=stream, pipeline=pipeline)
            await pipeline.execute()
    await broker.stop()
    await client.xgroup_create(stream, GROUP, "0")


def subscribed(url: str, stream: str, handler: Callable[..., Any], *, batch: bool) -> Any:
    """A broker with that handler in the group. It consumes after its `start` was called."""
    broker = RedisBroker(url, logger=None)
    where = StreamSub(stream, group=GROUP, consumer="one", max_records=BATCH, polling_interval=1000, batch=batch)
    broker.subscriber(stream=where, ack_policy=AckPolicy.REJECT_ON_ERROR)(handler)
    return broker
