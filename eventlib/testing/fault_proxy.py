"""A proxy between a client and its server, which does on demand what networks do: lose a reply, cut, refuse."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit


class FaultProxy:
    """Stands between a client and its server; every connection goes through it. Made by `proxy`."""

    def __init__(self, upstream: str) -> None:
        self.url = ""
        self.port = 0
        self.lost = 0
        self.refusing = False
        self.refused_at: list[float] = []
        self.swallowing = False  # a black hole: connections stay open, and no answer comes
        self._upstream = urlsplit(upstream)
        self._marker: bytes | None = None
        self._links: set[asyncio.Task[None]] = set()
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def refused(self) -> int:
        """How many connections."""
        return len(self.refused_at)

    def lose_reply_to(self, marker: bytes) -> None:
        """Pass on the next request that contains `marker`, drop its reply and cut the connection."""
        self._marker = marker

    def cut(self) -> None:
        """Cut every connection now."""
        for link in self._links:
            link.cancel()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """FaultProxy one connection until either side closes it, a reply is lost or it is cut."""
        if task := asyncio.current_task():
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)
        if self.refusing:
            self.refused_at.append(time.monotonic())
            await _hang_up(writer)
            return
        link = asyncio.create_task(self._relay(reader, writer))
        self._links.add(link)
        link.add_done_callback(self._links.discard)
        await asyncio.wait({link})
        await _hang_up(writer)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await self._connect()
        losing = asyncio.Event()
        up = asyncio.create_task(self._pass_up(reader, to_server, losing))
        down = asyncio.create_task(self._pass_down(from_server, writer, losing))
        try:
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in (up, down):
                pump.cancel()
            to_server.close()  # at once: a cut may come while we wait
            await asyncio.gather(up, down, return_exceptions=True)
            await _hang_up(to_server)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._upstream.scheme == "unix":
            return await asyncio.open_unix_connection(self._upstream.path)
        return await asyncio.open_connection(self._upstream.hostname, self._upstream.port)

    async def _pass_up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, losing: asyncio.Event) -> None:
        tail = b""  # a request may come in pieces
        while data := await reader.read(65536):
            if self._marker is not None and self._marker in tail + data:
                self._marker = None
                losing.set()
            tail = (tail + data)[1 - len(self._marker) :] if self._marker else b""  # what was sent before is no match
            writer.write(data)
            await writer.drain()

    async def _pass_down(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, losing: asyncio.Event
    ) -> None:
        deaf = False  # who missed a reply gets no other, for it would answer the wrong call
        while data := await reader.read(65536):
            deaf = deaf or self.swallowing
            if deaf:
                continue
            if losing.is_set():
                self.lost += 1
                return
            writer.write(data)
            await writer.drain()


async def _hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


@asynccontextmanager
async def fault_proxy(upstream: str) -> AsyncIterator[FaultProxy]:
    """A proxy to the server at URL `upstream`."""
    faulty = FaultProxy(upstream)
    server = await asyncio.start_server(faulty.serve, "127.0.0.1", 0)
    faulty.port = server.sockets[0].getsockname()[1]
    faulty.url = f"redis://127.0.0.1:{faulty.port}/0"
    try:
        yield faulty
    finally:
        server.close()
        faulty.cut()
        await server.wait_closed()
        while faulty._serving:  # on Python 3.11 the server does not wait for them
            await asyncio.wait(set(faulty._serving))
