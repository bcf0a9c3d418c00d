"""The place where a claim is measured: a real server, keys and a folder of its own, and how thorough to be."""

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import eventlib as ev
from eventlib.publish.outage import OutagePolicy
from eventlib.testing import Inspector

_POLL_S = 0.005


@dataclass(frozen=True, slots=True)
class Site:
    """Where a claim is measured. All keys that it makes have the prefix `namespace` and are deleted afterwards.

    With `full`, a measurement takes more samples.
    """

    url: str
    namespace: str
    folder: Path
    full: bool

    def connect(
        self, app: ev.App, *, url: str | None = None, outage_policy: OutagePolicy | None = None
    ) -> AbstractAsyncContextManager[ev.Bus]:
        """Connect an App, to another address of the server if one is given."""
        return ev.connect(app, url or self.url, namespace=self.namespace, outage_policy=outage_policy)

    def client(self, name: str, *, url: str | None = None, outage_policy: OutagePolicy | None = None) -> ev.Client:
        """A client of the server."""
        return ev.Client(url or self.url, name=name, namespace=self.namespace, outage_policy=outage_policy)

    def inspector(self, stream: str, group: str) -> AbstractAsyncContextManager[Inspector]:
        """A look at a group past the library."""
        return Inspector.open(self.url, stream, group, namespace=self.namespace)

    def samples(self, fast: int, full: int) -> int:
        """How many samples to take."""
        return full if self.full else fast


async def happens(condition: Callable[[], Any], within_s: float = 5.0, *, every_s: float = _POLL_S) -> bool:
    """Whether `condition`, looked at every few milliseconds, comes to be true within so many seconds.

    An awaitable is awaited.
    """
    until_s = time.monotonic() + within_s
    while True:
        found = condition()
        if await found if inspect.isawaitable(found) else found:
            return True
        if time.monotonic() > until_s:
            return False
        await asyncio.sleep(every_s)


async def drains(bus: ev.Bus, stream: str, groups: Iterable[str], within_s: float = 10.0) -> bool:
    """Whether these groups have nothing left to do within so many seconds."""

    async def empty() -> bool:
        return not any([(await bus.backlog(stream, group)).total for group in groups])

    return await happens(empty, within_s)


@asynccontextmanager
async def raised(*kinds: type[BaseException]) -> AsyncIterator[list[BaseException]]:
    """Collect an error of these kinds that the block raises; the list stays empty where it raises none."""
    found: list[BaseException] = []
    try:
        yield found
    except kinds as error:
        found.append(error)
