"""redis-py alone: it sends the same bytes as eventlib, made beforehand, and does not look into them.

- A pipeline of XADD. Settings: hiredis, no transaction, and as many commands in a pipeline as eventlib sends bodies in
  a batch (500; 100 and 2,000 were not faster).
- The lowest possible latency: XADD on one bare connection, and a blocking XREADGROUP on another.

Nothing is validated, numbered, protected against a lost reply, retried or acknowledged.
"""

import asyncio
import time
from contextlib import suppress

import redis.asyncio as redis

from benchmarks.openloop import COUNT, Stopwatch
from benchmarks.payload import FileUploaded, body, events, number

BATCH = 500


async def pipeline(url: str, namespace: str, count: int) -> float:
    """Events published a second."""
    stream = f"{namespace}:raw"
    async with redis.Redis.from_url(url) as client:
        bodies = [body(event) for event in events(count)]
        try:
            start = time.perf_counter()
            for first in range(0, count, BATCH):
                batch = client.pipeline(transaction=False)
                for each in bodies[first : first + BATCH]:
                    batch.xadd(stream, {"event": each})
                await batch.execute()
            return count / (time.perf_counter() - start)
        finally:
            await client.unlink(stream)


async def latency(url: str, namespace: str) -> tuple[float, float, float]:
    """Latency from the publish to the end of the read: p50, p99, lateness of the load; milliseconds."""
    stream, stopwatch, sent = f"{namespace}:raw", Stopwatch(), list[FileUploaded]()
    bodies, turn = [body(event) for event in events(COUNT)], asyncio.Lock()
    client = redis.Redis.from_url(url, socket_timeout=None)
    pool = client.connection_pool
    writing, reading = [await pool.get_connection() for _ in range(2)]  # type: ignore[no-untyped-call]  # redis-py

    async def publish(event: FileUploaded) -> None:
        async with turn:  # after a stall, several publishes come at once
            sent.append(event)
            await writing.send_command("XADD", stream, "*", "event", bodies[number(event)])
            await writing.read_response()

    async def read() -> None:
        seen = 0
        while True:
            await reading.send_command("XREADGROUP", "GROUP", "g", "c", "BLOCK", 5000, "STREAMS", stream, ">")
            found = await reading.read_response()
            [(_, entries)] = found.items() if isinstance(found, dict) else found
            for event in sent[
                seen : seen + len(entries)
            ]:  # with one writer, they come in the order in which they were sent
                stopwatch.saw(event)
            seen += len(entries)

    try:
        await client.xgroup_create(stream, "g", "0", mkstream=True)
        reader = asyncio.create_task(read())
        try:
            await stopwatch.drive(publish)
        finally:
            reader.cancel()
            with suppress(asyncio.CancelledError):
                await reader
        return stopwatch.figures_ms()
    finally:
        await pool.release(writing)
        await pool.disconnect()
        await client.unlink(stream)
        await client.aclose()
