"""redis-py alone: a pipeline of XADD that sends the bytes we send, made beforehand, and knows nothing of them.

Settings: hiredis, no transaction, as many commands a pipeline as we send bodies a batch (500; 100 and 2,000 were no
faster). Nothing is validated, numbered or made safe against a lost reply.
"""

import time

import redis.asyncio as redis

from benchmarks.payload import body, events

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
