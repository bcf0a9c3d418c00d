"""Decisions are pure functions: every case here is a table or a bound, nothing waits."""

import asyncio
import itertools
import math
import random
from collections import deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import eventlib as ev
from eventlib import policy
from eventlib.consume.fetch_size import FetchSize
from eventlib.policy import ACK, GiveUp, Lease, RetryIn

HIGHEST = math.nextafter(1.0, 0.0)


class Always:
    """A generator that always draws the same number."""

    def __init__(self, drawn: float) -> None:
        self._drawn = drawn

    def random(self) -> float:
        return self._drawn


MIDDLE = Always(0.5)


def wanted_wait_s(retry: ev.Retry, attempt: int) -> float:
    """The documented formula, computed in logarithms so that nothing overflows."""
    if retry.wait_s == 0.0 or retry.wait_s_max == 0.0:
        return 0.0
    log_wait = math.log(retry.wait_s) + (attempt - 1) * math.log(retry.factor)
    return math.exp(min(log_wait, math.log(retry.wait_s_max)))


def test_waits_double_up_to_the_cap() -> None:
    retry = ev.Retry(attempts=9, wait_s=1.0, wait_s_max=10.0, factor=2.0, jitter="none")
    assert [retry.delay_s(attempt, MIDDLE) for attempt in range(1, 7)] == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


@pytest.mark.parametrize(("jitter", "lowest", "highest"), [("full", 0.0, 8.0), ("equal", 4.0, 8.0), ("none", 8.0, 8.0)])
def test_jitter_draws_from_its_whole_interval(jitter: Any, lowest: float, highest: float) -> None:
    retry = ev.Retry(wait_s=1.0, jitter=jitter)
    assert retry.delay_s(4, Always(0.0)) == lowest
    assert retry.delay_s(4, Always(HIGHEST)) == pytest.approx(highest)


def test_immediate_retries_come_first_and_do_not_lengthen_the_waits() -> None:
    retry = ev.Retry(attempts=9, immediate=2, wait_s=1.0, wait_s_max=3.0, jitter="none")
    assert [retry.delay_s(attempt, MIDDLE) for attempt in range(1, 6)] == [0.0, 0.0, 1.0, 2.0, 3.0]


def some_retries() -> list[ev.Retry]:
    rng = random.Random(7)
    return [
        ev.Retry(
            wait_s=rng.choice([0.0, 1e-6, 0.1, 3.0, 1e6]),
            wait_s_max=rng.choice([0.0, 1e-3, 30.0, 1e9]),
            factor=rng.choice([1.0, 1.01, 1.5, 2.0, 10.0, 1e6]),
            jitter=rng.choice(["full", "equal", "none"]),
        )
        for _ in range(300)
    ]


@pytest.mark.parametrize("attempt", [1, 2, 7, 64, 65, 66, 1000, 10**6, 10**9])
def test_every_wait_is_finite_and_within_the_documented_bounds(attempt: int) -> None:
    rng = random.Random(8)
    for retry in some_retries():
        wait_s, delay_s = wanted_wait_s(retry, attempt), retry.delay_s(attempt, rng)
        lowest = {"full": 0.0, "equal": wait_s / 2.0, "none": wait_s}[retry.jitter]
        assert lowest * (1 - 1e-6) <= delay_s <= wait_s * (1 + 1e-6), retry


def test_without_jitter_a_later_attempt_never_waits_less() -> None:
    for retry in some_retries():
        steady = retry.model_copy(update={"jitter": "none"})
        waits = [steady.delay_s(attempt, MIDDLE) for attempt in range(1, 100)]
        assert all(earlier <= later for earlier, later in itertools.pairwise(waits)), steady


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempts": 0},
        {"wait_s": -0.1},
        {"wait_s": math.nan},
        {"wait_s_max": math.inf},
        {"factor": 0.5},
        {"jitter": "some"},
        {"tries": 3},
    ],
)
def test_an_invalid_retry_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ev.Retry(**wrong)


def test_a_retry_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        ev.Retry().attempts = 6  # type: ignore[misc]


@pytest.mark.parametrize(("attempt", "admitted"), [(1, True), (3, True), (4, False), (900, False)])
def test_an_entry_that_used_up_its_attempts_without_a_reported_failure_is_poison(attempt: int, admitted: bool) -> None:
    decided = policy.admit(ev.Retry(attempts=3), None, attempt, attempt - 1, 0.0, MIDDLE)
    assert decided == (None if admitted else GiveUp("poison"))


def test_only_a_retry_needs_a_token_and_poison_takes_none() -> None:
    bucket = policy.TokenBucket(ev.RetryBudget(ratio=0.0, per_s=0.0, burst=1.0, wait_s=4.0), 0.0)
    retry = ev.Retry(attempts=3)
    assert policy.admit(retry, bucket, 1, 0, 0.0, MIDDLE) is None
    assert policy.admit(retry, bucket, 4, 3, 0.0, MIDDLE) == GiveUp("poison")
    assert policy.admit(retry, bucket, 2, 1, 0.0, MIDDLE) is None  # takes the only token
    assert policy.admit(retry, bucket, 2, 1, 0.0, MIDDLE) == RetryIn(4.0, counts=False)


BUDGET = ev.RetryBudget(ratio=0.5, per_s=2.0, burst=3.0, wait_s=4.0)


def test_a_token_bucket_begins_full_and_is_spent() -> None:
    bucket = policy.TokenBucket(BUDGET, 100.0)
    assert [bucket.spend(100.0, MIDDLE) for _ in range(4)] == [None, None, None, RetryIn(4.0, counts=False)]


def test_a_token_bucket_earns_by_what_is_handled_and_by_time_up_to_its_burst() -> None:
    bucket = policy.TokenBucket(BUDGET, 0.0)
    while bucket.spend(0.0, MIDDLE) is None:
        pass
    bucket.earn()
    assert bucket.spend(0.0, MIDDLE) is not None
    bucket.earn()
    assert bucket.spend(0.0, MIDDLE) is None  # two handled earn one retry
    assert bucket.spend(0.4, MIDDLE) is not None
    assert bucket.spend(0.5, MIDDLE) is None  # half a second earns one
    assert [bucket.spend(1000.0, MIDDLE) is None for _ in range(4)] == [True, True, True, False]


def test_retries_held_back_by_the_budget_ask_again_at_different_times() -> None:
    bucket = policy.TokenBucket(ev.RetryBudget(ratio=0.0, per_s=0.0, burst=1.0, wait_s=4.0), 0.0)
    bucket.spend(0.0, MIDDLE)
    assert bucket.spend(0.0, Always(0.0)) == RetryIn(2.0, counts=False)
    late = bucket.spend(0.0, Always(HIGHEST))
    assert late is not None and late.delay_s == pytest.approx(6.0)


def test_a_clock_that_stands_still_or_goes_back_earns_nothing() -> None:
    bucket = policy.TokenBucket(ev.RetryBudget(ratio=0.0, per_s=1.0, burst=1.0), 10.0)
    assert bucket.spend(10.0, MIDDLE) is None
    assert bucket.spend(5.0, MIDDLE) is not None


@pytest.mark.parametrize("wrong", [{"ratio": -0.1}, {"per_s": -1.0}, {"burst": 0.5}, {"wait_s": 0.0}, {"rate": 1.0}])
def test_an_invalid_budget_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ev.RetryBudget(**wrong)


RETRY = ev.Retry(attempts=3, wait_s=1.0, jitter="none")
DECISIONS = [
    (1, None, ACK),
    (3, None, ACK),
    (1, ValueError("no"), RetryIn(1.0)),
    (2, ValueError("no"), RetryIn(2.0)),
    (3, ValueError("no"), GiveUp("exhausted")),
    (4, ValueError("no"), GiveUp("exhausted")),
    (1, asyncio.CancelledError(), RetryIn(1.0)),
    (1, SystemExit(1), RetryIn(1.0)),
    (1, TimeoutError(), RetryIn(1.0)),
    (1, ev.BrokerUnavailable("here", "gone"), RetryIn(1.0)),
    (1, ev.Reject("no"), GiveUp("rejected")),
    (3, ev.Reject("no"), GiveUp("rejected")),
    (1, ev.RetryAfter(7.0), RetryIn(7.0)),
    (3, ev.RetryAfter(7.0), GiveUp("exhausted")),
    (1, ev.Snooze(7.0), RetryIn(7.0, counts=False)),
    (3, ev.Snooze(7.0), RetryIn(7.0, counts=False)),
    (1, ev.BusClosed(), RetryIn(1.0)),
    (1, ev.UnknownEventType("Order"), GiveUp("usage")),
    (1, ev.DecodeError("no"), GiveUp("undecodable")),
]


@pytest.mark.parametrize(("attempt", "error", "decision"), DECISIONS)
def test_what_follows_an_attempt(attempt: int, error: BaseException | None, decision: policy.Decision) -> None:
    assert policy.decide(RETRY, attempt, error, MIDDLE) == decision


def test_one_attempt_means_no_retry() -> None:
    assert policy.decide(ev.Retry(attempts=1), 1, ValueError(), MIDDLE) == GiveUp("exhausted")


def test_a_lease_leaves_room_for_two_lost_renewals() -> None:
    lease = Lease(30.0)
    assert lease.renew_every_s * 3 == pytest.approx(lease.duration_s)
    assert lease.sweep_every_s < lease.duration_s


def test_consumers_do_not_all_sweep_at_once() -> None:
    lease = Lease(10.0)
    assert lease.sweep_wait_s(Always(0.0)) == pytest.approx(4.0)
    assert lease.sweep_wait_s(Always(HIGHEST)) == pytest.approx(6.0)


@pytest.mark.parametrize(("held", "room"), [(0, 6), (5, 1), (6, 0), (9, 0)])
def test_a_consumer_asks_for_no_more_than_it_may_hold(held: int, room: int) -> None:
    assert policy.capacity_left(concurrency=4, prefetch=2, held=held) == room


@pytest.mark.parametrize("delay_s", [-7.0, float("nan"), float("inf"), "soon", None])
@pytest.mark.parametrize("signal", [ev.RetryAfter, ev.Snooze])
def test_an_invalid_delay_is_refused_where_it_is_raised(signal: type[ev.Snooze], delay_s: float) -> None:
    with pytest.raises((ValueError, TypeError)):
        signal(delay_s)


KB, MB = 2**10, 2**20


def test_a_fetch_size_begins_small_and_doubles_while_all_that_was_asked_for_comes() -> None:
    fetch_size, asked = FetchSize(100), list[int]()
    for _ in range(6):
        asked.append(fetch_size.count)
        fetch_size.came(fetch_size.count, [KB] * fetch_size.count)
    assert asked == [100, 200, 400, 500, 500, 500]


@pytest.mark.parametrize(
    ("batch", "first", "most"), [(100, 100, 500), (200, 200, 400), (300, 300, 300), (700, 700, 700), (5000, 1000, 1000)]
)
def test_a_fetch_size_is_whole_batches(batch: int, first: int, most: int) -> None:
    fetch_size = FetchSize(batch)
    assert fetch_size.count == first
    for _ in range(4):
        fetch_size.came(fetch_size.count, [KB] * fetch_size.count)
    assert fetch_size.count == most


def test_a_fetch_size_of_large_entries_is_about_eight_megabytes() -> None:
    fetch_size = FetchSize(100)
    for size, count in [(MB, 8), (MB, 8), (16 * MB, 1), (64 * MB, 1), (KB, 2), (KB, 4)]:
        fetch_size.came(fetch_size.count, [size] * fetch_size.count)
        assert fetch_size.count == count


def test_after_a_quiet_time_a_fetch_size_is_small_again() -> None:
    """The next entries may be of another size."""
    fetch_size = FetchSize(100)
    fetch_size.count = 500
    for came, count in [(150, 300), (200, 300), (0, 100)]:
        fetch_size.came(fetch_size.count, [KB] * came)
        assert fetch_size.count == count
    fetch_size.came(fetch_size.count, [MB] * fetch_size.count)
    for _ in range(3):
        fetch_size.came(fetch_size.count, [])
        assert fetch_size.count == 8  # what was learned of their size is not forgotten


def test_a_fetch_size_is_halved_after_a_failed_read() -> None:
    fetch_size = FetchSize(10)
    seen = []
    for _ in range(5):
        fetch_size.failed()
        seen.append(fetch_size.count)
    assert seen == [5, 2, 1, 1, 1]


REJECTED, LATER, LATEST, SNOOZED = ev.Reject("no"), ev.RetryAfter(1.0), ev.RetryAfter(9.0), ev.Snooze(5.0)
FAILED, WRONG, CLOSED = ValueError("no"), ev.UnknownEventType("Order"), ev.BusClosed()
GROUPS: list[tuple[list[Exception], Exception]] = [
    ([SNOOZED, FAILED, LATER, WRONG, REJECTED], REJECTED),
    ([SNOOZED, FAILED, LATER, WRONG], WRONG),
    ([SNOOZED, FAILED, LATER, LATEST], LATEST),
    ([SNOOZED, FAILED, KeyError("another")], FAILED),
    ([SNOOZED, CLOSED, FAILED], CLOSED),  # how a program ends: a failure like others, and the first one
    ([ev.Snooze(1.0), SNOOZED], SNOOZED),
    ([FAILED, ExceptionGroup("inner", [ExceptionGroup("innermost", [REJECTED])])], REJECTED),
]


@pytest.mark.parametrize(("errors", "cause"), GROUPS)
def test_the_cause_of_a_group_is_the_error_that_leaves_the_fewest_choices(
    errors: list[Exception], cause: Exception
) -> None:
    assert policy.cause_of(ExceptionGroup("several", errors)) is cause


def test_a_group_is_decided_by_its_cause() -> None:
    assert policy.decide(RETRY, 1, ExceptionGroup("one", [REJECTED]), MIDDLE) == GiveUp("rejected")
    assert policy.decide(RETRY, 3, BaseExceptionGroup("one", [SNOOZED]), MIDDLE) == RetryIn(5.0, counts=False)
    assert policy.decide(RETRY, 3, ExceptionGroup("two", [SNOOZED, FAILED]), MIDDLE) == GiveUp("exhausted")


def test_groups_nested_deeper_than_python_recurses_are_searched() -> None:
    nested: Exception = REJECTED
    for _ in range(5000):
        nested = ExceptionGroup("one more", [nested])
    assert policy.cause_of(nested) is REJECTED


def test_what_waits_for_a_newer_program_waits_a_tenth_of_its_age_and_not_for_ever() -> None:
    middle = Always(0.5)
    waits = {0.0: 0.2, 1.0: 0.2, 10.0: 1.0, 100.0: 10.0, 3599.0: 30.0}
    for age_s, wait_s in waits.items():
        decision = policy.for_newer_program(age_s, 3600.0, middle)
        assert isinstance(decision, RetryIn) and not decision.counts
        assert decision.delay_s == pytest.approx(wait_s)
    assert policy.for_newer_program(3600.0, 3600.0, middle) == GiveUp("unsupported_version")
    assert policy.for_newer_program(0.0, 0.0, middle) == GiveUp("unsupported_version")


@pytest.mark.parametrize(
    ("waiting", "now_s", "left_s"),
    [(1, 10.0, 0.5), (1, 10.3, 0.2), (1, 10.5, 0.0), (4, 10.0, 0.5), (5, 10.0, 0.0), (6, 10.0, 0.0), (1, 99.0, 0.0)],
)
def test_a_batch_waits_for_its_oldest_event_unless_it_is_full(waiting: int, now_s: float, left_s: float) -> None:
    assert policy.batch_wait_s(waiting, 5, 0.5, 10.0, now_s) == pytest.approx(left_s)


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.integers(1, 10))
def test_batches_keep_the_order_and_leave_suspects_alone(suspects: list[bool], size: int) -> None:
    waiting, batches = deque(enumerate(suspects)), []
    while waiting:
        batches.append(policy.take_batch(waiting, size, lambda one: one[1]))
    assert [one for batch in batches for one in batch] == list(enumerate(suspects))
    assert all(len(batch) <= size and (len(batch) == 1 or not any(bad for _, bad in batch)) for batch in batches)
