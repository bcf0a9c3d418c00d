"""Services with a circuit breaker, and dependencies that are out of order, in the simulated world."""

from typing import Any

import numpy as np
import pytest

from eventlib.circuit_breaker import CircuitBreaker
from eventlib.policy import Retry
from sim.declare.dependencies import Dependency
from sim.declare.scenario import Scenario
from sim.declare.service import Service
from sim.evidence.history import History
from sim.evidence.metrics import measure
from sim.worlds.simulated import simulate
from tests.model.small import (
    constant,
    exponential,
    fault,
    kill,
    poisson,
    problems,
    rows_of,
    saga_service,
    saga_step,
    service,
    steady,
)
from tests.model.small import scenario as plain

DATABASE = {"database": Dependency(capacity=50, service_time=constant(0.01))}
BREAKER = {"failures": 3, "failure_share": 0.1, "window_s": 0.5, "open_s": 0.5}
RETRY = Retry(attempts=3, wait_s=0.1, jitter="none")


def scenario(load: Any, *faults: Any, desk: Service) -> Scenario:
    return plain(load, *faults, dependencies=DATABASE, desk=desk)


def calling(breaker: dict[str, Any] | None = BREAKER, **fields: Any) -> Service:
    given: dict[str, Any] = {"uses": ("database",), "concurrency": 4, "retry": RETRY, "lease_s": 0.5} | fields
    return service(0.0, circuit_breaker=breaker, **given)


def out(at_s: float = 1.0, for_s: float = 2.0, how: str = "fail") -> Any:
    return fault("dependency_out", dependency="database", at_s=at_s, for_s=for_s, how=how)


def times_s(history: History, kind: str) -> list[float]:
    return [round(float(at_s), 6) for at_s in rows_of(history, kind)["t_s"]]


def test_calls_of_a_dependency_that_is_out_fail_at_once() -> None:
    history = simulate(scenario(steady(10.0, 4.0), out(), desk=calling(None)), [0])
    assert problems(history) == {}
    failed = rows_of(history, "failed")["t_s"]
    assert failed.size and failed.min() >= 1.0 and failed.max() < 3.0
    assert 15 <= rows_of(history, "dead").size <= 20


def test_calls_of_a_dependency_that_hangs_end_when_it_is_back() -> None:
    history = simulate(scenario(steady(10.0, 4.0), out(how="hang"), desk=calling(None, concurrency=50)), [0])
    assert problems(history) == {} and not rows_of(history, "failed").size
    handled = rows_of(history, "handled")["t_s"]
    assert not ((handled > 1.02) & (handled < 3.0)).any() and np.count_nonzero(np.isclose(handled, 3.01)) == 21


def test_hanging_calls_are_given_up_after_the_time_limit() -> None:
    history = simulate(scenario(steady(10.0, 4.0), out(how="hang"), desk=calling(None, timeout_s=0.2)), [0])
    assert problems(history) == {} and rows_of(history, "dead").size and rows_of(history, "failed").size > 10


def test_a_breaker_lets_nothing_die_that_would_die_without() -> None:
    """Three attempts within 0.3 s do not outlast two seconds; a paused consumer does."""
    with_it = simulate(scenario(poisson(40.0, 6.0), out(), desk=calling()), [0, 1])
    without = simulate(scenario(poisson(40.0, 6.0), out(), desk=calling(None)), [0, 1])
    assert problems(with_it) == problems(without) == {}
    dead = [rows_of(history, "dead").size for history in (with_it, without)]
    assert dead[1] > 100 and dead[0] <= 10
    found = measure(with_it)
    assert (found["circuit_opened"] >= 4).all() and (found["paused"] > 0.2).all() and (found["paused"] < 0.6).all()


def test_while_it_is_open_nothing_is_tried_but_one_probe_each_time() -> None:
    history = simulate(scenario(steady(40.0, 6.0), out(), desk=calling()), [0])
    opened, closed = times_s(history, "circuit_opened"), times_s(history, "circuit_closed")
    assert len(closed) == 1 and 3.0 < closed[0] < 3.6
    started = rows_of(history, "started")["t_s"]
    for from_s, until_s in zip(opened, [*opened[1:], closed[0]], strict=True):
        assert np.count_nonzero(np.isclose(started, from_s + 0.5)) == 1
        assert np.count_nonzero((started > from_s + 1e-6) & (started < until_s - 1e-6)) <= 1


def test_a_pause_that_began_in_the_warm_up_counts_from_its_end_on() -> None:
    """The breaker opens at once, for 4 s. The run ends soon after its 8 s of load, and the first 2 s are cut."""
    desk = calling({"failures": 1, "open_s": 4.0}, retry=Retry(attempts=3, wait_s=0.0, jitter="none"))
    declared = scenario(steady(40.0, 8.0), out(0.0, 1.0), desk=desk).model_copy(update={"warm_up_s": 2.0})
    history = simulate(declared, [0])
    [opened], [closed] = times_s(history, "circuit_opened"), times_s(history, "circuit_closed")
    assert opened < 2.0 < 4.0 < closed
    found = measure(history)
    assert found["paused"][0] == pytest.approx((closed - 2.0) / (history.runs[0].ended_s - 2.0))
    assert found["circuit_opened"][0] == 0.0


def test_while_it_is_open_messages_wait_in_the_stream() -> None:
    """The first message fails, and its retry is far away. The next ones come after the read that was under way."""
    breaker = {"failures": 1, "open_s": 100.0}
    desk = calling(breaker, prefetch=50, retry=Retry(attempts=3, wait_s=60.0, jitter="none"))
    for rate_per_s, waiting in ((0.4, 1), (40.0, 198)):
        load = steady(rate_per_s, 5.0)
        declared = scenario(load, out(0.0, 5.0), desk=desk).model_copy(update={"drain_s": 1.0})
        [run] = simulate(declared, [0]).runs
        left = run.left["desk"]
        assert (left.waiting, left.delayed) == (waiting, 1) and left.pending <= 1, rate_per_s


def test_a_breaker_that_never_opens_is_none() -> None:
    """The same rows, with failures and kills, where more failures are needed than there are."""
    fields: dict[str, Any] = {"error_rate": 0.3, "prefetch": 3, "consumers": 2, "service_time": exponential(0.02)}
    faults, never = [kill("desk", 0.7, 0.3)], {"failures": 1_000_000}
    histories = [
        simulate(scenario(poisson(40.0, 3.0), *faults, desk=calling(breaker, **fields, **more)), [0, 1])
        for more in ({}, {"batch": {"size": 4}})
        for breaker in (None, never)
    ]
    assert histories[0].rows.tobytes() == histories[1].rows.tobytes()
    assert histories[2].rows.tobytes() == histories[3].rows.tobytes()


@pytest.mark.parametrize(
    "fields",
    [
        {"batch": {"size": 5, "wait_s": 0.05}},
        {"ordered_by": {"keys": 7}, "consumers": 2, "prefetch": 4},
        {"autoscale": {"max": 3, "backlog_per_consumer": 10, "every_s": 0.3, "down_after_s": 0.6}},
        {"emits": ("done",), "error_rate": 0.1, "retry_budget": {"per_s": 5.0}},
    ],
)
def test_nothing_is_lost_whatever_else_a_service_does(fields: dict[str, Any]) -> None:
    faults = (out(), kill("desk", 2.0, 0.2), fault("pause", service="desk", at_s=2.6, for_s=0.8))
    history = simulate(scenario(poisson(40.0, 5.0), *faults, desk=calling(**fields)), range(3))
    assert problems(history) == {} and rows_of(history, "circuit_opened").size


@pytest.mark.parametrize("fields", [{}, {"batch": {"size": 4}}], ids=["single", "batch"])
@pytest.mark.parametrize("breaker", [None, BREAKER], ids=["none", "breaker"])
def test_a_message_that_comes_back_to_a_consumer_may_run_there_twice(
    fields: dict[str, Any], breaker: dict[str, Any] | None
) -> None:
    """Work takes 30 s. The two consumers stand still by turns, and each takes over what the other one works on."""
    desk = service(30.0, consumers=2, concurrency=8, lease_s=0.5, retry={"attempts": 10}, **fields)
    desk = desk.model_copy(update={"circuit_breaker": breaker and CircuitBreaker(**breaker)})
    pauses = [
        fault("pause", service="desk", consumer=number % 2, at_s=3.5 + 4.0 * number, for_s=2.0) for number in range(4)
    ]
    history = simulate(plain(steady(1.0, 20.0), *pauses, drain_s=200.0, desk=desk), [0])
    started = rows_of(history, "started")
    again = np.unique(started[["consumer", "message"]], return_counts=True)[1]
    assert again.max() > 1 and rows_of(history, "failed").size == 0
    assert problems(history) == {}


def test_the_shipped_example_needs_its_breaker() -> None:
    declared = Scenario.load("data/scenarios/circuit-breaker.yaml")
    without = declared.services["billing"].model_copy(update={"circuit_breaker": None})
    histories = [simulate(one, [0]) for one in (declared, declared.with_services({"billing": without}))]
    dead = [measure(history)["dead_letters"][0] for history in histories]
    assert dead[0] < 0.1 * dead[1]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: plain(steady(1.0, 1.0), out(0.1), desk=service()), "there is no dependency 'database'"),
        (lambda: scenario(steady(1.0, 1.0), out(0.1), out(0.2), desk=calling()), "is taken out while it is down"),
        (lambda: scenario(steady(1.0, 1.0), desk=service(queue={}, circuit_breaker={})), "task queues have none"),
        (
            lambda: scenario(steady(1.0, 1.0), desk=saga_service(saga_step("a"), circuit_breaker={})),
            "sagas have no circuit breaker",
        ),
        (lambda: scenario(steady(1.0, 1.0), desk=calling({"failures": 0})), "circuit_breaker.failures"),
    ],
)
def test_what_cannot_be_is_refused(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()
