"""A simulated task queue: weights and fairness work in the right direction, and nothing starves."""

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eventlib.policy import Retry
from eventlib.queueing import PRIORITIES
from sim.calibration import Calibration
from sim.declare.task_queue import PriorityShares, PriorityWeights, StartRate, TaskQueue
from sim.evidence.checks import check
from sim.evidence.history import History
from sim.evidence.metrics import measure
from sim.worlds.simulated import simulate
from tests.model.small import any_scenario, exponential, kill, poisson, rows_of, scenario, service

SHARES = PriorityShares(critical=0.1, high=0.2, normal=0.4, low=0.3)
TENANTS = {"acme": 0.9, "tiny": 0.1}
SEEDS = range(4)


def run(queue: TaskQueue | None, seeds: Any = SEEDS, **changes: Any) -> History:
    """A desk that is offered a quarter more than it can do for three seconds."""
    desk = service(**{"consumers": 2, "concurrency": 2} | changes, queue=queue)
    desk = desk.model_copy(update={"service_time": exponential(0.04)})
    return simulate(scenario(poisson(125.0, 3.0), desk=desk), seeds)


def mean_of(history: History, metric: str) -> float:
    return float(np.nanmean(measure(history)[metric]))


def test_a_higher_priority_has_less_lag() -> None:
    found = run(TaskQueue(priorities=SHARES))
    lags_s = [mean_of(found, f"{name}.lag_s_p50") for name in PRIORITIES]
    assert lags_s == sorted(lags_s)
    assert lags_s[-1] > 3 * lags_s[0]


def test_a_higher_weight_means_less_lag() -> None:
    lags_s = [
        mean_of(run(TaskQueue(priorities=SHARES, weights=PriorityWeights(low=weight))), "low.lag_s_p50")
        for weight in (1, 4, 16, 64)
    ]
    assert lags_s == sorted(lags_s, reverse=True)
    assert lags_s[-1] < 0.8 * lags_s[0]


def test_a_fair_queue_keeps_a_small_tenant_from_waiting_behind_a_large_one() -> None:
    fair, unfair = (run(TaskQueue(tenants=TENANTS, fair=fair)) for fair in (True, False))
    assert mean_of(fair, "tiny.lag_s_p95") < 0.3 * mean_of(unfair, "tiny.lag_s_p95")
    assert mean_of(fair, "tiny.passed_by") <= 2 < 10 < mean_of(unfair, "tiny.passed_by")


def order_of_starts(history: History) -> list[int]:
    numbers: list[int] = rows_of(history, "started")["message"].tolist()
    return numbers


@pytest.mark.parametrize("changes", [{}, {"consumers": 1}, {"concurrency": 5}, {"prefetch": 3}])
def test_a_queue_of_one_priority_is_the_plain_service(changes: dict[str, int]) -> None:
    """The same messages are handled by the same consumers at the same times."""
    plain, queue = run(None, [0], **changes), run(TaskQueue(), [0], **changes)
    columns = ["t_s", "kind", "consumer", "message", "attempt", "intended_s"]
    for kind in ("started", "handled"):
        ours, theirs = (np.sort(rows_of(one, kind)[columns], order=["message"]) for one in (queue, plain))
        assert np.array_equal(ours, theirs)
    assert sorted(rows_of(queue, "started")["value"].tolist()) == list(range(len(rows_of(queue, "started"))))


def test_without_fairness_tenants_start_in_their_order() -> None:
    unfair = run(TaskQueue(tenants=TENANTS, fair=False), [0])
    assert order_of_starts(unfair) == sorted(order_of_starts(unfair))
    fair = run(TaskQueue(tenants=TENANTS), [0])
    assert order_of_starts(fair) != sorted(order_of_starts(fair))


def test_a_retried_task_goes_back_to_its_old_place() -> None:
    """Whoever came after it starts after it."""
    retry = Retry(attempts=2, wait_s=0.0, jitter="none")
    failing = run(TaskQueue(), [0], error_rate=0.3, retry=retry, consumers=1, concurrency=1)
    attempts = rows_of(failing, "started")
    again = np.flatnonzero(attempts["attempt"] == 2)
    assert len(again) > 10
    # By the time that the failure is settled, the slot has the next task; the one after that is the one that failed.
    assert np.array_equal(attempts["message"][again], attempts["message"][again - 2])


def test_a_seed_decides_all() -> None:
    queue = TaskQueue(priorities=SHARES, tenants=TENANTS)
    assert run(queue, [3]).rows.tobytes() == run(queue, [3]).rows.tobytes() != run(queue, [4]).rows.tobytes()


shares = st.lists(st.integers(0, 5), min_size=4, max_size=4).filter(any)
weights = st.lists(st.integers(1, 9), min_size=4, max_size=4)


@settings(max_examples=25, deadline=None)
@given(
    shares,
    weights,
    st.lists(st.integers(1, 9), min_size=1, max_size=4),
    st.lists(st.sampled_from([0.5, 1.0, 2.5]), min_size=4, max_size=4),
    st.integers(0, 10**6),
)
# Some tasks were dispatched to a worker that was killed before it began them: one is given up, some are begun later.
@example([0, 0, 1, 1], [1, 1, 1, 1], [1], [0.5] * 4, 4164)
@example([0, 0, 1, 1], [1, 1, 1, 2], [1], [0.5] * 4, 362879)
@example([0, 0, 1, 2], [1, 1, 1, 4], [1], [0.5] * 4, 635)
@example([0, 0, 3, 1], [1, 1, 1, 4], [1], [0.5] * 4, 635)
@example([0, 0, 1, 2], [1, 1, 2, 1], [1], [0.5] * 4, 3528)  # some messages are published twice
def test_no_task_is_passed_by_more_than_its_weight_allows(
    shares: list[int], weights: list[int], tenants: list[int], fair_weights: list[float], number: int
) -> None:
    """Whatever the system, with kills, failures and prefetching. Every consumer's work is worked off."""
    names = [f"t{place}" for place in range(len(tenants))]
    queue = TaskQueue(
        priorities=PriorityShares(**{name: one / sum(shares) for name, one in zip(PRIORITIES, shares, strict=True)}),
        weights=PriorityWeights(**dict(zip(PRIORITIES, weights, strict=True))),
        tenants={name: one / sum(tenants) for name, one in zip(names, tenants, strict=True)},
        fair_weights=dict(zip(names, fair_weights, strict=False)),
    )
    declared = any_scenario(number)
    services = {name: one.model_copy(update={"queue": queue}) for name, one in declared.services.items()}
    some = declared.model_copy(update={"services": services})
    history = simulate(
        some, [number], calibration=Calibration.constant(publish_s=0.002, dispatch_s=0.001, read_s=0.001)
    )
    found = {one.name: one for one in check(history)}
    assert [one for one in found.values() if one.verdict == "false"] == []


def test_a_killed_worker_loses_no_task() -> None:
    desk = service(0.05, consumers=2, concurrency=3, lease_s=0.5, queue=TaskQueue(priorities=SHARES, tenants=TENANTS))
    history = simulate(scenario(poisson(60.0, 2.0), kill("desk", 1.0, 0.2), desk=desk), SEEDS)
    assert {one.name: one.verdict for one in check(history)}["lost"] == "true"
    assert [one.name for one in check(history) if one.verdict != "true"] == []
    assert (rows_of(history, "started")["attempt"] == 2).sum() > 0


def at_once(history: History, of: Any = None) -> int:
    """The most tasks that ran at a time: of all, or of those that `of` chooses."""
    rows = np.concatenate((rows_of(history, "handled"), rows_of(history, "started")))  # an end comes before a start
    if of is not None:
        rows = rows[of[rows["message"]]]
    steps = np.where(rows["kind"] == rows_of(history, "started")["kind"][0], 1, -1)
    order = np.lexsort((steps, rows["t_s"].round(9)))
    return int(np.cumsum(steps[order]).max())


def test_no_more_run_at_once_than_the_limit() -> None:
    free, held = (run(TaskQueue(limit=limit), [0], concurrency=5) for limit in (None, 3))
    assert (at_once(free), at_once(held)) == (10, 3)
    assert check(held)[0].verdict == "true" and len(rows_of(held, "handled")) == len(rows_of(free, "handled"))


def test_no_more_of_a_tenant_run_at_once_than_its_limit() -> None:
    queue = TaskQueue(tenants=TENANTS, limit_per_tenant=2)
    found = run(queue, [0], concurrency=5)
    tenant = found.scenario.labels("desk", 0, 1000).tenant
    assert at_once(found, tenant == 0) == 2
    assert at_once(found) <= 4
    assert mean_of(found, "tiny.lag_s_p95") < 0.2 * mean_of(found, "acme.lag_s_p95"), "it is not held up by the others"


def test_no_window_has_more_starts_than_the_rate() -> None:
    found = run(TaskQueue(rate=StartRate(starts=8, per_s=0.1)), [0], concurrency=10)
    started_s = np.sort(rows_of(found, "started")["t_s"])
    assert (started_s[8:] - started_s[:-8]).min() >= 0.1 - 1e-9
    assert len(started_s) / (started_s[-1] - started_s[0]) > 75, "and no start waits for longer than it has to"


def test_failures_give_their_slots_back() -> None:
    retry = Retry(attempts=3, wait_s=0.01, jitter="none")
    queue = TaskQueue(priorities=SHARES, limit=2, rate=StartRate(starts=20, per_s=0.1))
    found = run(queue, [0], error_rate=0.5, retry=retry)
    assert [one.name for one in check(found) if one.verdict == "false"] == []
    assert len(rows_of(found, "dead")) > 0
    assert "turns" not in {one.name for one in check(found)}, "nothing is promised of tasks that wait for a limit"
