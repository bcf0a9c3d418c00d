"""A proxy between a client and its server that does what networks do: it loses a reply, cuts, refuses, goes silent."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import unquote, urlsplit


class FaultProxy:
    """Passes on what a client and its server say to one another, and fails on demand. Made by `fault_proxy`.

    `url` is what the client connects to, and `port` the TCP port in it. The client's password and database count, not
    those of the server's URL.
    """

    def __init__(self, upstream: str) -> None:
        self.url = ""
        self.port = 0
        self.lost = 0  # how many replies were dropped, each by a `lose_reply_to`
        self.swallowed_bytes = 0  # of replies that did not come
        self.refusing = False  # while true, every new connection is closed at once; the open ones stay
        self.refused_at: list[float] = []  # when each connection was refused, by time.monotonic()
        self.swallowing = (
            False  # while true, connections stay open and no answer comes; those that missed one stay silent
        )
        self._upstream = urlsplit(upstream)
        self._marker: bytes | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def refused(self) -> int:
        """How many connections were refused."""
        return len(self.refused_at)

    def lose_reply_to(self, marker: bytes) -> None:
        """Drop one reply: pass on the next request that contains `marker`, then cut its connection before the answer.

        The server carries the request out, and the client cannot know it.
        """
        self._marker = marker

    def cut(self) -> None:
        """Cut every open connection now."""
        for connection in self._connections:
            connection.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until a side closes it, a reply is lost or it is cut."""
        if task := asyncio.current_task():
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)
        if self.refusing:
            self.refused_at.append(time.monotonic())
            await _hang_up(writer)
            return
        connection = asyncio.create_task(self._pass_on(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)
        await asyncio.wait({connection})
        await _hang_up(writer)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await self._connect()
        losing = asyncio.Event()
        up = asyncio.create_task(self._pass_up(reader, to_server, losing))
        down = asyncio.create_task(self._pass_down(from_server, writer, losing))
        try:
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for direction in (up, down):
                direction.cancel()
            to_server.close()  # before the waits below, in which a cut may come
            await asyncio.gather(up, down, return_exceptions=True)
            await _hang_up(to_server)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._upstream.scheme == "unix":
            return await asyncio.open_unix_connection(unquote(self._upstream.path))
        return await asyncio.open_connection(self._upstream.hostname, self._upstream.port)

    async def _pass_up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, losing: asyncio.Event) -> None:
        tail = b""  # the end of what came before: a request may come in pieces
        while data := await reader.read(65536):
            if self._marker is not None and self._marker in tail + data:
                self._marker = None
                losing.set()
            tail = (tail + data)[1 - len(self._marker) :] if self._marker else b""  # what came before does not count
            writer.write(data)
            await writer.drain()

    async def _pass_down(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, losing: asyncio.Event
    ) -> None:
        silent = False  # for good, once an answer was swallowed: the client would take a later one for it
        while data := await reader.read(65536):
            silent = silent or self.swallowing
            if silent:
                self.swallowed_bytes += len(data)
                continue
            if losing.is_set():
                self.lost += 1
                return
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def fault_proxy(upstream: str) -> AsyncIterator[FaultProxy]:
    """Run a proxy to the server at URL `upstream` for the length of the block."""
    proxy = FaultProxy(upstream)
    server = await asyncio.start_server(proxy._serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    proxy.url = f"redis://127.0.0.1:{proxy.port}/0"
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut()
        await server.wait_closed()
        while proxy._serving:  # on Python 3.11 the server does not wait for them
            await asyncio.wait(set(proxy._serving))


async def _hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
