"""The library's task queue: no-op tasks whose only argument is a number, as those of the peers."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import redis.asyncio as redis

from benchmarks.evidence import Tally
from benchmarks.library import connected
from benchmarks.payload import FileUploaded, events
from eventlib import App, Bus, Task
from eventlib.broker.keys import Keys
from eventlib.broker.tasks import TaskCommands

BATCH = 500


async def handle_events(url: str, namespace: str, count: int) -> float:
    """The same, where the argument is the event that the other benchmarks send."""
    app, tally = App("bench"), Tally(count)
    app.queue("default", concurrency=256)

    @app.task()
    async def handle_one(event: FileUploaded) -> None:
        tally.saw(event)

    async with connected(app, url, namespace) as bus, redis.Redis.from_url(url) as client:
        await bus.tasks.enqueue_many([handle_one.call(each) for each in events(count)])
        start = time.perf_counter()
        async with bus.running():
            await tally.complete(client, Keys(namespace).group("tasks.default", "workers").retry, "workers")
            return count / (time.perf_counter() - start)


def declared(tally: Tally) -> tuple[App, Task[[int], None]]:
    """An App with one task. As many run at once as in the peers."""
    app = App("bench")
    app.queue("default", concurrency=256)

    @app.task()
    async def note(number: int) -> None:
        tally.saw_number(number)

    return app, note


async def handle(url: str, namespace: str, count: int) -> float:
    """Tasks handled a second, results and records kept."""
    tally = Tally(count)
    app, note = declared(tally)
    async with connected(app, url, namespace) as bus:
        await bus.tasks.enqueue_many([note.call(number) for number in range(count)])
        start = time.perf_counter()
        async with bus.running():
            await tally.all_once()
            while (await bus.queue_health()).running:  # noqa: ASYNC110 - the last acknowledgements
                await asyncio.sleep(0.001)
            return count / (time.perf_counter() - start)


async def enqueue_many(url: str, namespace: str, count: int) -> float:
    """Tasks enqueued a second, 500 in a call, with the time to validate their arguments."""
    app, note = declared(Tally(count))
    async with connected(app, url, namespace) as bus:
        start = time.perf_counter()
        for first in range(0, count, BATCH):
            last = min(first + BATCH, count)
            await bus.tasks.enqueue_many([note.call(number) for number in range(first, last)])
        return count / (time.perf_counter() - start)


async def promotion_us(url: str, namespace: str, waiting: int, moved: int = 2000) -> float:
    """Microseconds of the server for each delayed task that becomes due, beside `waiting` others that do not."""
    app, note = declared(Tally(1))
    async with connected(app, url, namespace) as bus:
        for first in range(0, waiting, 5 * BATCH):
            calls = [note.call(number) for number in range(first, min(first + 5 * BATCH, waiting))]
            await bus.tasks.enqueue_many(calls, delay_s=86_400.0)
        await bus.tasks.enqueue_many([note.call(number) for number in range(moved)], delay_s=0.001)
        await asyncio.sleep(0.01)
        promote = _promote(bus)
        start = time.perf_counter()
        while await promote():
            pass
        return (time.perf_counter() - start) / moved * 1e6


def _promote(bus: Bus) -> Callable[[], Awaitable[int]]:
    commands = TaskCommands(bus._broker, "default", "bench", [2], {})

    async def promote() -> int:
        return (await commands.promote(100)).moved

    return promote
