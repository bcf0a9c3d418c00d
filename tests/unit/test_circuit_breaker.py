"""The circuit breaker is a pure rule: every case passes in the time, nothing waits."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import eventlib as ev
from eventlib.circuit_breaker import Circuit, CircuitBreaker, speaks_of_dependency

RULE: dict[str, Any] = {"failures": 3, "failure_share": 0.5, "window_s": 10.0, "open_s": 5.0, "probes": 2}


def circuit(**rule: Any) -> Circuit:
    return Circuit(CircuitBreaker(**RULE | rule))


def fail(of: Circuit, now_s: float, times: int = 1) -> str | None:
    changed = None
    for _ in range(times):
        changed = of.ended(of.began(), now_s, failed=1) or changed
    return changed


def test_it_opens_with_enough_failures_in_the_window() -> None:
    one = circuit()
    assert fail(one, 1.0, 2) is None and one.state(1.0) == "closed"
    assert fail(one, 2.0) == "open" and not one.may_begin(2.0) and one.room(2.0, 16, 0) == 0


def test_failures_that_are_too_long_ago_do_not_count() -> None:
    one = circuit()
    assert fail(one, 0.0, 2) is None and fail(one, 11.0, 2) is None and fail(one, 12.0) == "open"


def test_a_small_share_of_failures_does_not_open_it() -> None:
    one = circuit()
    one.ended(one.began(), 1.0, succeeded=100)
    assert fail(one, 1.0, 99) is None and fail(one, 1.0) == "open"


def test_it_lets_a_few_probes_through_and_closes_when_they_succeed() -> None:
    one = circuit()
    fail(one, 0.0, 3)
    assert one.half_open_at_s == 5.0 and one.state(4.9) == "open" and one.state(5.0) == "half-open"
    assert one.room(5.0, 16, 0) == 2 and one.room(5.0, 16, 1) == 1
    first, second = one.began(), one.began()
    assert not one.may_begin(5.0) and one.room(5.0, 16, 2) == 0
    assert one.ended(first, 6.0, succeeded=1) is None and not one.may_begin(6.0)
    assert one.ended(second, 6.0, succeeded=1) == "closed" and one.room(6.0, 16, 0) == 16


def test_a_probe_that_fails_opens_it_again_and_what_failed_before_is_forgotten_once_it_closes() -> None:
    one = circuit(probes=1)
    fail(one, 0.0, 3)
    assert one.may_begin(5.0) and fail(one, 5.5) == "open" and one.half_open_at_s == 10.5
    assert one.may_begin(10.5) and one.ended(one.began(), 11.0, succeeded=1) == "closed"
    assert fail(one, 11.0, 2) is None


def test_outcomes_of_attempts_that_began_before_it_opened_decide_nothing() -> None:
    one = circuit(probes=1)
    before = one.began()
    fail(one, 0.0, 3)
    assert one.ended(before, 1.0, failed=1) is None and one.half_open_at_s == 5.0
    assert one.state(5.0) == "half-open" and one.ended(before, 5.0, succeeded=1) is None
    assert one.state(5.0) == "half-open" and one.may_begin(5.0)


def test_a_probe_whose_outcome_says_nothing_makes_room_for_another() -> None:
    one = circuit(probes=1)
    fail(one, 0.0, 3)
    assert one.may_begin(5.0)
    assert one.ended(one.began(), 6.0) is None and one.may_begin(6.0)


def test_a_batch_that_half_failed_counts_by_its_share() -> None:
    one = circuit(probes=1)
    assert one.ended(one.began(), 0.0, succeeded=90, failed=10) is None
    assert one.ended(one.began(), 0.0, failed=100) == "open"
    assert one.may_begin(5.0) and one.ended(one.began(), 5.0, succeeded=9, failed=1) == "closed"


@pytest.mark.parametrize(
    ("error", "speaks"),
    [
        (OSError(), True),
        (TimeoutError(), True),
        (ev.RetryAfter(1.0), True),
        (ev.Reject("no"), False),
        (ev.Snooze(1.0), False),
        (ev.UnknownEventType("x"), False),
        (ExceptionGroup("two", [OSError(), ev.Reject("no")]), False),
    ],
)
def test_only_errors_of_what_is_called_count(error: Exception, speaks: bool) -> None:
    assert speaks_of_dependency(error) is speaks


@pytest.mark.parametrize("wrong", [{"failures": 0}, {"failure_share": 0.0}, {"probes": 0}, {"open_s": 0}, {"x": 1}])
def test_an_invalid_breaker_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CircuitBreaker(**wrong)


@given(st.lists(st.tuples(st.floats(0.0, 3.0), st.sampled_from(["begin", "succeed", "fail"])), max_size=200))
def test_whatever_happens_no_more_probes_run_than_are_allowed(steps: list[tuple[float, str]]) -> None:
    one, now_s, running, probes = circuit(), 0.0, list[int](), list[int]()
    for wait_s, act in steps:
        now_s += wait_s
        if one.state(now_s) != "half-open":
            probes.clear()
        if act == "begin" and one.may_begin(now_s):
            (probes if one.state(now_s) == "half-open" else running).append(one.began())
            assert len(probes) <= 2 and one.state(now_s) != "open"
        elif act != "begin" and (probes or running):
            began = (probes or running).pop(0)
            one.ended(began, now_s, succeeded=act == "succeed", failed=act == "fail")
