"""The library beside raw redis-py doing the same to the same bytes."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import redis.asyncio as redis

from eventlib import App, Bus, Delivery, connect
from eventlib.envelope import encode, seal
from sim.validate import FileUploaded, file_uploaded

COUNT = 20_000
BATCH = 500
Benchmark = tuple[str, Callable[[], float], Callable[[], float], str]


def benchmarks(url: str) -> list[Benchmark]:
    """(name, ours, peer, unit) of each; calling one measures it once."""
    return [
        ("publish_many / redis-py pipeline", _on(url, _publish_many), _raw(url, _pipeline), "events/s"),
        ("concurrent publish / one at a time", _on(url, _publish_concurrently), _on(url, _publish_in_turn), "events/s"),
        ("handle / redis-py read and ack", _on(url, _handle), _raw(url, _read_and_ack), "events/s"),
    ]


def _on(url: str, measure: Callable[[Bus], Awaitable[float]]) -> Callable[[], float]:
    async def run() -> float:
        async with connect(App("bench"), url, namespace="bench") as bus:
            try:
                return await measure(bus)
            finally:
                await bus.delete_all()

    return lambda: asyncio.run(run())


def _raw(url: str, measure: Callable[["redis.Redis"], Awaitable[float]]) -> Callable[[], float]:
    async def run() -> float:
        client = redis.Redis.from_url(url)
        try:
            return await measure(client)
        finally:
            await client.delete("raw")
            await client.aclose()

    return lambda: asyncio.run(run())


async def _publish_many(bus: Bus) -> float:
    events = [file_uploaded(index) for index in range(COUNT)]
    start = time.perf_counter()
    for first in range(0, COUNT, BATCH):
        await bus.publish_many(events[first : first + BATCH])
    return COUNT / (time.perf_counter() - start)


async def _pipeline(client: "redis.Redis") -> float:
    bodies = [encode(seal(file_uploaded(index), "bench", None, None)) for index in range(COUNT)]
    start = time.perf_counter()
    for first in range(0, COUNT, BATCH):
        pipeline = client.pipeline(transaction=False)
        for body in bodies[first : first + BATCH]:
            pipeline.xadd("raw", {"event": body})
        await pipeline.execute()
    return COUNT / (time.perf_counter() - start)


async def _publish_concurrently(bus: Bus) -> float:
    events = [file_uploaded(index) for index in range(1000)]
    start = time.perf_counter()
    await asyncio.gather(*(bus.publish(event) for event in events))
    return len(events) / (time.perf_counter() - start)


async def _publish_in_turn(bus: Bus) -> float:
    events = [file_uploaded(index) for index in range(1000)]
    start = time.perf_counter()
    for event in events:
        await bus.publish(event)
    return len(events) / (time.perf_counter() - start)


async def _handle(bus: Bus) -> float:
    """Validated, handled one by one, acknowledged, retry and leases on."""
    done = asyncio.Event()
    handled = 0
    bus.app.group("bench", concurrency=256, prefetch=256)

    @bus.app.subscribe(FileUploaded, group="bench")
    async def handle(event: FileUploaded, delivery: Delivery) -> None:
        nonlocal handled
        handled += 1
        if handled == COUNT:
            done.set()

    await bus.publish_many([file_uploaded(index) for index in range(COUNT)])
    start = time.perf_counter()
    async with bus.running():
        await done.wait()
        while (await bus.backlog("files", "bench")).total:  # noqa: ASYNC110 - only the server knows
            await asyncio.sleep(0.001)
        return COUNT / (time.perf_counter() - start)


async def _read_and_ack(client: "redis.Redis") -> float:
    """The least that at-least-once needs: read 500, acknowledge 500; nothing decoded, nothing handled."""
    body = encode(seal(file_uploaded(0), "bench", None, None))
    pipeline = client.pipeline(transaction=False)
    for _ in range(COUNT):
        pipeline.xadd("raw", {"event": body})
    await pipeline.execute()
    await client.xgroup_create("raw", "bench", "0")
    start = time.perf_counter()
    read: Any = client.xreadgroup  # its annotation covers every protocol's reply at once
    while reply := await read("bench", "one", {"raw": ">"}, count=BATCH):
        await client.xack("raw", "bench", *(id_ for id_, _ in reply[0][1]))
    return COUNT / (time.perf_counter() - start)
