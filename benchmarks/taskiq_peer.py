"""taskiq on Redis Streams (taskiq-redis), with its best documented settings.

- `RedisStreamBroker` with a consumer group whose id is "0", so that a backlog is not skipped.
- `unacknowledged_lock_timeout`: without it, a lock that a stopped worker held is never released.
- `max_connection_pool_size` above `max_async_tasks`: every task acknowledges on its own connection. With fewer
  connections, tasks wait for one another.
- `max_async_tasks=16, max_prefetch=16`: 1 and the default of 100 are not faster.
- `AcknowledgeType.WHEN_EXECUTED`: a task is acknowledged after it ran. Without a result backend, no result is saved.
- `validate_params` is on, its default. Unlike the other two, taskiq hands over arguments that do not fit unchanged.
- `ORJSONSerializer`, and uvloop, which its worker uses if it is installed. No log, which writes a line for each task.
"""

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor

import redis.asyncio as redis
from taskiq.acks import AcknowledgeType
from taskiq.receiver import Receiver
from taskiq.serializers import ORJSONSerializer
from taskiq_redis import RedisStreamBroker

from benchmarks.evidence import Tally
from benchmarks.payload import FileUploaded, events

GROUP = "bench"
TASKS = 16


async def publish_in_turn(url: str, namespace: str, count: int) -> float:
    """Tasks published a second, each awaited before the next."""
    return (await _publish_and_handle(url, namespace, count, publish_only=True))[0]


async def handle(url: str, namespace: str, count: int) -> float:
    """Tasks handled a second."""
    return (await _publish_and_handle(url, namespace, count, publish_only=False))[1]


async def _publish_and_handle(url: str, namespace: str, count: int, *, publish_only: bool) -> tuple[float, float]:
    logging.getLogger("taskiq").setLevel(logging.WARNING)
    stream = f"{namespace}:taskiq"
    tally = Tally(count)

    async def handle(event: FileUploaded) -> None:
        tally.saw(event)

    broker = RedisStreamBroker(
        url,
        queue_name=stream,
        consumer_group_name=GROUP,
        consumer_id="0",
        unacknowledged_lock_timeout=30.0,
        max_connection_pool_size=2 * TASKS,
    ).with_serializer(ORJSONSerializer())
    task = broker.register_task(handle, task_name="bench.handle")
    async with redis.Redis.from_url(url) as client:
        try:
            await broker.startup()
            load = events(count)
            start = time.perf_counter()
            for event in load:
                await task.kiq(event)
            published_per_s = count / (time.perf_counter() - start)
            return published_per_s, 0.0 if publish_only else await _drain(broker, client, stream, count, tally)
        finally:
            await broker.shutdown()
            await client.unlink(stream, f"autoclaim:{GROUP}:{stream}")


async def _drain(broker: RedisStreamBroker, client: redis.Redis, stream: str, count: int, tally: Tally) -> float:
    broker.is_worker_process = True
    finish = asyncio.Event()
    with ThreadPoolExecutor(1) as threads:  # for tasks that are not coroutines; there are none
        receiver = Receiver(
            broker,
            executor=threads,
            max_async_tasks=TASKS,
            max_prefetch=TASKS,
            run_startup=False,
            ack_type=AcknowledgeType.WHEN_EXECUTED,
        )
        start = time.perf_counter()
        listening = asyncio.create_task(receiver.listen(finish))
        try:
            await tally.complete(client, stream, GROUP)
            return count / (time.perf_counter() - start)
        finally:
            finish.set()
            await asyncio.wait({listening}, timeout=10.0)
            listening.cancel()
