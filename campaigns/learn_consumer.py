"""A consumer whose truth is known: it sleeps for a drawn time, and notes when each entry was sent, begun and ended.

    python -m campaigns.learn_consumer KIND URL STREAM GROUP NAME MEAN_S FILE

It is ended by SIGTERM. Each kind is what its library's own documentation shows first.
"""

import asyncio
import contextlib
import random
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import redis

import eventlib as ev

CV = 0.5  # of the service times, which are lognormal
CONCURRENCY = 4  # of the consumer that is written with eventlib


class Ordered(ev.Event, type="learned.ordered", version=1, stream="learned"):
    """What the consumer that is written with eventlib handles."""

    sent_s: float


class Notes:
    """Draws service times, and notes what was done in a file: a line each of sent, begun and ended, in Unix seconds."""

    def __init__(self, file: TextIO, name: str, mean_s: float) -> None:
        self._file = file
        self._rng = random.Random(name)
        self._mean_s = mean_s

    def draw_s(self) -> float:
        """How long the next entry takes: lognormal."""
        from math import log, log1p, sqrt

        variance = log1p(CV**2)
        return self._rng.lognormvariate(log(self._mean_s) - variance / 2.0, sqrt(variance))

    @contextmanager
    def noting(self, sent_s: float) -> Iterator[None]:
        """Note the work of the block."""
        began_s = time.time()
        yield
        self._file.write(f"{sent_s} {began_s} {time.time()}\n")
        self._file.flush()


def plain(url: str, stream: str, group: str, name: str, notes: Notes, *, count: int) -> None:
    """A loop over XREADGROUP with redis-py: one entry after the other, each acknowledged when it is done."""
    with redis.Redis.from_url(url, decode_responses=True) as client:
        while True:
            reply: Any = client.xreadgroup(group, name, {stream: ">"}, count=count, block=1000)
            for id_, fields in reply[0][1] if reply else ():
                with notes.noting(float(fields["sent_s"])):
                    time.sleep(notes.draw_s())
                client.xack(stream, group, id_)


async def with_faststream(url: str, stream: str, group: str, name: str, notes: Notes) -> None:
    """FastStream with its defaults."""
    from faststream.redis import RedisBroker, StreamSub

    broker = RedisBroker(url, logger=None)

    async def handle(sent_s: float) -> None:
        with notes.noting(sent_s):
            await asyncio.sleep(notes.draw_s())

    broker.subscriber(stream=StreamSub(stream, group=group, consumer=name))(handle)
    await broker.start()
    try:
        await asyncio.Event().wait()
    finally:
        await broker.stop()


async def with_eventlib(url: str, group: str, notes: Notes) -> None:
    """The library of this repository, four events at once."""
    app = ev.App("learned")
    app.group(group, concurrency=CONCURRENCY)

    @app.subscribe(Ordered, group=group)
    async def handle(event: Ordered, delivery: ev.Delivery) -> None:
        with notes.noting(event.sent_s):
            await asyncio.sleep(notes.draw_s())

    async with ev.connect(app, url) as bus, bus.running():
        await asyncio.Event().wait()


def main() -> None:
    """Consume until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    kind, url, stream, group, name, mean_s, file = sys.argv[1:]
    with Path(file).open("a", encoding="utf-8") as opened, contextlib.suppress(KeyboardInterrupt):
        notes = Notes(opened, name, float(mean_s))
        match kind:
            case "redis-py 1":
                plain(url, stream, group, name, notes, count=1)
            case "redis-py 10":
                plain(url, stream, group, name, notes, count=10)
            case "faststream":
                asyncio.run(with_faststream(url, stream, group, name, notes))
            case "eventlib":
                asyncio.run(with_eventlib(url, group, notes))


if __name__ == "__main__":
    main()
