"""What is false while the process stood still is measured again, and then unknown; a blocked loop is no standstill."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sim.claims import runner
from sim.claims.claim import claim, holds
from sim.claims.site import Site
from sim.claims.standstill import Standstill, still
from sim.evidence.claims import Finding


def standing_still(monkeypatch: pytest.MonkeyPatch, *longest_s: float) -> list[int]:
    """Let each measurement stand still for so long. Returns the list of those that were made."""
    made, times = list[int](), iter(longest_s)

    @contextmanager
    def looked() -> Iterator[Standstill]:
        found = Standstill()
        yield found
        made.append(len(made))
        found.longest_s = next(times)

    monkeypatch.setattr(runner, "still", looked)
    return made


@claim("S1", "never true", theme="bus", how="It is tried.", threshold="it works")
async def never(_: Site) -> Finding:
    return holds(False, "it does not")


@pytest.mark.parametrize(
    ("longest_s", "verdict", "tries"), [([0.0], "false", 1), ([0.3, 0.0], "false", 2), ([0.3, 0.4, 0.5], "unknown", 3)]
)
def test_what_is_false_while_the_process_stood_still_is_not_believed(
    url: str, monkeypatch: pytest.MonkeyPatch, longest_s: list[float], verdict: str, tries: int
) -> None:
    made = standing_still(monkeypatch, *longest_s)
    row = runner.measure_one(never, url)
    assert (row.verdict, len(made)) == (verdict, tries)
    assert ("stand still for 0.5 s" in row.finding.measured) == (verdict == "unknown")


PROGRAM = """
import time
from sim.claims.standstill import still
with still() as found:
    while not found.longest_s:  # until it has looked once
        time.sleep(0.01)
    print("ready", flush=True)
    input()
print(found.longest_s)
"""


def test_a_process_that_is_stopped_stands_still() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None and program.stdout.readline() == "ready\n"
        os.kill(program.pid, signal.SIGSTOP)
        time.sleep(0.4)  # what is tested: the program stands still for so long
        os.kill(program.pid, signal.SIGCONT)
        told, _ = program.communicate("go on\n")
    assert float(told) > 0.3


def test_code_that_waits_is_no_standstill() -> None:
    for blocked_s in (0.5, 2.0, 8.0):  # a machine that itself stood still for so long has more time
        with still() as found:
            time.sleep(blocked_s)  # as a blocked event loop does
        if found.longest_s < blocked_s / 2.0:
            return
    pytest.fail(f"it stood still for {found.longest_s:.1f} s")
