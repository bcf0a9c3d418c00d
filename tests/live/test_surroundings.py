"""Live processes are safe from where they are started: what is in the user's folder and environment breaks no run."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from eventlib.testing import eventually
from sim.errors import LiveRunFailed
from sim.worlds.live import run_live
from sim.worlds.process_pool import PoolProcess, ProcessPool, process_pool
from tests.live.live_runs import in_time, no_process_left
from tests.model.small import scenario, service, steady

pytestmark = pytest.mark.own_fork_server

# It says what became of the run in its last line. Where it runs is no folder that it imports from.
RUN = """
import asyncio, os, sys
from sim.errors import LiveRunFailed
from sim.worlds.live import run_live
from sim.declare.scenario import Scenario
declared = Scenario.model_validate_json(sys.argv[1])
sys.path.insert(0, "")  # as in a notebook: everything that this process needs is imported already
if len(sys.argv) > 3:
    os.rmdir(sys.argv[3])
try:
    history = asyncio.run(run_live(declared, [0], repeats=1, url=sys.argv[2]))
    print("handled", history.runs[0].left["desk"])
except LiveRunFailed as error:
    print(error)
"""
TOP = Path(__file__).parents[2]
TINY = scenario(steady(50.0, 0.1), desk=service(0.001))
HANDLED = "handled Left(waiting=0, pending=0, retrying=0, delayed=0, dead=0)"
# Modules of ours, of what we need, and of the standard library.
NAMES = ("sim", "eventlib", "redis", "simpy", "numpy", "pydantic", "json", "random", "types", "asyncio", "selectors")


def last_line(
    url: str, place: Path, *arguments: str, environment: Mapping[str, str] | None = None, limits: str = ""
) -> str:
    """The last line of a run that is started from this folder."""
    program = [sys.executable, "-P", "-c", RUN, TINY.model_dump_json(by_alias=True), url, *arguments]
    command = ["bash", "-c", f'{limits} exec "$@"', "run", *program]
    done = subprocess.run(
        command,
        cwd=place,
        env=os.environ | {"PYTHONPATH": str(TOP)} | dict(environment or {}),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    return done.stdout.splitlines()[-1] if done.stdout else done.stderr


def test_modules_beside_the_scenario_are_not_imported(url: str, tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported by mistake')\n")
    assert last_line(url, tmp_path) == HANDLED


def test_the_environment_breaks_no_run(url: str, tmp_path: Path) -> None:
    """Nor does what Python prints when it starts: it is no report."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text("print('Welcome to the corporate Python')\nprint('{', flush=True)\n")
    environment = {
        "PYTHONPATH": f"{site}:{TOP}:",  # the last one is the current directory
        "PYTHONWARNINGS": "error",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONIOENCODING": "ascii",
        "PYTHONSTARTUP": "/nowhere.py",
        "LC_ALL": "C",
        "TMPDIR": "/nowhere",
    }
    assert last_line(url, tmp_path, environment=environment) == HANDLED


def test_the_current_directory_may_be_gone_and_the_path_of_the_rows_long(url: str, tmp_path: Path) -> None:
    gone, rows = tmp_path / "gone", tmp_path / ("a long name with spaces " * 6).strip()
    gone.mkdir()
    rows.mkdir()
    assert last_line(url, gone, str(gone), environment={"TMPDIR": str(rows)}) == HANDLED


def test_too_few_files_are_told(url: str, tmp_path: Path) -> None:
    said = last_line(url, tmp_path, limits="ulimit -n 12;")
    assert said.startswith("live run: ") and "Too many open files" in said


async def test_twenty_consumers_work_with_44_open_files(url: str, tmp_path: Path) -> None:
    """The fork server needs one file for each of them."""
    twenty = scenario(steady(50.0, 0.1), desk=service(0.001, consumers=20)).model_dump_json(by_alias=True)
    program = [sys.executable, "-c", RUN, twenty, url]
    command = ["bash", "-c", 'ulimit -n 44; exec "$@"', "run", *program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)  # noqa: ASYNC221
    assert done.stdout.splitlines()[-1:] == [HANDLED], done


async def test_the_last_words_of_a_dead_fork_server_are_told(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = tmp_path / "start_fork_server.py"
    dying.write_text("import sys\nprint('I was here')\nsys.exit('and have no licence')\n")
    monkeypatch.setattr("sim.worlds.process_pool._PROGRAM", dying)
    with no_process_left(), pytest.raises(LiveRunFailed) as failed:
        await in_time(run_live(TINY, [0], repeats=1, url=url))
    assert "the fork server ended although it was not told to; the last words" in failed.value.problem
    assert "I was here" in failed.value.problem and "and have no licence" in failed.value.problem


async def test_a_fork_server_that_hangs_is_given_up(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says nothing and obeys nothing. The run ends with what it was waiting for, and leaves nothing running."""
    hanging = tmp_path / "start_fork_server.py"
    hanging.write_text("import threading\nprint('hold the line', flush=True)\nthreading.Event().wait()\n")
    monkeypatch.setattr("sim.worlds.process_pool._PROGRAM", hanging)
    monkeypatch.setattr("sim.worlds.process_pool._START_S", 1.0)
    monkeypatch.setattr("sim.worlds.process_pool._STOP_S", 0.2)
    ready = ProcessPool.ready

    async def ready_once_heard(pool: ProcessPool, processes: Sequence[PoolProcess]) -> None:
        """A busy machine may take seconds to start it."""
        await eventually(lambda: b"hold the line" in pool._heard)
        await ready(pool, processes)

    monkeypatch.setattr(ProcessPool, "ready", ready_once_heard)
    with no_process_left(), pytest.raises(LiveRunFailed, match=r"desk 0, generator was not ready .* hold the line"):
        await in_time(run_live(TINY, [0], repeats=1, url=url))


async def test_a_python_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with pytest.raises(LiveRunFailed, match="its processes could not be started: No such file or directory"):
        async with process_pool():
            pass
