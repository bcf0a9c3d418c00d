"""A private server is gone with its owner, however that ends, and its directory with it."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import redis

import eventlib as ev
from eventlib.testing.waiting import eventually

TOP = Path(__file__).parents[2]
OWNER = """
import signal, sys
import eventlib as ev
signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background of a shell are started to ignore it
with ev.private_server() as server:
    print(server.pid, server.directory, flush=True)
    sys.stdin.read()
"""


@dataclass
class Household:
    """An owner process, its guard, its server and its directory."""

    owner: subprocess.Popen[str]
    guard: psutil.Process
    server: psutil.Process
    directory: Path

    def gone(self) -> bool:
        return not self.directory.exists() and not alive(self.server) and not alive(self.guard)


def alive(process: psutil.Process) -> bool:
    """A zombie is dead: in a container nobody may be there to bury it."""
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
async def household() -> AsyncIterator[Household]:
    owner = start_owner()
    assert owner.stdin is not None and owner.stdout is not None
    try:
        pid, directory = (await asyncio.to_thread(owner.stdout.readline)).split()
        server = psutil.Process(int(pid))
        guard = server.parent()
        assert guard is not None
        yield Household(owner, guard, server, Path(directory))
    finally:
        owner.stdin.close()
        owner.stdout.close()
        owner.kill()
        owner.wait()


async def test_it_goes_when_the_block_ends() -> None:
    with ev.private_server() as server:
        process = psutil.Process(server.pid)
        assert server.directory.exists() and alive(process)
    assert not server.directory.exists() and not alive(process)


async def test_it_goes_when_the_block_fails() -> None:
    with pytest.raises(KeyError), ev.private_server() as server:  # noqa: PT012 - leaving by an error is the point
        process = psutil.Process(server.pid)
        raise KeyError
    assert not server.directory.exists() and not alive(process)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
async def test_it_goes_when_its_owner_is_killed(how: signal.Signals) -> None:
    async with household() as house:
        house.owner.send_signal(how)
        await eventually(house.gone)


async def test_it_outlives_the_interrupt_that_its_owner_survives() -> None:
    """Ctrl-C goes to the whole process group of the terminal; the owner needs its server to finish."""
    async with household() as house:
        assert os.getpgid(house.server.pid) != os.getpgid(house.owner.pid)
        assert os.getpgid(house.guard.pid) != os.getpgid(house.owner.pid)


async def test_it_goes_when_its_guard_is_killed() -> None:
    async with household() as house:
        house.guard.kill()
        await eventually(lambda: not alive(house.server))
        assert house.owner.stdin is not None
        house.owner.stdin.close()  # the owner leaves its block
        await eventually(house.gone)


async def test_a_server_that_stopped_by_itself_leaves_nothing_either() -> None:
    with ev.private_server() as server:
        process = psutil.Process(server.pid)
        with redis.Redis.from_url(server.url) as client:
            client.shutdown(nosave=True)
        await eventually(lambda: not alive(process))
    assert not server.directory.exists()


async def test_the_guard_ends_in_peace_when_the_server_stops_by_itself(capfd: pytest.CaptureFixture[str]) -> None:
    with ev.private_server() as server:
        guard = psutil.Process(server.pid).parent()
        with redis.Redis.from_url(server.url) as client:
            client.shutdown(nosave=True)
        assert guard is not None
        await eventually(lambda: not alive(guard))
    assert capfd.readouterr().err == ""


async def test_two_do_not_meet(binary: Path) -> None:
    with ev.private_server(binary=binary) as one, ev.private_server(binary=binary, port=0) as two:
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


async def test_a_program_that_is_no_server_is_soon_a_typed_error_with_its_last_words(tmp_path: Path) -> None:
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\necho 'out of failure_draws' >&2\nexit 1\n")
    program.chmod(0o755)
    started_at = time.monotonic()
    with pytest.raises(ev.NoServer, match="out of failure_draws"), ev.private_server(binary=program):
        pass
    assert time.monotonic() - started_at < 5.0  # there is nothing to wait for
