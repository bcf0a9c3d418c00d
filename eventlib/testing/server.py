"""A private Redis for development and tests. It ends with the process that started it, however that one ends.

The server is the child of a guard process, and the guard is a child of the owner. The guard stops the server and
removes its directory when the owner says so, and when the owner has ended, by whatever means and whatever it started.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from eventlib.errors import NoServer
from eventlib.testing.binaries import best_binary

_START_S = 30.0  # it takes milliseconds, on a machine that has the time
_ANSWER_S = 1.0
_PORTS_TRIED = 3
_IN_USE = "its port is in use"
_SOCKET_PATH_MAX = 100  # Source: unix(7), sun_path has 108 bytes, on macOS 104
_GUARD = (sys.executable, "-I", "-S", str(Path(__file__).with_name("guard.py")))
# What a private server has until other options are given: no snapshot, an append-only file, no eviction.
_CONFIG = ("--save", "", "--appendonly", "yes", "--maxmemory-policy", "noeviction", "--protected-mode", "yes")

_servers: "dict[str, PrivateServer]" = {}  # those that run, by their URLs


class PrivateServer:
    """A Redis that belongs to one process. Made by `private_server`.

    A test can stop, kill or pause it, and have it back with the data that it has written. All methods block for the
    few milliseconds that this takes. A process that the owner forks may use the server, and its end changes nothing.
    """

    def __init__(self, binary: Path, directory: Path, url: str, options: tuple[str, ...]) -> None:
        self.url = url
        self.directory = directory
        self.binary = binary
        self.pid = 0  # of the server that runs, or of the last one that ran
        self._owner = os.getpid()
        self._memory = "0"  # its maxmemory, while it is full
        self._full = False
        command = [str(binary), "--dir", str(directory), *_CONFIG, *options]
        self._guard = subprocess.Popen(
            [*_GUARD, str(self._owner), str(directory), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C in a terminal reaches the owner, which still needs the server to finish
        )

    def start(self) -> None:
        """Start it on the data that it has; returns when it answers. Does nothing where it runs.

        Raises:
            NoServer: it did not start; the message has its last words.
        """
        if self._ask("running") == "no":
            self.pid = int(self._ask("start"))
            self._wait_until_ready()

    def stop(self) -> None:
        """Stop it as an operator does, with SIGTERM: it writes what it has and ends."""
        self._ask(f"end {signal.SIGTERM:d}")

    def kill(self) -> None:
        """Kill it with SIGKILL, as the kernel does when memory is short."""
        self._ask(f"end {signal.SIGKILL:d}")

    def pause(self) -> None:
        """Let it stand still, with SIGSTOP: its connections stay open, and no answer comes."""
        self._ask(f"signal {signal.SIGSTOP:d}")

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self._ask(f"signal {signal.SIGCONT:d}")

    def delete_data(self) -> None:
        """Delete what it has written. To be called while it is stopped: then it starts with nothing."""
        shutil.rmtree(self.directory / "appendonlydir", ignore_errors=True)
        (self.directory / "dump.rdb").unlink(missing_ok=True)

    def set_full(self, full: bool) -> None:
        """Let it have no memory left for what is added, or as much as before."""
        with redis.Redis.from_url(self.url) as client:
            if full and not self._full:
                self._memory = str(client.config_get("maxmemory")["maxmemory"])
            client.config_set("maxmemory", "1" if full else self._memory)
            self._full = full

    @classmethod
    def of_this_process(cls, url: str) -> "PrivateServer | None":
        """The private server at this URL that this process has started and runs. None: there is none."""
        server = _servers.get(url)
        return server if server is not None and server._owner == os.getpid() else None

    def _close(self) -> None:
        if os.getpid() != self._owner:  # a process that the owner forked leaves the block
            return
        assert self._guard.stdin is not None
        assert self._guard.stdout is not None
        with contextlib.suppress(OSError):  # the guard was killed
            self._guard.stdin.write("close\n")
            self._guard.stdin.flush()
        for pipe in (self._guard.stdin, self._guard.stdout):
            with contextlib.suppress(OSError):  # an order to the guard that was killed is still in the pipe
                pipe.close()
        self._guard.wait()
        shutil.rmtree(self.directory, ignore_errors=True)  # where the guard was killed

    def _ask(self, order: str) -> str:
        """Give the guard an order; returns its answer."""
        assert self._guard.stdin is not None
        assert self._guard.stdout is not None
        try:
            self._guard.stdin.write(f"{order}\n")
            self._guard.stdin.flush()
            answer = self._guard.stdout.readline().strip()
        except OSError:
            answer = ""
        if not answer:
            raise NoServer("private server", "its guard process was ended")
        return answer

    def _wait_until_ready(self) -> None:
        give_up_at = time.monotonic() + _START_S
        while True:
            running = self._ask("running") == "yes"  # asked first: another server may answer where this one ended
            if running and self._answers():
                return
            if not running or time.monotonic() > give_up_at:
                raise NoServer("private server", _why_not(self._last_words()))
            time.sleep(0.005)

    def _answers(self) -> bool:
        with redis.Redis.from_url(self.url, socket_timeout=_ANSWER_S, retry=Retry(NoBackoff(), 0)) as client:
            try:
                return bool(client.info("server")["process_id"] == self.pid)
            except redis.AuthenticationError:  # it answers, but without a password it does not say who it is
                return True
            except redis.RedisError:
                return False

    def _last_words(self) -> str:
        log = self.directory / "server.log"
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        return " | ".join(lines[-3:]) or "it wrote no log"


def _why_not(last_words: str) -> str:
    if "Address already in use" in last_words:
        return f"it did not start: {_IN_USE}; give another one, or 0 for a free one"
    return f"it did not start: {last_words}"


@contextmanager
def private_server(*options: str, binary: Path | None = None, port: int | None = None) -> Iterator[PrivateServer]:
    """Run a private server for the length of the block, with an append-only file in a temporary directory of its own.

    It listens on a Unix socket in that directory, which only this user can open. With `port` it listens on
    127.0.0.1:`port` instead; 0 picks a free port. `options` are options of the server's command line, such as
    `"--appendfsync", "always"`. `binary` is the program; by default it is the first of `find_binaries`.

    Raises:
        NoServer: there is no program, or it did not start; the message has its last words.
    """
    binary = binary or best_binary()
    server = _started_on_a_free_port(binary, options) if port == 0 else _started(binary, options, port)
    _servers[server.url] = server
    try:
        yield server
    finally:
        _servers.pop(server.url, None)
        server._close()


def _started(binary: Path, options: tuple[str, ...], port: int | None) -> PrivateServer:
    directory = Path(tempfile.mkdtemp(prefix="workbench-redis-"))
    try:
        url, listen = _address(directory, port)
        server = PrivateServer(binary, directory, url, (*listen, *options))
    except BaseException:
        directory.rmdir()
        raise
    try:
        server.start()
    except BaseException:
        server._close()
        raise
    return server


def _started_on_a_free_port(binary: Path, options: tuple[str, ...]) -> PrivateServer:
    """Another program may take the port that was free a moment ago: then another port is tried."""
    for _ in range(_PORTS_TRIED - 1):
        try:
            return _started(binary, options, free_port())
        except NoServer as error:
            if _IN_USE not in error.problem:
                raise
    return _started(binary, options, free_port())


def free_port() -> int:
    """A TCP port of 127.0.0.1 on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _address(directory: Path, port: int | None) -> tuple[str, tuple[str, ...]]:
    """The URL of a server, and the options that have it listen there."""
    if port is not None:
        return f"redis://127.0.0.1:{port}/0", ("--port", str(port), "--bind", "127.0.0.1")
    path = f"{directory}/redis.sock"
    if len(os.fsencode(path)) > _SOCKET_PATH_MAX:
        raise NoServer("private server", f"{directory} is too long for a socket; set TMPDIR to a shorter one")
    if any("\ud800" <= character <= "\udfff" for character in path):
        raise NoServer("private server", f"{directory!a} is no UTF-8, so no URL can name it; set TMPDIR to another")
    return f"unix://{quote(path)}", ("--port", "0", "--unixsocket", path)
