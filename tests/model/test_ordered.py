"""A service that keeps the order of each key, in the simulated world."""

from typing import Any

import numpy as np
import pytest

from eventlib.policy import Retry
from sim.declare.callers import Callers
from sim.declare.order_keys import OrderKeys
from sim.evidence.history import History
from sim.worlds.simulated import simulate
from tests.model.small import (
    exponential,
    in_order,
    kill,
    poisson,
    problems,
    saga_service,
    saga_step,
    scenario,
    service,
    steady,
    waits_s,
    with_callers,
)
from tests.model.test_queues import exact_waits_s


def test_messages_of_one_key_are_handled_one_after_the_other() -> None:
    """Also where some fail and wait for their retry, and where a consumer dies with its messages."""
    fields: dict[str, Any] = {"consumers": 2, "concurrency": 8, "lease_s": 0.4}
    desk = service(0.03, error_rate=0.2, retry=Retry(attempts=4, wait_s=0.05), **fields)
    ordered = desk.model_copy(update={"ordered_by": OrderKeys(keys=5)})
    load, died = steady(60.0, 3.0), kill("desk", 1.01, 0.2)
    assert in_order(simulate(scenario(load, died, desk=ordered), range(3)))
    assert problems(simulate(scenario(load, died, desk=ordered), range(3))) == {}
    # And the same service without: what the check would miss is not hidden by it.
    history = simulate(scenario(load, died, desk=ordered), range(3))
    free = simulate(scenario(load, died, desk=desk), range(3))
    assert not in_order(History("simulated", history.scenario, "none", free.runs, free.rows))


def test_a_single_key_is_a_single_server() -> None:
    """However many handlers there are: each wait is that of one server, to the last message."""
    desk = service(0.0, concurrency=50, ordered_by=OrderKeys(keys=1)).model_copy(
        update={"service_time": exponential(0.01)}
    )
    declared = scenario(poisson(60.0, 20.0), desk=desk)
    for seed in range(2):
        plan = declared.plan(seed)
        expected_s = exact_waits_s(plan.arrivals_s, plan.service_s["desk"], 1)
        assert waits_s(simulate(declared, [seed])) == pytest.approx(expected_s, abs=1e-9)


def test_keys_are_drawn_by_their_skew() -> None:
    rng = np.random.default_rng(0)
    even, skewed = (OrderKeys(keys=4, skew=skew).draw(40_000, rng) for skew in (0.0, 1.0))
    assert np.bincount(even) / 40_000 == pytest.approx(np.full(4, 0.25), abs=0.01)
    assert np.bincount(skewed) / 40_000 == pytest.approx(np.array([12, 6, 4, 3]) / 25, abs=0.01)
    assert OrderKeys(keys=4, skew=1.0).in_words() == "one at a time of each of 4 keys, skew 1"


def test_what_keeps_no_order_is_refused() -> None:
    keys: dict[str, Any] = {"ordered_by": {"keys": 5}}
    with pytest.raises(ValueError, match="a task queue keeps no order of keys"):
        service(0.01, queue={}, **keys)
    with pytest.raises(ValueError, match="the workers of sagas keep no order"):
        saga_service(saga_step("pay"), **keys)
    one = service(0.01, **keys)
    with pytest.raises(ValueError, match="desk orders 'placed' already, and an event has one key"):
        scenario(steady(1.0, 1.0), desk=one, till=one)
    answering = one.model_copy(update={"emits": ("given",)})
    with pytest.raises(ValueError, match="requests have no keys yet"):
        with_callers(Callers(reply="given"), steady(1.0, 1.0), desk=answering)
