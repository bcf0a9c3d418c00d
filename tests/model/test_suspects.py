"""What was taken over twice is handed out alone in the simulated world too, as `policy.is_suspect` says."""

from pathlib import Path

import pytest

from sim.declare.loads.trace import TraceLoad
from sim.declare.task_queue import TaskQueue
from sim.evidence.history import History
from sim.worlds.simulated import simulate
from tests.model.small import kill, rows_of, scenario, service

MESSAGES = 20  # and one that comes last, because no fault may come after the load


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    file = tmp_path / "trace.csv"
    times = [f"2024-01-01 00:00:00.{number:03}000" for number in range(MESSAGES)] + ["2024-01-01 00:00:04.000000"]
    file.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n" + "".join(f"{time},1,1\n" for time in times))
    return file


def run(trace: Path, kills: int, queue: TaskQueue | None = None) -> History:
    """Twenty messages come almost at once to one consumer that handles all of them together, until it is killed."""
    desk = service(concurrency=MESSAGES, mean_s=1.0, lease_s=0.6, queue=queue)
    faults = (kill("desk", 0.3 + 1.4 * number, 0.1) for number in range(kills))
    return simulate(scenario(TraceLoad(kind="trace", event="placed", file=trace), *faults, desk=desk), [0])


def most_at_once(history: History) -> int:
    """How many messages had begun their last attempt and not ended it, at most."""
    ends = rows_of(history, "handled")
    starts = rows_of(history, "started")
    last = {int(row["message"]): float(row["t_s"]) for row in starts}  # in order of time
    return max(
        sum(last[int(other["message"])] <= at < float(other["t_s"]) for other in ends) for at in list(last.values())
    )


@pytest.mark.parametrize("queue", [None, TaskQueue()], ids=["events", "tasks"])
def test_after_one_kill_all_are_handled_together_and_after_two_one_at_a_time(
    trace: Path, queue: TaskQueue | None
) -> None:
    once, twice = run(trace, 1, queue), run(trace, 2, queue)
    assert list(rows_of(once, "handled")["attempt"]) == [2] * MESSAGES + [1] and most_at_once(once) == MESSAGES
    assert sorted(rows_of(twice, "handled")["attempt"]) == [1] + [3] * MESSAGES and most_at_once(twice) <= 2
