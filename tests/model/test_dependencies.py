"""What services depend on in the simulated world: slots that they share, and attempts that take too long."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from eventlib.policy import Retry
from sim.declare.declared import Floats
from sim.declare.dependencies import Dependency
from sim.declare.loads.step import StepLoad
from sim.declare.scenario import Scenario
from sim.declare.service import Service
from sim.errors import InvalidScenario
from sim.evidence.expectations import expectations_of, judge_history
from sim.evidence.history import History
from sim.evidence.metrics import measure
from sim.infer.theory import lag_s_mean
from sim.worlds.simulated import simulate
from tests.model.small import (
    constant,
    exponential,
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

DATABASE = Dependency(capacity=1, service_time=constant(0.02))


def scenario(load: Any, *faults: Any, database: Dependency = DATABASE, **services: Service) -> Scenario:
    return plain(load, *faults, drain_s=30.0, dependencies={"database": database}, **services)


def using(mean_s: float = 0.0, **fields: Any) -> Service:
    return service(mean_s, uses=("database",), **fields)


def test_calls_of_all_services_wait_for_the_same_slots() -> None:
    """Two services, three consumers, sixteen handlers: one call at a time, each of 20 ms."""
    desk, till = using(concurrency=4, consumers=2), using(concurrency=8)
    history = simulate(scenario(steady(20.0, 2.0), desk=desk, till=till), [0])
    assert problems(history) == {}
    ends_s = np.sort(rows_of(history, "handled")["t_s"])
    assert len(ends_s) == 80 and np.all(np.diff(ends_s) >= 0.02 - 1e-9)


def test_an_attempt_works_first_and_calls_then() -> None:
    history = simulate(scenario(steady(2.0, 2.0), desk=using(0.03)), [0])
    took_s = rows_of(history, "handled")["t_s"] - rows_of(history, "started")["t_s"]
    assert took_s == pytest.approx(0.05)


def test_a_dependency_is_the_queue_that_theory_knows() -> None:
    """With handlers for all messages and no work of their own, the dependency is an M/M/c queue."""
    database = Dependency(capacity=3, service_time=exponential(0.02))
    desk = using(concurrency=1000)
    history = simulate(scenario(poisson(100.0, 20.0), desk=desk, database=database), range(16))
    handled = rows_of(history, "handled")
    lag_s = handled["t_s"] - handled["intended_s"]
    by_run = np.array([lag_s[handled["run"] == run].mean() for run in range(16)])
    assert abs(by_run.mean() - lag_s_mean(100.0, 0.02, 3)) < 4 * by_run.std(ddof=1) / np.sqrt(16)


def test_an_attempt_that_takes_too_long_fails_when_its_time_is_over() -> None:
    retry = Retry(attempts=2, wait_s=0.0)
    history = simulate(scenario(steady(5.0, 2.0), desk=service(0.05, timeout_s=0.03, retry=retry)), [0])
    assert len(rows_of(history, "dead")) == 10 and not rows_of(history, "handled").size
    key = ["message", "attempt"]
    started, failed = (np.sort(rows_of(history, kind), order=key) for kind in ("started", "failed"))
    assert failed["t_s"] - started["t_s"] == pytest.approx(0.03)


def test_what_gives_up_leaves_the_queue_of_the_dependency() -> None:
    """Three calls at once, one slot, 20 ms each, and 35 ms of patience: the third gives up before its turn comes.

    So the call that comes 30 ms later is served at 40 ms, which is in time.
    """
    hasty = using(concurrency=10, timeout_s=0.035, retry=Retry(attempts=1))
    history = simulate(scenario(steady(1 / 0.03, 0.06), first=hasty, second=hasty, third=hasty), [0])
    handled = rows_of(history, "handled")
    assert handled["service"].tolist() == [0, 0] and handled["t_s"] == pytest.approx([0.02, 0.06])
    assert len(rows_of(history, "dead")) == 4


def test_what_a_killed_consumer_has_asked_for_is_dropped() -> None:
    """But for the call that is being served: the one beside it gets the slot after that."""
    slow = Dependency(capacity=1, service_time=constant(0.1))
    desk = using(concurrency=5, consumers=2, lease_s=30.0)
    history = simulate(scenario(steady(100.0, 0.1), kill("desk", 0.095, None), desk=desk, database=slow), [0])
    assert np.all(rows_of(history, "handled")["consumer"] == 1)
    assert rows_of(history, "handled")["t_s"].min() <= 0.2 + 1e-9


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"uses": ["databse"]}, "services.desk.uses: there is no dependency 'databse'; there are 'database'"),
        ({"timeout_s": 0}, "services.desk.timeout_s: Input should be greater than or equal to 0.001, not 0"),
        ({"app": "shop:app", "service_time": None, "uses": ["database"]}, "own handlers call what they call"),
    ],
)
def test_what_cannot_be_run_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    desk = {"consumes": "placed", "service_time": {"kind": "constant", "mean_s": 0.01}} | changes
    desk = {name: value for name, value in desk.items() if value is not None}
    database = {"capacity": 20, "service_time": {"kind": "constant", "mean_s": 0.01}}
    load = {"kind": "constant", "event": "placed", "rate_per_s": 1, "duration_s": 1}
    file = tmp_path / "shop.yaml"
    declared = {"name": "p", "load": load, "services": {"desk": desk}, "dependencies": {"database": database}}
    file.write_text(yaml.safe_dump(declared))
    with pytest.raises(InvalidScenario) as refused:
        Scenario.load(file)
    assert said in refused.value.problem


def test_sagas_use_nothing_yet() -> None:
    with pytest.raises(ValueError, match="dependencies of steps are not modelled yet"):
        saga_service(saga_step("pay"), uses=["database"])


# How busy it was


def of_database(history: History, metric: str) -> Floats:
    return measure(history)[f"dependencies.database.{metric}"]


def test_its_metrics_are_those_of_theory() -> None:
    """An M/M/3 queue: each within four standard errors of sixteen runs."""
    database = Dependency(capacity=3, service_time=exponential(0.02))
    declared = scenario(poisson(100.0, 20.0), desk=using(concurrency=1000), database=database)
    history = simulate(declared, range(16))
    wait_s = lag_s_mean(100.0, 0.02, 3) - 0.02
    expected = {"utilisation": 100.0 * 0.02 / 3, "wait_s_mean": wait_s, "queue_mean": 100.0 * wait_s}
    for metric, value in expected.items():
        found = of_database(history, metric)
        assert abs(found.mean() - value) < 4 * found.std(ddof=1) / 4, metric


def test_a_call_every_tenth_of_a_second_keeps_one_of_two_slots_busy_for_half_of_it() -> None:
    database = Dependency(capacity=2, service_time=constant(0.05))
    history = simulate(scenario(steady(10.0, 4.0), desk=using(), database=database), [0])
    assert of_database(history, "utilisation") == pytest.approx([0.25], rel=0.03)
    assert of_database(history, "wait_s_mean").tolist() == of_database(history, "queue_max").tolist() == [0.0]


def test_calls_that_are_given_up_wait_no_more() -> None:
    """Eight attempts at once call for one slot that is busy for a second, and give up after 0.2 s."""
    database = Dependency(capacity=1, service_time=constant(1.0))
    desk = using(concurrency=8, timeout_s=0.2, retry=Retry(attempts=1))
    history = simulate(scenario(steady(80.0, 0.1), desk=desk, database=database), [0])
    looks = rows_of(history, "calls_waiting")
    assert looks["value"].max() >= 6
    assert looks["value"][-1] == 0.0  # at the end of the run, when the last has given up


def test_what_a_warm_up_cuts_is_left_out() -> None:
    """Busy in the first two seconds alone."""
    database = Dependency(capacity=1, service_time=constant(0.1))
    busy = StepLoad.model_validate(
        {
            "kind": "step",
            "event": "placed",
            "duration_s": 6.0,
            "rates": [{"at_s": 0, "rate_per_s": 9}, {"at_s": 2, "rate_per_s": 0.01}],
        }
    )
    declared = scenario(busy, desk=using(concurrency=9), database=database)
    whole, later = simulate(declared, [0]), simulate(declared.model_copy(update={"warm_up_s": 5.0}), [0])
    assert of_database(whole, "utilisation").item() > 0.2
    assert of_database(later, "utilisation").item() < 0.01


def test_an_expectation_may_be_of_a_dependency() -> None:
    declared = scenario(poisson(40.0, 4.0), desk=using(concurrency=20))
    history = simulate(declared, range(4))
    [high, low] = judge_history(
        expectations_of(
            declared, ["dependencies.database.utilisation > 60 %", "dependencies.database.wait_s_mean < 1 ms"]
        ),
        history,
    )
    assert (high.outcome, low.outcome) == ("holds", "fails")
    with pytest.raises(InvalidScenario, match=r"the nearest are dependencies\.database\.utilisation"):
        expectations_of(declared, ["dependencies.databse.utilisation > 0.6"])
