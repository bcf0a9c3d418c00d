"""What was taken over twice is handed out alone in the simulated world too, as `policy.is_suspect` says."""

from sim.evidence.history import History
from sim.worlds.simulated import simulate
from tests.model.small import kill, rows_of, scenario, service, steady


def run(kills: int) -> History:
    """One consumer handles all messages at once, each for a second, until it is killed."""
    desk = service(concurrency=50, mean_s=1.0, lease_s=0.6)
    faults = (kill("desk", 0.3 + 1.4 * number, 0.1) for number in range(kills))
    return simulate(scenario(steady(20.0, 1.8), *faults, desk=desk), [0])


def most_at_once(history: History, attempt: int) -> int:
    """How many messages that were handled at this attempt were under way at the same time, at most."""
    started, ended = rows_of(history, "started"), rows_of(history, "handled")
    begun_s = {int(row["message"]): float(row["t_s"]) for row in started[started["attempt"] == attempt]}
    spans = [(begun_s[int(row["message"])], float(row["t_s"])) for row in ended[ended["attempt"] == attempt]]
    return max(sum(begun <= at < end for begun, end in spans) for at, _ in spans)


def test_what_was_taken_over_once_is_handled_together_and_what_was_twice_one_at_a_time() -> None:
    once, twice = run(1), run(2)
    assert most_at_once(once, 2) == len([row for row in rows_of(once, "handled") if row["attempt"] == 2]) > 3
    assert most_at_once(twice, 2) > 3 and most_at_once(twice, 3) == 1
    assert len(rows_of(twice, "handled")) == len(rows_of(twice, "published")) == 36
