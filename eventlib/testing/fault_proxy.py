"""A proxy between a client and its server that does what networks do: it loses, cuts, refuses, delays, goes silent."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

_CHUNK_BYTES = 65536
_TRICKLE_S = 0.05  # how much is sent at once where the network is narrow: what passes in so long


class FaultProxy:
    """Passes on what a client and its server say to one another, and fails on demand. Made by `fault_proxy`.

    `url` is what the client connects to: user, password and database are those of the server's URL. `port` is the TCP
    port in it; 0 where the proxy listens on a Unix socket.
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
        self.delay_s = 0.0  # everything is so much later at the other end, each way
        self.bytes_per_s: float | None = None  # how much a connection passes on, each way; None: no limit
        self._upstream = urlsplit(upstream)
        self._passing = asyncio.Event()
        self._passing.set()
        self._marker: bytes | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def refused(self) -> int:
        """How many connections were refused."""
        return len(self.refused_at)

    @property
    def holding(self) -> bool:
        """While true, nothing passes and connections stay open. What came meanwhile is passed on when it is over.

        So does TCP when packets come through again after a time.
        """
        return not self._passing.is_set()

    @holding.setter
    def holding(self, holds: bool) -> None:
        (self._passing.clear if holds else self._passing.set)()

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
        lines = _Line(self, to_server), _Line(self, writer)
        up = asyncio.create_task(self._pass_up(reader, lines[0], losing))
        down = asyncio.create_task(self._pass_down(from_server, lines[1], losing))
        try:
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for direction in (up, down):
                direction.cancel()
            to_server.close()  # before the waits below, in which a cut may come
            for line in lines:
                line.close()
            await asyncio.gather(up, down, return_exceptions=True)
            await _hang_up(to_server)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._upstream.scheme == "unix":
            return await asyncio.open_unix_connection(unquote(self._upstream.path))
        return await asyncio.open_connection(self._upstream.hostname, self._upstream.port)

    async def _pass_up(self, reader: asyncio.StreamReader, line: "_Line", losing: asyncio.Event) -> None:
        tail = b""  # the end of what came before: a request may come in pieces
        while data := await reader.read(_CHUNK_BYTES):
            if self._marker is not None and self._marker in tail + data:
                self._marker = None
                losing.set()
            tail = (tail + data)[1 - len(self._marker) :] if self._marker else b""  # what came before does not count
            await line.send(data)

    async def _pass_down(self, reader: asyncio.StreamReader, line: "_Line", losing: asyncio.Event) -> None:
        silent = False  # for good, once an answer was swallowed: the client would take a later one for it
        while data := await reader.read(_CHUNK_BYTES):
            silent = silent or self.swallowing
            if silent:
                self.swallowed_bytes += len(data)
                continue
            if losing.is_set():
                self.lost += 1
                return
            await line.send(data)


class _Line:
    """One direction of one connection: what is sent comes out at the other end in order, as late as the proxy says."""

    def __init__(self, proxy: FaultProxy, writer: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._writer = writer
        self._late: deque[tuple[float, bytes]] = deque()  # what is still on its way, and when it is there
        self._sending: asyncio.Task[None] | None = None

    async def send(self, data: bytes) -> None:
        proxy = self._proxy
        if self._sending is None and not (proxy.holding or proxy.delay_s or proxy.bytes_per_s):
            self._writer.write(data)
            await self._writer.drain()
            return
        self._late.append((time.monotonic() + proxy.delay_s, data))
        if self._sending is None:
            self._sending = asyncio.create_task(self._send_late())

    def close(self) -> None:
        if self._sending is not None:
            self._sending.cancel()

    async def _send_late(self) -> None:
        try:
            while self._late:
                at_s, data = self._late.popleft()
                await asyncio.sleep(at_s - time.monotonic())
                while data:
                    data = data[await self._send_some(data) :]
        finally:
            self._sending = None

    async def _send_some(self, data: bytes) -> int:
        """Send as much as the proxy lets pass in a moment; returns how many bytes that is.

        On a narrow network, too, bytes trickle in: who waits for them hears that the other end is there.
        """
        await self._proxy._passing.wait()
        rate = self._proxy.bytes_per_s
        size = min(len(data), max(1, int(rate * _TRICKLE_S))) if rate else len(data)
        if rate:
            await asyncio.sleep(size / rate)
        self._writer.write(data[:size])
        with contextlib.suppress(OSError):  # the other end has gone, which the readers notice
            await self._writer.drain()
        return size


def proxy_url(upstream: str, place: int | str | Path) -> str:
    """The URL by which a client reaches the server at URL `upstream` through a proxy: at a TCP port or a Unix socket.

    User, password, database and options are those of the server's URL.
    """
    parts = urlsplit(upstream)
    user, at, _ = parts.netloc.rpartition("@")
    options = dict(parse_qsl(parts.query))
    database = options.pop("db", "0") if parts.scheme == "unix" else parts.path.strip("/") or options.pop("db", "0")
    if isinstance(place, int):
        query = f"?{urlencode(options)}" if options else ""
        return f"redis://{user}{at}127.0.0.1:{place}/{database}{query}"
    return f"unix://{user}{at}{quote(str(place))}?{urlencode({'db': database} | options)}"


@asynccontextmanager
async def fault_proxy(upstream: str, listen: str | Path | None = None) -> AsyncIterator[FaultProxy]:
    """Run a proxy to the server at URL `upstream` for the length of the block.

    It listens on a free TCP port of this machine, or on the Unix socket that `listen` names.
    """
    proxy = FaultProxy(upstream)
    if listen is None:
        server: asyncio.Server = await asyncio.start_server(proxy._serve, "127.0.0.1", 0)
        proxy.port = server.sockets[0].getsockname()[1]
        proxy.url = proxy_url(upstream, proxy.port)
    else:
        server = await asyncio.start_unix_server(proxy._serve, listen)
        proxy.url = proxy_url(upstream, listen)
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
