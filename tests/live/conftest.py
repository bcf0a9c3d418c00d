"""Consumer processes to kill, and the log of their handlers."""

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sim.worlds import process_pool

TOP = Path(__file__).parents[2]
WORKS_S = 60.0  # longest wait for a process that has just been started: on a busy machine, it may import for half of it


@dataclass
class ConsumerProcesses:
    """Starts consumer processes and reads the log that their handlers write."""

    handler_log: Path
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, url: str, namespace: str, work_s: float, program: str = "consumer") -> subprocess.Popen[bytes]:
        """A new consumer process."""
        command = [sys.executable, "-m", f"tests.live.{program}", url, namespace, str(self.handler_log), str(work_s)]
        self.started.append(subprocess.Popen(command, cwd=TOP))
        return self.started[-1]

    def noted(self, what: str) -> list[int]:
        """The numbers of the orders begun, or done, in the order of observation."""
        lines = self.handler_log.read_text().splitlines() if self.handler_log.exists() else []
        return [int(line.split()[1]) for line in lines if line.startswith(what)]


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[ConsumerProcesses]:
    opened = ConsumerProcesses(tmp_path / "handlers.log")
    yield opened
    for consumer in opened.started:
        consumer.kill()
        consumer.wait()


@pytest.fixture(scope="session")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where fork servers are forked, which takes milliseconds."""
    place = tmp_path_factory.mktemp("nursery") / "socket"
    command = [sys.executable, "-m", "tests.live.nursery", str(place)]
    with subprocess.Popen(command, cwd=TOP, stdin=subprocess.PIPE) as process:
        while not place.exists():
            assert process.poll() is None
            time.sleep(0.01)
        yield place


@pytest.fixture(scope="module", autouse=True)
def forked_runs(request: pytest.FixtureRequest, nursery: Path) -> Iterator[None]:
    """The live runs of a module have fork servers of the nursery, unless these are what it tests."""
    with pytest.MonkeyPatch.context() as patched:
        if request.node.get_closest_marker("own_fork_server") is None:
            patched.setenv("TEST_NURSERY", str(nursery))
            patched.setattr(process_pool, "_PROGRAM", Path(__file__).with_name("start_forked.py"))
        yield
