"""Requests and their replies: one service and its callers on one bus, as the library's delivery is measured."""

import asyncio
import time

from benchmarks.evidence import NotDone
from benchmarks.library import connected
from benchmarks.openloop import Stopwatch
from benchmarks.payload import FileUploaded, events, number
from eventlib import App, Bus, Delivery, Event

_TIMEOUT_S = 60.0
_WARM_UP = 200  # requests that are not timed: connections are made and scripts are loaded


class FileStored(Event, type="file.stored", version=1, stream="stored"):
    number: int


def service() -> App:
    """An App that replies to each file event with its number."""
    app = App("bench")
    app.group("bench", concurrency=256, prefetch=768)

    @app.subscribe(FileUploaded, group="bench")
    async def store(event: FileUploaded, delivery: Delivery) -> None:
        await delivery.bus.publish(FileStored(number=number(event)))

    return app


async def round_trip(url: str, namespace: str) -> tuple[float, float, float]:
    """From the time at which a request is due until its caller has the reply: p50, p99, lateness; milliseconds."""
    stopwatch = Stopwatch()
    async with connected(service(), url, namespace) as bus, bus.running():

        async def ask(event: FileUploaded) -> None:
            await _ask(bus, event)
            stopwatch.saw(event)

        await stopwatch.drive(ask)
    return stopwatch.figures_ms()


async def at_once(url: str, namespace: str, count: int) -> float:
    """Requests answered a second, with `count` of them outstanding at once."""
    async with connected(service(), url, namespace) as bus, bus.running():
        for event in events(_WARM_UP):
            await _ask(bus, event)
        load = events(count)
        start = time.perf_counter()
        await asyncio.gather(*(_ask(bus, event) for event in load))
        return count / (time.perf_counter() - start)


async def in_turn(url: str, namespace: str, count: int) -> float:
    """Requests answered a second, each before the next."""
    async with connected(service(), url, namespace) as bus, bus.running():
        load = events(_WARM_UP + count)
        for event in load[:_WARM_UP]:
            await _ask(bus, event)
        start = time.perf_counter()
        for event in load[_WARM_UP:]:
            await _ask(bus, event)
        return count / (time.perf_counter() - start)


async def _ask(bus: Bus, event: FileUploaded) -> None:
    stored = await bus.request(event, FileStored, timeout_s=_TIMEOUT_S)
    if stored.number != number(event):
        raise NotDone(f"request {number(event)} got the reply to {stored.number}")
