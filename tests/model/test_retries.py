"""A retry comes after the wait that its policy allows, to the group that failed and to no other."""

from typing import Literal

import numpy as np
import pytest

from eventlib.policy import Retry, RetryBudget
from sim.declare.declared import Floats
from sim.declare.faults.errors import Errors
from sim.evidence.history import History
from sim.worlds.simulated import simulate
from tests.model.small import attempts_by_message, poisson, rows_of, scenario, service, steady

Jitter = Literal["full", "equal", "none"]
LOWEST: dict[Jitter, float] = {"full": 0.0, "equal": 0.5, "none": 1.0}  # share of the wait that is always waited


def waits_by_attempt_s(history: History) -> dict[int, Floats]:
    """Seconds from putting aside after attempt n to the start of attempt n + 1."""
    started = rows_of(history, "started")
    began_s = {(int(row["message"]), int(row["attempt"])): float(row["t_s"]) for row in started}
    waits: dict[int, list[float]] = {}
    for row in rows_of(history, "retried"):
        after = began_s[int(row["message"]), int(row["attempt"]) + 1]
        waits.setdefault(int(row["attempt"]), []).append(after - float(row["t_s"]))
    return {attempt: np.array(of_attempt) for attempt, of_attempt in waits.items()}


@pytest.mark.parametrize("jitter", ["full", "equal", "none"])
def test_waits_stay_within_the_policy_and_use_all_of_it(jitter: Jitter) -> None:
    """No message queues here, so the wait is the retry delay alone."""
    retry = Retry(attempts=6, wait_s=0.1, wait_s_max=0.5, factor=2.0, jitter=jitter)
    desk = service(0.0, concurrency=1000, error_rate=1.0, retry=retry)
    waits = waits_by_attempt_s(simulate(scenario(steady(500.0, 1.0), desk=desk), [0]))
    assert sorted(waits) == [1, 2, 3, 4, 5]
    for attempt, cap_s in {1: 0.1, 2: 0.2, 3: 0.4, 4: 0.5, 5: 0.5}.items():
        low_s = LOWEST[jitter] * cap_s
        assert len(waits[attempt]) == 500
        assert waits[attempt].min() >= low_s - 1e-9
        assert waits[attempt].max() <= cap_s + 1e-9
        # Of 500 uniform draws, none in the lowest or the highest 5 %: once in 10^11 seeds.
        spread_s = cap_s - low_s
        assert waits[attempt].min() <= low_s + 0.05 * spread_s + 1e-9
        assert waits[attempt].max() >= cap_s - 0.05 * spread_s - 1e-9


def test_a_retry_reaches_the_failing_group_alone() -> None:
    """Two services consume one event. When one of them retries it, the other one handles it once."""
    retry = Retry(attempts=5, wait_s=0.01)
    services = {"fails": service(error_rate=0.5, retry=retry), "works": service(retry=retry)}
    history = simulate(scenario(poisson(50.0, 2.0), drain_s=30.0, dependencies=None, **services), [0])
    again = [count for *_, count in attempts_by_message(history, "fails")]
    once = [count for *_, count in attempts_by_message(history, "works")]
    assert len(again) == len(once) > 50
    assert max(again) > 2
    assert set(once) == {1}


def test_nothing_waits_behind_a_retry() -> None:
    """A message that waits for its next attempt does not block the messages after it."""
    retry = Retry(attempts=2, wait_s=50.0, wait_s_max=50.0, jitter="none")
    desk = service(0.001, error_rate=0.2, retry=retry)
    history = simulate(scenario(steady(100.0, 1.0), drain_s=100.0, desk=desk), [0])
    first = rows_of(history, "started")
    first = first[first["attempt"] == 1]
    assert len(rows_of(history, "retried")) > 10
    assert len(first) == 100
    assert np.all(first["t_s"] - first["intended_s"] < 0.002)


def test_a_retry_does_not_queue_behind_new_messages() -> None:
    """A read brings new and retried entries alike: what is due goes before five seconds of backlog."""
    window = Errors(kind="errors", service="desk", at_s=0.0, for_s=0.05, error_rate=1.0)
    desk = service(0.1, retry=Retry(attempts=2, wait_s=0.0))
    history = simulate(scenario(steady(1000.0, 0.05), window, desk=desk), [0])
    again = rows_of(history, "started")
    again = again[again["attempt"] == 2]
    assert again["message"].tolist() == [0]
    assert again["t_s"][0] < 0.35
    assert history.runs[0].ended_s > 5.0


def test_an_attempt_fails_by_its_failure_draw_alone() -> None:
    """Attempt n of message i fails where the plan's `failure_draws` say so, whatever else happens."""
    retry = Retry(attempts=4, wait_s=0.01)
    declared = scenario(poisson(100.0, 2.0), desk=service(error_rate=0.4, retry=retry))
    failure_draws = declared.plan(3).failure_draws["desk"]
    expected = [1 + int(np.argmin(np.append(row[:-1] < 0.4, False))) for row in failure_draws]
    assert [count for *_, count in attempts_by_message(simulate(declared, [3]), "desk")] == expected


def test_trap_54_a_retry_budget_bounds_the_retries_whatever_fails() -> None:
    """1,000 events fail for 10 s: 20 saved-up retries and 5 a second may run, by one consumer, and no more."""
    budget = RetryBudget(ratio=0.1, per_s=5.0, burst=20.0, wait_s=0.5)
    retry = Retry(attempts=10, wait_s=0.05, wait_s_max=0.1)
    desk = service(0.0, concurrency=1000, error_rate=1.0, retry=retry, retry_budget=budget)
    history = simulate(scenario(steady(100.0, 10.0), desk=desk, drain_s=1.0), [0])
    started = rows_of(history, "started")
    length_s = history.runs[0].ended_s
    again = int((started["attempt"] > 1).sum())
    assert int((started["attempt"] == 1).sum()) == 1000
    assert 20 + 5.0 * length_s - 2 <= again <= 20 + 5.0 * length_s


def test_a_budget_that_is_never_spent_changes_nothing() -> None:
    retry = Retry(attempts=5, wait_s=0.02)
    plain = service(0.01, concurrency=4, error_rate=0.2, retry=retry)
    budgeted = plain.model_copy(update={"retry_budget": RetryBudget(ratio=1.0, per_s=1e6, burst=1e6)})
    load = poisson(50.0, 4.0)
    one, other = (simulate(scenario(load, desk=desk), range(2)) for desk in (plain, budgeted))
    assert one.rows.tobytes() == other.rows.tobytes()
