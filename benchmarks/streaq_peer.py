"""streaq on Redis Streams, with its best documented settings.

- `concurrency=256` and `prefetch=256`; its default of 16 is not faster.
- `ttl=0`: no result is kept, which is less work than eventlib does.
- `orjson` instead of pickle, and uvloop, which its own command uses if it is installed.
- `handle_signals=False`, because the benchmark's own process runs it.
"""

import asyncio
import logging
import time
from typing import Any

import orjson
from streaq import Worker

from benchmarks.evidence import Tally

BATCH = 500
AT_ONCE = 256


def _worker(url: str, namespace: str) -> Worker[None]:
    logging.getLogger("streaq").setLevel(logging.WARNING)
    return Worker(
        url,
        concurrency=AT_ONCE,
        prefetch=AT_ONCE,
        queue_name=namespace,
        serializer=orjson.dumps,
        deserializer=orjson.loads,
        handle_signals=False,
    )


async def handle(url: str, namespace: str, count: int) -> float:
    """Tasks handled a second."""
    return (await _run(url, namespace, count, enqueue_only=False))[1]


async def enqueue_many(url: str, namespace: str, count: int) -> float:
    """Tasks enqueued a second, 500 in a call."""
    return (await _run(url, namespace, count, enqueue_only=True))[0]


async def _run(url: str, namespace: str, count: int, *, enqueue_only: bool) -> tuple[float, float]:
    worker, tally = _worker(url, namespace), Tally(count)

    @worker.task(ttl=0, name="note")  # type: ignore[untyped-decorator]  # its types are not looked at
    async def note(number: int) -> None:
        tally.saw_number(number)

    async with worker:
        start = time.perf_counter()
        for first in range(0, count, BATCH):
            tasks: list[Any] = [note.enqueue(number) for number in range(first, min(first + BATCH, count))]
            await worker.enqueue_many(tasks)
        enqueued_per_s = count / (time.perf_counter() - start)
        if enqueue_only:
            return enqueued_per_s, 0.0
    start = time.perf_counter()
    running = asyncio.create_task(worker.run_async())
    try:
        await tally.all_once()
        return enqueued_per_s, count / (time.perf_counter() - start)
    finally:
        running.cancel()
        await asyncio.wait({running}, timeout=10.0)
