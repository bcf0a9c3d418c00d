"""What goes wrong in the world, on demand: a relay that loses replies, a server to kill and start again."""

import asyncio
import contextlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import redis.asyncio as redis
from redis import exceptions as redis_errors

from tests.waiting import eventually


class Relay:
    """Stands between a client and its server; every connection goes through it. Made by `relay`."""

    def __init__(self, upstream: str) -> None:
        self.url = ""
        self.lost = 0
        self.refusing = False
        self.refused_at: list[float] = []
        self._upstream = urlsplit(upstream)
        self._marker: bytes | None = None
        self._links: set[asyncio.Task[None]] = set()

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
        """Relay one connection until either side closes it, a reply is lost or it is cut."""
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
            tail = (tail + data)[1 - len(self._marker or b"") :]
            writer.write(data)
            await writer.drain()

    async def _pass_down(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, losing: asyncio.Event
    ) -> None:
        while data := await reader.read(65536):
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
async def relay(upstream: str) -> AsyncIterator[Relay]:
    """A relay to the server at URL `upstream`."""
    faulty = Relay(upstream)
    server = await asyncio.start_server(faulty.serve, "127.0.0.1", 0)
    faulty.url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    try:
        yield faulty
    finally:
        server.close()
        faulty.cut()
        await eventually(lambda: not faulty._links)
        await server.wait_closed()


class OwnServer:
    """A server of one test's own: to configure, kill and start again on the same data. Made by `own_server`."""

    def __init__(self, binary: Path, directory: Path, options: tuple[str, ...], port: int | None) -> None:
        self.directory = directory
        self.process: subprocess.Popen[bytes] | None = None
        if port is None:
            self.url = f"unix://{directory}/redis.sock"
            listen = ("--port", "0", "--unixsocket", f"{directory}/redis.sock")
        else:
            self.url = f"redis://127.0.0.1:{port}/0"
            listen = ("--port", str(port), "--bind", "127.0.0.1")
        self._command = [str(binary), *listen, "--dir", str(directory), "--save", "", "--appendonly", "yes", *options]

    async def start(self) -> None:
        """Start it on the data that it has; returns when it answers."""
        with (self.directory / "server.log").open("ab") as log:
            self.process = self._popen(log)
        await eventually(self._answers)

    def _popen(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    async def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.directory / "server.log").read_text(errors="replace")
        async with redis.Redis.from_url(self.url) as client:
            try:
                return bool(await client.ping())
            except redis_errors.ConnectionError as error:
                refused = redis_errors.AuthenticationError  # it is up, and guarded
                return isinstance(error, refused) or isinstance(error.__cause__, refused)

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End it without a word, as the kernel does when memory is short."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait()
            self.process = None


@asynccontextmanager
async def own_server(binary: Path, *options: str, tcp: bool = False) -> AsyncIterator[OwnServer]:
    """A running server with an append-only file and these further command-line options."""
    directory = Path(tempfile.mkdtemp(prefix="workbench-test-"))
    server = OwnServer(binary, directory, options, free_port() if tcp else None)
    try:
        await server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(directory)


def free_port() -> int:
    """A TCP port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
