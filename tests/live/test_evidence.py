"""Evidence that cannot be written is an error: rows that are missing must not look like messages that were lost."""

import asyncio
import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from sim.declare.scenario import Scenario
from sim.errors import InvalidHistory, LiveRunFailed
from sim.evidence.history import ROW
from sim.worlds.live import run_live
from sim.worlds.messages import MessageSent
from sim.worlds.recorder import Recorder
from tests.live.live_runs import in_time, keys_of_runs, no_process_left, under_way
from tests.model.small import scenario, service, steady
from tests.sim.handmade import history, whole

# It may write files of so many bytes, and so may the processes that it starts. The server is there already.
LIMITED = """
import asyncio, resource, sys
from sim.errors import LiveRunFailed
from sim.worlds.live import run_live
from sim.declare.scenario import Scenario
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
try:
    asyncio.run(run_live(Scenario.model_validate_json(sys.argv[2]), [0], repeats=1, url=sys.argv[3]))
except LiveRunFailed as error:
    print(error)
"""


def orders(consumers: int) -> Scenario:
    """A hundred orders: two rows each from the generator, three each from the consumers."""
    return scenario(steady(200.0, 0.5), desk=service(0.001, consumers=consumers))


@pytest.mark.parametrize(
    ("consumers", "rows", "who"),
    [
        (1, 250, "desk 0"),  # the generator has written its 200 rows
        (8, 150, "generator"),  # each consumer writes about 40
    ],
)
async def test_a_row_that_cannot_be_written_fails_the_run(url: str, consumers: int, rows: int, who: str) -> None:
    declared = orders(consumers).model_dump_json(by_alias=True)
    command = [sys.executable, "-c", LIMITED, str(rows * ROW.itemsize + 7), declared, url]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=90, check=False)
    problem = f"live run: {who} failed: evidence: a row could not be written: {os.strerror(errno.EFBIG)}"
    assert done.stdout.startswith(problem), done
    assert await keys_of_runs(url) == set()


def message() -> MessageSent:
    return MessageSent(index=0, intended_s=0.0)


async def test_a_full_disk_is_noticed_with_the_first_row() -> None:
    recorder = Recorder("/dev/full", orders(1), "", -1)
    recorder.check()
    with pytest.raises(LiveRunFailed, match="evidence: a row could not be written: No space left on device"):
        recorder.add("sent", "placed", message())
    assert recorder.failed.done()
    with pytest.raises(LiveRunFailed, match="No space left on device"):
        recorder.check()


async def test_a_row_that_is_written_in_part_is_an_error(tmp_path: Path) -> None:
    """So ends a disk that has room for less than a row: it takes what fits."""
    recorder = Recorder(str(tmp_path / "rows"), orders(1), "", -1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROW.itemsize - 1, before[1]))
    try:
        with pytest.raises(LiveRunFailed, match="File too large"):
            recorder.add("sent", "placed", message())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_closed_file_is_an_error(tmp_path: Path) -> None:
    recorder = Recorder(str(tmp_path / "rows"), orders(1), "", -1)
    os.close(recorder.file)
    with pytest.raises(LiveRunFailed, match="Bad file descriptor"):
        recorder.add("sent", "placed", message())


async def test_a_place_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LiveRunFailed, match="No such file or directory"):
        Recorder(str(tmp_path / "missing" / "rows"), orders(1), "", -1)


async def test_rows_that_disappear_fail_the_run(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something tidies up in the middle of a run: what the processes write is not to be found at its end."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with no_process_left():
        async with under_way(url, scenario(steady(100.0, 1.0), desk=service(0.001))) as run:
            for file in tmp_path.glob("workbench-run-*/*.rows"):  # noqa: ASYNC240 - it takes microseconds
                file.unlink()
            with pytest.raises(LiveRunFailed, match=r"evidence: .*rows cannot be read: No such file or directory"):
                await in_time(run)


async def test_without_a_directory_the_run_fails(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(**_: str) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tempfile.mkdtemp", no_room)
    with no_process_left(), pytest.raises(LiveRunFailed, match="no directory to write to: No space left on device"):
        await in_time(run_live(orders(1), [0], repeats=1, url=url))


def test_a_history_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    for place, problem in (
        ("/dev/full", "/dev/full: cannot be written: No space left on device"),
        (tmp_path / "missing" / "history.parquet", "cannot be written: No such file or directory"),
    ):
        with pytest.raises(InvalidHistory, match=problem):
            history(whole(0, 0.0, 1.0)).save(place)
