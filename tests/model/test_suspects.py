"""What was taken over twice is handed out alone in the simulated world too, as `policy.is_suspect` says."""

from sim.evidence.history import History
from sim.worlds.simulated import simulate
from tests.model.small import kill, rows_of, scenario, service, steady

MESSAGES = 20


def run(kills: int) -> History:
    """Twenty messages come almost at once to one consumer that handles all of them together, until it is killed."""
    desk = service(concurrency=MESSAGES, mean_s=1.0, lease_s=0.6)
    faults = (kill("desk", 0.3 + 1.4 * number, 0.1) for number in range(kills))
    return simulate(scenario(steady(MESSAGES / 0.05, 0.05), *faults, desk=desk), [0])


def most_at_once(history: History) -> int:
    """How many messages had begun their last attempt and not ended it, at most."""
    ends = rows_of(history, "handled")
    starts = rows_of(history, "started")
    last = {int(row["message"]): float(row["t_s"]) for row in starts}  # in order of time
    return max(
        sum(last[int(other["message"])] <= at < float(other["t_s"]) for other in ends) for at in list(last.values())
    )


def test_after_one_kill_all_are_handled_together_and_after_two_one_at_a_time() -> None:
    once, twice = run(1), run(2)
    assert set(rows_of(once, "handled")["attempt"]) == {2} and most_at_once(once) == MESSAGES
    assert set(rows_of(twice, "handled")["attempt"]) == {3} and most_at_once(twice) == 1
    assert len(rows_of(twice, "handled")) == MESSAGES
