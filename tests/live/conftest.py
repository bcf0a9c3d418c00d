"""Consumer processes to kill, and the log of their handlers."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]


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
