"""Consumer processes to kill, and the diary that they write."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]


@dataclass
class Office:
    """Starts clerks and reads their diary."""

    diary: Path
    clerks: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def hire(self, url: str, namespace: str, work_s: float, trade: str = "clerk") -> subprocess.Popen[bytes]:
        """A new consumer process."""
        command = [sys.executable, "-m", f"tests.live.{trade}", url, namespace, str(self.diary), str(work_s)]
        self.clerks.append(subprocess.Popen(command, cwd=TOP))
        return self.clerks[-1]

    def noted(self, what: str) -> list[int]:
        """The numbers of the orders begun, or done, in the order of happening."""
        lines = self.diary.read_text().splitlines() if self.diary.exists() else []
        return [int(line.split()[1]) for line in lines if line.startswith(what)]


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    opened = Office(tmp_path / "diary")
    yield opened
    for clerk in opened.clerks:
        clerk.kill()
        clerk.wait()
