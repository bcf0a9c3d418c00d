"""At extreme parameters the results are known without a calculation."""

import numpy as np
import pytest

from eventlib.policy import Retry
from sim.declare.faults import Fault
from sim.declare.faults.errors import Errors
from sim.evidence.checks import check
from sim.evidence.history import History
from sim.evidence.metrics import attempts, measure
from sim.worlds.simulated import simulate
from tests.model.small import kill, poisson, rows_of, scenario, service, steady

THRICE = Retry(attempts=3, wait_s=0.01, jitter="none")


def verdicts(history: History) -> dict[str, str]:
    return {one.name: one.verdict for one in check(history)}


def test_a_load_without_messages_has_no_numbers_and_unknown_verdicts() -> None:
    """Nothing is sent, so every number is missing and no check is true or false."""
    history = simulate(scenario(poisson(1e-9, 2.0), desk=service()), [0])
    assert len(rows_of(history, "sent")) == 0
    assert history.runs[0].ended_s == 2.0
    assert np.isnan(measure(history)["lag_s_p50"][0])
    assert verdicts(history)["lost"] == "unknown"


def test_every_attempt_fails() -> None:
    """Each message dies at the policy's last attempt exactly: 1 + N retries of work where all fails.

    Source: Brooker, "Fixing retries with token buckets and circuit breakers", 2022.
    """
    for allowed in (1, 2, 5):
        failing = service(error_rate=1.0, retry=Retry(attempts=allowed, wait_s=0.01))
        history = simulate(scenario(steady(50.0, 1.0), desk=failing), [0])
        assert set(rows_of(history, "dead")["attempt"]) == {allowed}
        assert len(rows_of(history, "dead")) == history.runs[0].left["desk"].dead == 50
        assert len(rows_of(history, "started")) == allowed * 50
        assert len(rows_of(history, "handled")) == 0
        assert set(verdicts(history).values()) == {"true"}


def test_no_attempt_fails() -> None:
    history = simulate(scenario(poisson(100.0, 2.0), desk=service(error_rate=0.0)), [0])
    assert len(rows_of(history, "failed")) == len(rows_of(history, "retried")) == len(rows_of(history, "dead")) == 0
    assert attempts(history.rows, 0).tolist() == [len(rows_of(history, "sent"))]


def test_work_that_takes_no_time_has_no_lag() -> None:
    """On an infinitely fast machine every message is handled the moment it is sent, through three services."""
    chain = {
        "a": service(0.0, emits=("second",)),
        "b": service(0.0, "second", emits=("third",)),
        "c": service(0.0, "third", concurrency=3, prefetch=2),
    }
    history = simulate(scenario(poisson(500.0, 1.0), drain_s=30.0, dependencies=None, **chain), [0])
    last = rows_of(history, "handled", "c")
    assert len(last) > 400
    assert last["t_s"].tolist() == last["intended_s"].tolist()


@pytest.mark.parametrize(("drain_s", "back_after_s"), [(0.5, None), (3.0, None), (0.5, 60.0)])
def test_all_consumers_die_and_none_comes_back(drain_s: float, back_after_s: float | None) -> None:
    faults = [kill("desk", 0.5, back_after_s, consumer) for consumer in (0, 1)]
    history = simulate(scenario(steady(100.0, 1.0), *faults, drain_s=drain_s, desk=service(consumers=2)), [0])
    left = history.runs[0].left["desk"]
    assert history.runs[0].ended_s == 1.0 + drain_s
    assert left.waiting + left.pending == 100 - len(rows_of(history, "handled")) > 0
    assert np.all(rows_of(history, "handled")["t_s"] <= 0.5)
    assert (verdicts(history)["pending"], verdicts(history)["lost"]) == ("false", "true"), "left is not lost"
    assert measure(history)["recovery_s"][0] == np.inf


def test_a_kill_before_anything_is_sent() -> None:
    """The consumer that takes its place does all the work, none of it for the second time."""
    history = simulate(scenario(poisson(100.0, 1.0), kill("desk", 0.0, 0.2), desk=service(0.001)), [0])
    assert rows_of(history, "killed")["t_s"].tolist() == [0.0]
    assert rows_of(history, "restarted")["t_s"].tolist() == [0.2]
    assert len(rows_of(history, "handled")) == len(rows_of(history, "started")) == len(rows_of(history, "sent")) > 50
    assert rows_of(history, "started")["t_s"].min() == 0.2
    assert set(verdicts(history).values()) == {"true"}


def test_a_kill_at_the_moment_of_the_first_message() -> None:
    """The message is the dead consumer's already: it is handled once its lease has ended, at the second attempt."""
    desk = service(0.001, lease_s=0.5)
    history = simulate(scenario(steady(100.0, 1.0), kill("desk", 0.0, 0.2), desk=desk), [0])
    again = rows_of(history, "handled")
    again = again[again["attempt"] > 1]
    assert again["message"].tolist() == [0]
    assert 0.5 < again["t_s"][0] < 1.3
    assert set(verdicts(history).values()) == {"true"}


@pytest.mark.parametrize(
    "late",
    [
        kill("desk", 20.0, 1.0),
        Errors(kind="errors", service="desk", at_s=1.001, for_s=1.0, error_rate=1),
    ],
)
def test_a_fault_after_the_loads_end_is_refused(late: Fault) -> None:
    """It would meet nothing, or what is left over, and look as if it did no harm."""
    with pytest.raises(ValueError, match=rf"faults: .* at {late.at_s:g} s, after the load's end at 1 s; lower at_s"):
        scenario(steady(100.0, 1.0), late, desk=service(0.001))


def test_errors_come_in_their_window_alone() -> None:
    """Attempts that start in [1 s, 2 s) all fail, and none before or after."""
    window = Errors(kind="errors", service="desk", at_s=1.0, for_s=1.0, error_rate=1.0)
    history = simulate(scenario(steady(100.0, 3.0), window, desk=service(0.0, retry=THRICE)), [0])
    failed, started = rows_of(history, "failed"), rows_of(history, "started")
    inside = (started["t_s"] >= 1.0) & (started["t_s"] < 2.0)
    assert len(failed) == inside.sum() > 250
    assert np.all((failed["t_s"] >= 1.0) & (failed["t_s"] < 2.0))


def test_an_error_window_can_lower_the_error_rate() -> None:
    window = Errors(kind="errors", service="desk", at_s=0.0, for_s=10.0, error_rate=0.0)
    history = simulate(scenario(steady(100.0, 1.0), window, desk=service(error_rate=1.0)), [0])
    assert len(rows_of(history, "failed")) == 0


@pytest.mark.parametrize("allowed", [1, 2, 3])
def test_a_message_that_kills_its_consumers_becomes_a_dead_letter(allowed: int) -> None:
    """A consumer that dies uses up an attempt. When all are used up, no handler gets the message again."""
    poison = service(10.0, lease_s=0.4, retry=Retry(attempts=allowed))
    kills = [kill("desk", 1.0 + 2.0 * number, 0.1) for number in range(allowed + 2)]
    history = simulate(scenario(steady(0.1, 10.0), *kills, desk=poison), [0])
    assert rows_of(history, "started")["attempt"].tolist() == list(range(1, allowed + 1))
    assert len(rows_of(history, "dead")) == history.runs[0].left["desk"].dead == 1
    assert len(rows_of(history, "handled")) == len(rows_of(history, "failed")) == 0
    assert set(verdicts(history).values()) == {"true"}


def test_a_lease_is_renewed_while_its_handler_works() -> None:
    """Read at 0 s and killed at 3 s, with a lease of 0.6 s: renewed at 2.8 s at the earliest, so held until 3.4 s."""
    history = simulate(scenario(steady(0.1, 10.0), kill("desk", 3.0, 0.0), desk=service(10.0, lease_s=0.6)), [0])
    first, again = rows_of(history, "started")["t_s"].tolist()
    assert first == 0.0
    assert 3.4 - 1e-9 <= again <= 3.0 + 2.1 * 0.6


def test_a_group_sweeps_twice_a_lease() -> None:
    """However many consumers there are, messages of several dead consumers are taken over in steps of half a lease."""
    kills = [kill("desk", 1.0 + 0.13 * consumer, None, consumer) for consumer in range(10)]
    desk = service(30.0, consumers=20, concurrency=20, lease_s=1.0)
    history = simulate(scenario(steady(8.0, 2.5), *kills, drain_s=60.0, desk=desk), [0])
    again = rows_of(history, "started")
    looks_s = np.unique(again[again["attempt"] > 1]["t_s"])
    assert len(looks_s) >= 3
    assert np.all(np.diff(looks_s) >= 0.5 - 1e-9)


def test_attempts_before_a_retry_count_towards_poison() -> None:
    """The first attempt fails and is retried; the second and third kill their consumers. No attempt is left."""
    failing = Errors(kind="errors", service="desk", at_s=0.0, for_s=0.5, error_rate=1.0)
    kills = [kill("desk", at_s, 0.1) for at_s in (4.0, 6.0)]
    poison = service(3.0, lease_s=0.4, retry=THRICE)
    history = simulate(scenario(steady(0.1, 10.0), failing, *kills, desk=poison), [0])
    assert rows_of(history, "failed")["attempt"].tolist() == [1]
    assert rows_of(history, "started")["attempt"].tolist() == [1, 2, 3]
    assert len(rows_of(history, "dead")) == 1
