"""Latency under an open-loop load: from the time at which an event is due to be sent until its handler begins.

The load does not wait: while a publish is slow, the next one is sent beside it. An event that was sent late counts from
the time at which it was due. So a stall shows in every event that it delayed.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

import numpy as np

from benchmarks.evidence import NotDone
from benchmarks.payload import FileUploaded, events, number

COUNT = 350  # events in one turn
RATE_PER_S = 100.0
_WARM_UP = 50  # the first half second is not counted, because connections are made and scripts are loaded
_SPIN_S = 0.002  # asyncio's timers are only exact to a millisecond
_BUSY_S = 0.0002  # the last wait is without the event loop: one turn of it may take a good part of the latency
_LAST_S = 10.0

Publish = Callable[[FileUploaded], Awaitable[object]]


class Stopwatch:
    """Sends events at a steady rate and notes when their handlers begin."""

    def __init__(self) -> None:
        self._due_s = np.zeros(COUNT)
        self._sent_s = np.zeros(COUNT)
        self._begun_s = np.zeros(COUNT)
        self._left = COUNT
        self._all = asyncio.Event()

    def saw(self, event: FileUploaded) -> None:
        """Note an event. The handler calls this first."""
        self._begun_s[number(event)] = time.perf_counter()
        self._left -= 1
        if self._left == 0:
            self._all.set()

    async def drive(self, publish: Publish) -> None:
        """Publish all events, each at its time, and wait until they were handled.

        Raises:
            NotDone: not all events were handled.
        """
        load = events(COUNT)
        start_s = time.perf_counter() + 0.01
        async with asyncio.TaskGroup() as sending:
            for index, event in enumerate(load):
                self._due_s[index] = due_s = start_s + index / RATE_PER_S
                await _until(due_s)
                self._sent_s[index] = time.perf_counter()
                sending.create_task(_send(publish, event))
        try:
            async with asyncio.timeout(_LAST_S):
                await self._all.wait()
        except TimeoutError:
            raise NotDone(f"{self._left} of {COUNT} events were never handled") from None

    def figures_ms(self) -> tuple[float, float, float]:
        """Latency p50 and p99, and how late the load itself was at p99, in milliseconds."""
        latency_ms = (self._begun_s - self._due_s)[_WARM_UP:] * 1000.0
        late_ms = (self._sent_s - self._due_s)[_WARM_UP:] * 1000.0
        p50, p99 = np.percentile(latency_ms, [50, 99])
        return float(p50), float(p99), float(np.percentile(late_ms, 99))


async def _send(publish: Publish, event: FileUploaded) -> None:
    await publish(event)


async def _until(due_s: float) -> None:
    if (rest_s := due_s - time.perf_counter()) > _SPIN_S:
        await asyncio.sleep(rest_s - _SPIN_S)
    await asyncio.sleep(0)  # at every rate, the publishes under way get their turn
    while time.perf_counter() < due_s - _BUSY_S:  # noqa: ASYNC110 - it waits for a time, not for an event
        await asyncio.sleep(0)
    while time.perf_counter() < due_s:
        pass
