"""What the owner of a private server starts, in whatever way, neither keeps the server alive nor holds up its end."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis

from eventlib.testing import eventually, private_server
from tests.testing.owner import ENDINGS, LIVES_S, STARTS

TOP = Path(__file__).parents[2]


@pytest.fixture
def started() -> Iterator[list[int]]:
    """Processes to kill at the end of the test."""
    pids = list[int]()
    yield pids
    for pid in pids:
        if psutil.pid_exists(pid):
            os.kill(pid, signal.SIGKILL)


def alive(pid: int) -> bool:
    """False for a zombie: in a container there may be no process that waits for it."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def run_owner(ending: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.testing.owner", ending]
    return subprocess.Popen(command, cwd=TOP, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # this process has threads, and is to be forked
@pytest.mark.parametrize("start", STARTS)
def test_a_block_ends_whatever_was_started_in_it(start: str, started: list[int]) -> None:
    with private_server() as server:
        started.append(STARTS[start]())
    assert alive(started[0])  # the end of the block has not waited for it
    assert not alive(server.pid) and not server.directory.exists()


@pytest.mark.parametrize("ending", ENDINGS)
async def test_the_server_goes_with_its_owner_whatever_was_started_by_it(ending: str, started: list[int]) -> None:
    owner = run_owner(ending)
    assert owner.stdout is not None
    with owner.stdout as said:
        server, directory, *pids = said.readline().split()
    started += map(int, pids)
    owner.wait(LIVES_S / 2.0)
    assert sum(map(alive, started)) >= len(STARTS) - 3  # what multiprocessing has started may end with it
    await eventually(lambda: not alive(int(server)) and not Path(directory).exists())


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_that_leaves_the_block_takes_nothing_with_it() -> None:
    owner = os.getpid()
    try:
        with private_server() as server:
            if (child := os.fork()) == 0:
                sys.exit(0)
            os.waitpid(child, 0)
            with redis.Redis.from_url(server.url) as client:
                assert client.ping()
            assert server.directory.exists()
    finally:
        if os.getpid() != owner:
            os._exit(0)
    assert not server.directory.exists()
