"""What services depend on in the simulated world: slots that they share, and attempts that take too long."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from eventlib.policy import Retry
from sim.declare.dependencies import Dependency
from sim.declare.scenario import Scenario
from sim.declare.service import Service
from sim.errors import InvalidScenario
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

DATABASE = Dependency(capacity=1, service_time=constant(0.02))


def scenario(load: Any, *faults: Any, database: Dependency = DATABASE, **services: Service) -> Scenario:
    return Scenario(name="small", load=load, services=services, faults=faults, dependencies={"database": database})


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
