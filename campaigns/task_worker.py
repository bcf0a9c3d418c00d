"""A worker of the campaigns on tasks. Its name on the server is its process id."""

import asyncio
import logging
import os
import random
import signal
import time
from collections.abc import Sequence
from multiprocessing import parent_process
from pathlib import Path
from typing import Literal

import eventlib as ev
from eventlib.broker.notices import Watch
from eventlib.broker.tasks import QueueCommands

LEASE_S = 1.0
TENANTS = ("acme", "mid", "tiny")
WORK_S = 0.2  # at most
Kind = Literal["succeeds", "stumbles", "is rejected", "is cancelled"]
Work = ev.Task[[int, str, Kind], int]
Hopeless = ev.Task[[int, str], None]


def app_of(concurrency: int = 8) -> tuple[ev.App, Work, Hopeless]:
    """The App of the workers that are killed. Of each task, one a place is there at a time: it has the unique key."""
    app = ev.App("campaign")
    app.queue("default", concurrency=concurrency, lease_s=LEASE_S)

    @app.task(
        unique_by=["place"],
        limit=15,
        limit_by="tenant",
        limit_per_key=8,
        rate=ev.Rate(60, per_s=0.5),
        retry=ev.Retry(attempts=1000, wait_s=0.01, wait_s_max=0.1),
        keep_result_s=60.0,
    )
    async def work(place: int, tenant: str, kind: Kind) -> int:
        if kind == "is cancelled":
            await asyncio.Event().wait()
        await asyncio.sleep(random.random() * WORK_S)
        if kind == "stumbles" and ev.current_task().attempt == 1:
            raise ConnectionError("a first attempt")
        if kind == "is rejected":
            raise ev.Reject("it cannot be")
        return place

    @app.task(
        unique_by=["place"],
        limit=12,
        limit_by="tenant",
        limit_per_key=6,
        retry=ev.Retry(attempts=3, wait_s=0.01),
        keep_result_s=60.0,
    )
    async def hopeless(place: int, tenant: str) -> None:
        await asyncio.sleep(random.random() * WORK_S)
        raise ConnectionError(f"no attempt of {tenant} at {place} succeeds")

    return app, work, hopeless


def work(url: str, namespace: str, folder: Path) -> None:
    """Run tasks until SIGTERM, or until killed. A file says that it has begun."""
    logging.disable(logging.WARNING)  # that tasks fail is what is wanted here
    asyncio.run(_until_stopped(app_of()[0], url, namespace, folder))


async def _until_stopped(app: ev.App, url: str, namespace: str, folder: Path) -> None:
    stop, name, loop, parent = asyncio.Event(), str(os.getpid()), asyncio.get_running_loop(), parent_process()
    assert parent is not None, "the campaign starts it"
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_reader(parent.sentinel, stop.set)  # the campaign itself was killed
    async with ev.connect(app, url, namespace=namespace) as bus, bus.running(consumer=name, grace_s=5.0):
        (folder / name).touch()
        await stop.wait()


# Tasks that are cancelled


def endless_app_of(path: Path | None = None) -> tuple[ev.App, ev.Task[[int], None]]:
    """An App whose task runs until it is cancelled. In the file, it notes when it began and when it was cancelled."""
    app = ev.App("campaign")
    app.queue("default", concurrency=1000)
    log = None if path is None else os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(what: str, number: int) -> None:
        assert log is not None, "only workers run it"
        os.write(log, f"{what} {number} {time.monotonic()}\n".encode())

    @app.task()
    async def endless(number: int) -> None:
        note("began", number)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            note("cancelled", number)
            raise

    return app, endless


def noted(path: Path, what: str) -> Sequence[tuple[int, float]]:
    """The numbers of the tasks that have begun, or were cancelled, and when, by time.monotonic()."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [(int(number), float(at_s)) for kind, number, at_s in map(str.split, lines) if kind == what]


def work_endlessly(url: str, namespace: str, folder: Path, hints: bool) -> None:
    """Run tasks that end when they are cancelled. Without `hints`, no hint of a cancellation arrives."""
    if not hints:
        QueueCommands.watch_cancels = _watch_nothing  # type: ignore[method-assign, assignment]
    asyncio.run(_until_stopped(endless_app_of(folder / "noted")[0], url, namespace, folder))


def _watch_nothing(commands: QueueCommands) -> Watch:
    return _Deaf(commands._broker, commands._own.cancels, b"id")


class _Deaf(Watch):
    """Reads hints and drops them."""

    async def next(self, block_s: float) -> list[str]:
        await super().next(block_s)
        return []
