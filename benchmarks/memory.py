"""Memory of a consumer while a large backlog drains. It is a process of its own, sampled ten times a second.

Flat means that the fitted line grows by less than ten megabytes in a million events. That is ten bytes for each event,
less than the smallest Python object.
"""

import asyncio
import sys
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import psutil
import redis.asyncio as redis

from benchmarks.evidence import Tally
from benchmarks.library import BATCH, GROUP, connected, handling, stream_key
from benchmarks.payload import event
from eventlib import App, connect

GROWTH_MB_MAX = 10.0
_PRELOAD = 10 * BATCH
_EVERY_S = 0.1
_SETTLED = 0.1  # buffers, caches and arenas reach their size within the first tenth of the events


class Memory(NamedTuple):
    """Resident memory of the consumer, in MB."""

    start: float
    max: float
    end: float
    slope: float  # growth in a million events, by a line through all samples after the first tenth
    drained_per_s: float


async def measure(url: str, namespace: str, count: int, progress: Callable[[float], None]) -> Memory:
    """Publish `count` events, drain them in another process, and delete them. `progress` is called with shares of 1."""
    async with connected(App("bench"), url, namespace) as bus:
        for first in range(0, count, _PRELOAD):
            await bus.publish_many([event(index) for index in range(first, min(first + _PRELOAD, count))])
            progress(0.4 * first / count)
        command = (sys.executable, "-m", "benchmarks.memory", url, namespace, str(count))
        drain = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        try:
            assert drain.stdout is not None
            samples = []
            async for line in drain.stdout:
                seconds, handled, megabytes = map(float, line.split())
                samples.append((seconds, handled, megabytes))
                progress(0.4 + 0.6 * handled / count)
            if await drain.wait() or not samples or samples[-1][1] != count:
                raise RuntimeError(f"the draining process ended early, with status {drain.returncode}")
        finally:
            if drain.returncode is None:
                drain.kill()
                await drain.wait()
    return summary(samples)


def summary(samples: Iterable[tuple[float, float, float]]) -> Memory:
    """The memory figures of samples: (seconds, events handled, MB)."""
    seconds, handled, megabytes = np.array(list(samples)).T
    steady = handled >= _SETTLED * handled[-1]
    varied = len(set(handled[steady])) > 1  # else no line can be fitted
    slope = np.polyfit(handled[steady] / 1e6, megabytes[steady], 1)[0] if varied else 0.0
    per_s = handled[-1] / (seconds[-1] - seconds[0])
    return Memory(megabytes[0], megabytes.max(), megabytes[-1], float(slope), per_s)


async def _drain(url: str, namespace: str, count: int) -> None:
    tally = Tally(count)
    me = psutil.Process()

    def sample() -> None:
        sys.stdout.write(f"{time.perf_counter()} {tally.handled} {me.memory_info().rss / 1e6}\n")
        sys.stdout.flush()

    async def sampling() -> None:
        while True:
            sample()
            await asyncio.sleep(_EVERY_S)

    async with connect(handling(tally), url, namespace=namespace) as bus, redis.Redis.from_url(url) as client:
        sampler = asyncio.create_task(sampling())
        async with bus.running():
            await tally.complete(client, stream_key(namespace), GROUP)
        sampler.cancel()
        sample()


if __name__ == "__main__":
    asyncio.run(_drain(sys.argv[1], sys.argv[2], int(sys.argv[3])))
