"""The probes of one bus: what they watch begins with the first one, and ends with the bus."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from eventlib.arguments import is_number
from eventlib.errors import InvalidArgument, shown

if TYPE_CHECKING:  # imported when a program first serves its health: an HTTP server takes long to import
    from eventlib.health.asgi import ASGIApp
    from eventlib.health.endpoints import Endpoints
    from eventlib.health.watch import Parts, Watch
    from eventlib.operate.serving import HealthServer


class Probes:
    """The endpoints that a bus serves."""

    def __init__(self) -> None:
        self._watch: Watch | None = None
        self._servers: list[HealthServer] = []

    def serve(
        self, parts: "Callable[[], Parts]", port: int, host: str, blocked_s: float, deaf_s: float
    ) -> "HealthServer":
        """See `Bus.serve_health`."""
        from eventlib.operate.serving import HealthServer

        server = HealthServer(self._endpoints("serve_health", parts, blocked_s, deaf_s).from_thread, port, host)
        self._servers.append(server)
        return server

    def app(self, parts: "Callable[[], Parts]", blocked_s: float, deaf_s: float) -> "ASGIApp":
        """See `health_app`."""
        from eventlib.health.asgi import asgi_app

        return asgi_app(self._endpoints("health_app", parts, blocked_s, deaf_s))

    async def aclose(self) -> None:
        """Stop serving and watching."""
        for server in self._servers:
            await asyncio.to_thread(server.close)  # the loop goes on: a request may wait for it
        if self._watch is not None:
            await self._watch.stop()

    def _endpoints(self, where: str, parts: "Callable[[], Parts]", blocked_s: float, deaf_s: float) -> "Endpoints":
        from eventlib.health.endpoints import Endpoints
        from eventlib.health.verdicts import Limits
        from eventlib.health.watch import Watch

        for name, value in (("blocked_s", blocked_s), ("deaf_s", deaf_s)):
            if not (is_number(value) and value > 0.0):
                raise InvalidArgument(where, f"{name}={shown(value)}; it must be seconds above zero")
        if self._watch is None:
            self._watch = Watch(parts())
        return Endpoints(self._watch, Limits(blocked_s, deaf_s))
