"""What a bus offers to those who look: how its streams, groups and queues stand, and endpoints for probes."""

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from eventlib.broker.streams import StreamCommands
from eventlib.declare.app import App
from eventlib.errors import BusClosed, InvalidArgument
from eventlib.events.schema import spec_of
from eventlib.health.probes import Probes
from eventlib.operate.trimming import StreamLook, look_at
from eventlib.records import Backlog, QueueHealth, is_queue_stream
from eventlib.retention import StreamHealth
from eventlib.tasks.queues import TaskQueues

if TYPE_CHECKING:  # each of these is imported when a program first uses it
    from eventlib.health.asgi import ASGIApp
    from eventlib.health.watch import Parts
    from eventlib.operate.dead_letters import DeadLetters
    from eventlib.operate.serving import HealthServer
    from eventlib.settings import Settings

_LOOK_S = 0.01  # wait between two looks at a backlog that should become empty


class Looking(ABC):
    """Looks at what is left to do, and serves the health of the program."""

    app: App
    settings: "Settings"
    tasks: TaskQueues
    _streams: StreamCommands
    _probes: Probes
    _closed: bool

    @abstractmethod
    def dead_letters(self, stream: str, group: str) -> "DeadLetters": ...

    @abstractmethod
    def _parts(self) -> "Parts":
        """What probes watch."""

    async def stream_health(self, stream: str) -> StreamHealth:
        """What the stream keeps and how all of its groups stand, those of other programs and libraries included."""
        return (await self._look_at(stream)).health

    async def _look_at(self, stream: str) -> StreamLook:
        return await look_at(self._streams, stream, self.app.streams.get(stream))

    async def backlog(self, stream: str, group: str) -> Backlog:
        """What the group still has to do on the stream. For a group that does not exist, that is the whole stream.

        Raises:
            InvalidArgument: the stream is a task queue; see `queue_health`.
        """
        if is_queue_stream(stream):
            raise InvalidArgument("backlog", f"stream {stream!r} is a task queue; call bus.queue_health")
        return await self._streams.backlog(stream, group)

    async def drained(self, stream: str, group: str) -> None:
        """Wait until the group has nothing left to do on the stream, delayed retries included.

        The wait may be endless, so use `asyncio.timeout`. Events that are published meanwhile count too.

        Raises:
            InvalidArgument: the stream is a task queue; see `queue_health`.
            MissingGroup: neither the App nor the server knows the group on this stream.
            BrokerUnavailable: the server does not answer.
        """
        if not any(s.group == group and spec_of(s.event_class).stream == stream for s in self.app.subscriptions):
            await self.dead_letters(stream, group).check()
        while (await self.backlog(stream, group)).total:  # noqa: ASYNC110 - the server sends no notice
            await asyncio.sleep(_LOOK_S)

    async def queue_health(self, queue: str = "default") -> QueueHealth:
        """How a task queue stands: what waits, runs and is held up, how fast, and by how many workers."""
        return await self.tasks.health(queue)

    def serve_health(
        self,
        port: int | None = None,
        host: str | None = None,
        *,
        blocked_s: float | None = None,
        deaf_s: float | None = None,
    ) -> "HealthServer":
        """Serve the health of this program over HTTP, until the bus closes. Port 0 takes a free one: see `port`, `url`.

        What is not given is taken from the settings (section `health`): port 8080 on 127.0.0.1, 10 and 8 seconds.

        `/livez` fails if the event loop has not gone on for `blocked_s` seconds. It is answered by a thread, and an
        outage of Redis does not make it fail. `/readyz` also fails if the server has answered nothing for `deaf_s`
        seconds, if a consumer has heard nothing, could not renew leases, or was full for so long, or is leaving.
        `/healthz` tells all in JSON, with the status of `/readyz`. `/metrics` needs `event-workbench[metrics]`.

        Every program that reaches the port can read all of it. Give a host such as "0.0.0.0" only where a network
        policy protects the port.

        Raises:
            BusClosed, InvalidArgument: the port is in use, or an argument is out of range.
        """
        if self._closed:
            raise BusClosed
        chosen, asked = self.settings.health, {"port": port, "host": host, "blocked_s": blocked_s, "deaf_s": deaf_s}
        chosen = chosen.model_copy(update={name: value for name, value in asked.items() if value is not None})
        return self._probes.serve(chosen.port, chosen.host, chosen.blocked_s, chosen.deaf_s)

    def _health_app(self, blocked_s: float, deaf_s: float) -> "ASGIApp":
        if self._closed:
            raise BusClosed
        return self._probes.app(blocked_s, deaf_s)


def health_app(bus: Looking, *, blocked_s: float = 10.0, deaf_s: float = 8.0) -> "ASGIApp":
    """The endpoints of `Bus.serve_health` as an ASGI app: `app.mount("/health", ev.health_app(bus))`.

    It runs in the event loop that it tells of, so a blocked loop does not answer at all. A probe's own timeout counts.
    Call it in the block of the bus. It answers until the bus closes.

    Raises:
        BusClosed, InvalidArgument: an argument is out of range.
    """
    return bus._health_app(blocked_s, deaf_s)
