"""A private server and its directory go when its owner ends, however that ends. Until then it can be restarted."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import psutil
import pytest
import redis

import eventlib as ev
from eventlib.testing import PrivateServer, eventually, free_port, private_server

TOP = Path(__file__).parents[2]
OWNER = """
import signal, sys
import eventlib as ev
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job begins with it ignored
with ev.private_server() as server:
    print(server.pid, server.directory, flush=True)
    sys.stdin.read()
"""


@dataclass
class OwnedServer:
    """An owner process, its guard, its server and its directory."""

    owner: subprocess.Popen[str]
    guard: psutil.Process
    server: psutil.Process
    directory: Path

    def gone(self) -> bool:
        return not self.directory.exists() and not alive(self.server) and not alive(self.guard)


def alive(process: psutil.Process) -> bool:
    """False for a zombie: in a container there may be no process that waits for it."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def start_owner() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", OWNER],
        cwd=TOP,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


@asynccontextmanager
async def owned_server() -> AsyncIterator[OwnedServer]:
    owner = start_owner()
    assert owner.stdin is not None and owner.stdout is not None
    try:
        pid, directory = (await asyncio.to_thread(owner.stdout.readline)).split()
        server = psutil.Process(int(pid))
        guard = server.parent()
        assert guard is not None
        yield OwnedServer(owner, guard, server, Path(directory))
    finally:
        owner.stdin.close()
        owner.stdout.close()
        owner.kill()
        owner.wait()


def test_the_server_goes_when_the_block_ends() -> None:
    with private_server() as server:
        process = psutil.Process(server.pid)
        assert server.directory.exists() and alive(process)
    assert not server.directory.exists() and not alive(process)


def test_the_server_goes_when_the_block_raises() -> None:
    with pytest.raises(KeyError), private_server() as server:  # noqa: PT012 - leaving by an error is the point
        process = psutil.Process(server.pid)
        raise KeyError
    assert not server.directory.exists() and not alive(process)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
async def test_the_server_goes_when_its_owner_is_killed(how: signal.Signals) -> None:
    async with owned_server() as owned:
        owned.owner.send_signal(how)
        await eventually(owned.gone)


async def test_the_directory_goes_when_the_owner_is_killed_while_the_server_is_down() -> None:
    async with owned_server() as owned:
        owned.server.kill()
        owned.owner.kill()
        await eventually(owned.gone)


async def test_the_server_survives_an_interrupt_that_its_owner_survives() -> None:
    """Ctrl-C goes to the whole process group of the terminal; the owner needs its server to finish."""
    async with owned_server() as owned:
        assert os.getpgid(owned.server.pid) != os.getpgid(owned.owner.pid)
        assert os.getpgid(owned.guard.pid) != os.getpgid(owned.owner.pid)


async def test_the_server_goes_after_its_guard_was_killed() -> None:
    async with owned_server() as owned:
        owned.guard.kill()
        await eventually(lambda: not alive(owned.server))
        assert owned.owner.stdin is not None
        owned.owner.stdin.close()  # the owner leaves its block
        await eventually(owned.gone)


async def test_a_server_that_stopped_by_itself_leaves_nothing() -> None:
    with private_server() as server:
        process = psutil.Process(server.pid)
        with redis.Redis.from_url(server.url) as client:
            client.shutdown(nosave=True)
        await eventually(lambda: not alive(process))
    assert not server.directory.exists()


def test_the_guard_stays_silent_when_the_server_stops_by_itself(capfd: pytest.CaptureFixture[str]) -> None:
    with private_server() as server:
        guard = psutil.Process(server.pid).parent()
        with redis.Redis.from_url(server.url) as client:
            client.shutdown(nosave=True)
        assert guard is not None
    assert not alive(guard)
    assert capfd.readouterr().err == ""


def test_two_private_servers_are_independent(binary: Path) -> None:
    with private_server(binary=binary) as one, private_server(binary=binary, port=0) as two:
        assert (
            one.directory != two.directory and one.url.startswith("unix:") and two.url.startswith("redis://127.0.0.1:")
        )
        with redis.Redis.from_url(one.url) as first, redis.Redis.from_url(two.url) as second:
            first.set("where", "one")
            assert second.get("where") is None
            assert first.config_get("maxmemory-policy", "appendonly") == {
                "maxmemory-policy": "noeviction",
                "appendonly": "yes",
            }


def test_a_program_that_is_no_server_raises_a_typed_error_with_its_last_output(tmp_path: Path) -> None:
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\necho 'out of memory' >&2\nexit 1\n")
    program.chmod(0o755)
    started_at = time.monotonic()
    with pytest.raises(ev.NoServer, match="out of memory"), private_server(binary=program):
        pass
    assert time.monotonic() - started_at < 15.0  # there is nothing to wait for: a server that is silent has 30 s


@pytest.mark.parametrize("path", ["nowhere", "no program"])
def test_a_file_that_cannot_be_run_raises_a_typed_error(tmp_path: Path, path: str) -> None:
    (tmp_path / "no program").write_text("x")
    with pytest.raises(ev.NoServer, match=path), private_server(binary=tmp_path / path):
        pass


def test_a_port_that_is_taken_raises_a_typed_error(binary: Path) -> None:
    with private_server(binary=binary, port=0) as server:
        port = int(server.url.removesuffix("/0").rpartition(":")[2])
        with pytest.raises(ev.NoServer, match="in use; give another one"), private_server(binary=binary, port=port):
            pass


def test_a_free_port_that_is_taken_before_the_server_listens_is_left_to_its_owner(
    binary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with private_server(binary=binary, port=0) as one:
        ports = iter([int(one.url.removesuffix("/0").rpartition(":")[2]), free_port()])
        monkeypatch.setattr("eventlib.testing.server.free_port", lambda: next(ports))
        with private_server(binary=binary, port=0) as two, redis.Redis.from_url(two.url) as client:
            assert two.url != one.url and client.ping()


# Stopped, killed and started again


def stored(server: PrivateServer) -> bytes | None:
    with redis.Redis.from_url(server.url) as client:
        found: Any = client.get("kept")
        return cast(bytes | None, found)


def store(server: PrivateServer) -> None:
    with redis.Redis.from_url(server.url) as client:
        client.set("kept", "yes")


@pytest.mark.parametrize("port", [None, 0])
@pytest.mark.parametrize("end", [PrivateServer.kill, PrivateServer.stop])
def test_a_restarted_server_has_its_data_and_its_address(
    binary: Path, port: int | None, end: Callable[[PrivateServer], None]
) -> None:
    with private_server("--appendfsync", "always", binary=binary, port=port) as server:
        first, url = psutil.Process(server.pid), server.url
        store(server)
        end(server)
        assert not alive(first)
        with pytest.raises(redis.ConnectionError):
            stored(server)
        server.start()
        assert stored(server) == b"yes"
        assert server.url == url and server.pid != first.pid
        second = psutil.Process(server.pid)
        server.start()  # it runs: nothing is done
        assert psutil.Process(server.pid) == second
    assert not alive(second) and not server.directory.exists()


async def test_a_server_that_stopped_by_itself_can_be_restarted(binary: Path) -> None:
    with private_server(binary=binary) as server:
        store(server)
        with redis.Redis.from_url(server.url) as client:
            client.shutdown()
        await eventually(lambda: not alive(psutil.Process(server.pid)))
        server.kill()  # it has ended: nothing is done
        server.start()
        assert stored(server) == b"yes"


def test_an_owner_that_ends_while_the_server_is_down_leaves_nothing(binary: Path) -> None:
    with private_server(binary=binary) as server:
        server.kill()
    assert not server.directory.exists()


@pytest.mark.parametrize("end", [PrivateServer.kill, PrivateServer.stop, None])
def test_a_paused_server_does_not_answer_and_can_be_stopped(
    binary: Path, end: Callable[[PrivateServer], None] | None
) -> None:
    with private_server(binary=binary) as server:
        store(server)
        server.pause()
        with redis.Redis.from_url(server.url, socket_timeout=0.1) as client, pytest.raises(redis.TimeoutError):
            client.ping()
        server.resume()
        assert stored(server) == b"yes"
        server.pause()
        process, began_at = psutil.Process(server.pid), time.monotonic()
        if end is not None:
            end(server)
            assert not alive(process)
    assert not alive(process) and time.monotonic() - began_at < 4.0


def test_options_override_the_defaults_of_a_private_server(binary: Path) -> None:
    options = ("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
    with private_server(*options, binary=binary) as server, redis.Redis.from_url(server.url) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "allkeys-lru"}


def test_a_server_with_a_password_starts(binary: Path) -> None:
    with private_server("--requirepass", "secret", binary=binary) as server:
        with pytest.raises(redis.AuthenticationError):
            stored(server)
        with redis.Redis.from_url(server.url.replace("//", "//:secret@")) as client:
            assert client.ping()


def test_an_option_that_the_server_refuses_is_named(binary: Path) -> None:
    with pytest.raises(ev.NoServer, match="no-such-option"), private_server("--no-such-option", "1", binary=binary):
        pass


def test_a_server_whose_guard_is_gone_cannot_be_restarted() -> None:
    with private_server() as server:
        guard = psutil.Process(server.pid).parent()
        assert guard is not None
        guard.kill()
        with pytest.raises(ev.NoServer, match="guard"):
            server.start()
    assert not server.directory.exists()


def test_no_server_listens_on_a_free_port() -> None:
    with redis.Redis(port=free_port()) as client, pytest.raises(redis.ConnectionError):
        client.ping()
