"""What goes wrong in the world, on demand: a server to kill and start again."""

import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

import redis.asyncio as redis
from redis import exceptions as redis_errors

from eventlib.testing.waiting import eventually


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
