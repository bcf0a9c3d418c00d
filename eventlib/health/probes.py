"""The probes of one bus: what they watch begins with the first one, and ends with the bus.

A reader of metrics for the whole process finds the buses that are open here. It needs a watch of each.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from eventlib.arguments import is_number
from eventlib.errors import InvalidArgument, shown

if TYPE_CHECKING:  # imported when a program first serves its health: an HTTP server takes long to import
    from eventlib.health.asgi import ASGIApp
    from eventlib.health.endpoints import Endpoints
    from eventlib.health.watch import Parts, Watch
    from eventlib.operate.serving import HealthServer


_START_WITHIN_S = 0.2  # a loop that goes on begins to watch within this time

changing = threading.Lock()  # held while a bus closes: a reader sees it either open or closed
when_closed: "Callable[[Parts], None] | None" = None  # is called with each bus that closes
_open: "set[Probes]" = set()


class Probes:
    """The endpoints that a bus serves. `parts` are those of the bus, set once they are there."""

    def __init__(self) -> None:
        self.parts: Callable[[], Parts] | None = None
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._asked = threading.Event()  # a watch was asked for from another thread
        self._watch: Watch | None = None
        self._servers: list[HealthServer] = []
        _open.add(self)

    @property
    def watch(self) -> "Watch | None":
        """What is watched, if anything is."""
        return self._watch

    def serve(self, port: int, host: str, blocked_s: float, deaf_s: float) -> "HealthServer":
        """See `Bus.serve_health`."""
        from eventlib.operate.serving import HealthServer

        server = HealthServer(self._endpoints("serve_health", blocked_s, deaf_s).from_thread, port, host)
        self._servers.append(server)
        return server

    def app(self, blocked_s: float, deaf_s: float) -> "ASGIApp":
        """See `health_app`."""
        from eventlib.health.asgi import asgi_app

        return asgi_app(self._endpoints("health_app", blocked_s, deaf_s))

    async def aclose(self) -> None:
        """Stop serving and watching."""
        for server in self._servers:
            await asyncio.to_thread(server.close)  # the loop goes on: a request may wait for it
        with changing:
            if when_closed is not None and self.parts is not None:
                when_closed(self.parts())
            _open.discard(self)
        if self._watch is not None:
            await self._watch.stop()

    def begin(self) -> "Watch":
        """Watch from now on. To be called in the event loop of the bus."""
        from eventlib.health.watch import Watch

        assert self.parts is not None, "a bus sets them before anything can ask"
        if self._watch is None:
            self._watch = Watch(self.parts())
        return self._watch

    def begin_from_thread(self) -> None:
        """Watch soon. The first call waits a moment for it."""
        if threading.get_ident() == self._thread:
            self.begin()
        elif not self._asked.is_set():
            self._asked.set()
            begun = threading.Event()
            try:
                self._loop.call_soon_threadsafe(self._begin_for, begun)
            except RuntimeError:  # the loop is closed
                return
            begun.wait(_START_WITHIN_S)

    def _begin_for(self, begun: threading.Event) -> None:
        if self in _open:
            self.begin()
        begun.set()

    def _endpoints(self, where: str, blocked_s: float, deaf_s: float) -> "Endpoints":
        from eventlib.health.endpoints import Endpoints
        from eventlib.health.verdicts import Limits

        for name, value in (("blocked_s", blocked_s), ("deaf_s", deaf_s)):
            if not (is_number(value) and value > 0.0):
                raise InvalidArgument(where, f"{name}={shown(value)}; it must be seconds above zero")
        return Endpoints(self.begin(), Limits(blocked_s, deaf_s))


def start_watches() -> None:
    """Watch every bus of this process that is open, from any thread."""
    for each in list(_open):
        if each.watch is None and each.parts is not None:
            each.begin_from_thread()


def open_watches() -> "list[Watch]":
    """What is watched of the buses that are open."""
    return [each.watch for each in list(_open) if each.watch is not None]
