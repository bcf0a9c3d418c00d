"""Services whose handlers take batches, in the simulated world: what a call takes, what waits, what fails alone."""

from typing import Any

import numpy as np
import pytest

from eventlib.policy import Retry
from sim.declare.dependencies import Dependency
from sim.declare.scenario import Scenario
from sim.declare.service import Service
from sim.evidence.capacity import work_of
from sim.evidence.history import KIND, History
from sim.evidence.metrics import measure
from sim.worlds.simulated import simulate
from tests.model.small import (
    AT_ONCE,
    constant,
    exponential,
    fault,
    kill,
    poisson,
    problems,
    rows_of,
    saga_service,
    saga_step,
    scenario,
    service,
    steady,
)
from tests.sim.handmade import Row, attempted, history, row


def batching(mean_s: float = 0.05, size: int = 10, wait_s: float = 0.0, each_s: float = 0.0, **fields: Any) -> Service:
    return service(mean_s, batch={"size": size, "wait_s": wait_s, "per_message_s": each_s}, lease_s=0.5, **fields)


def sizes(history: History) -> list[float]:
    return [float(value) for value in rows_of(history, "batch")["value"]]


BATCHES: list[dict[str, Any]] = [{}, {"batch": {"size": 1}}]


@pytest.mark.parametrize("concurrency", [1, 3])
def test_batches_of_one_are_no_batches(concurrency: int) -> None:
    """The same rows, beside those that say how large each batch was; with failures, retries, kills and emissions."""
    fields: dict[str, Any] = {
        "concurrency": concurrency,
        "consumers": 2,
        "prefetch": 3,
        "error_rate": 0.3,
        "emits": ("paid",),
        "service_time": exponential(0.03),
        "lease_s": 0.5,
        "retry_budget": {"per_s": 2.0},
    }
    faults = [kill("desk", 0.7, 0.3), fault("slow", service="desk", at_s=1.0, for_s=0.5, factor=3.0)]
    till = service(0.01, consumes="paid")
    without, ones = (
        simulate(scenario(poisson(40.0, 3.0), *faults, desk=service(**fields, **batch), till=till), [0, 1])
        for batch in BATCHES
    )
    assert set(sizes(ones)) == {1.0} and problems(ones) == {}
    assert ones.rows[ones.rows["kind"] != KIND["batch"]].tobytes() == without.rows.tobytes()
    assert measure(ones)["desk.utilisation"] == pytest.approx(measure(without)["desk.utilisation"])


def test_a_call_takes_its_time_once_and_the_time_of_each_message() -> None:
    history = simulate(scenario(steady(1000.0, 0.03), desk=batching(0.1, size=40, wait_s=1.0, each_s=0.01)), [0])
    [batch] = rows_of(history, "batch")
    assert batch["value"] == 30
    took_s = rows_of(history, "handled")["t_s"] - rows_of(history, "started")["t_s"]
    assert took_s == pytest.approx(0.1 + 30 * 0.01)


def test_a_full_batch_begins_at_once_and_the_rest_when_its_oldest_has_waited() -> None:
    """Ten a second: four fill a batch; with a quarter of a second to wait, three are there."""
    for wait_s, size, starts in ((5.0, 4, 0.3), (0.25, 3, 0.25)):
        history = simulate(scenario(steady(10.0, 2.4), desk=batching(0.0, size=4, wait_s=wait_s)), [0])
        assert set(sizes(history)) == {size}
        batches = rows_of(history, "batch")
        waited_s = batches["t_s"] - batches["intended_s"]
        assert waited_s == pytest.approx(starts), wait_s


def test_the_size_of_a_batch_is_what_theory_says() -> None:
    """Where handlers are free, the first arrival opens a window of T, in which lambda T more come (Poisson)."""
    desk = batching(0.001, size=10_000, wait_s=0.2, concurrency=1000)
    found = measure(simulate(scenario(poisson(50.0, 40.0), desk=desk), range(8)))["batch_size_mean"]
    assert abs(found.mean() - (1 + 50.0 * 0.2)) < 3.5 * found.std(ddof=1) / np.sqrt(found.size)  # 99 %, t of 7


def test_larger_batches_do_more() -> None:
    """A call of 50 ms: one message at a time is 20 a second, ten are 200."""
    small, large = (
        measure(simulate(scenario(poisson(60.0, 5.0), desk=batching(size=size)), [0, 1])) for size in (1, 10)
    )
    assert small["lag_s_p50"].mean() > 10 * large["lag_s_p50"].mean()
    assert small["utilisation"].mean() > 0.95 and 0.5 < large["utilisation"].mean() < 1.0


def test_each_message_fails_alone() -> None:
    poison = fault("poison", service="desk", at_s=0.0, for_s=5.0, messages=[42])
    desk = batching(0.01, size=100, wait_s=2.0, retry=AT_ONCE)
    history = simulate(scenario(steady(100.0, 1.0), poison, desk=desk), [0])
    assert problems(history) == {} and sizes(history) == [100.0, 1.0, 1.0]
    assert rows_of(history, "dead")["message"].tolist() == [42] and rows_of(history, "handled").size == 99
    assert set(rows_of(history, "failed")["message"]) == {42}


def test_what_kills_its_consumers_costs_the_others_no_message() -> None:
    """A batch of twenty dies with its process. Once it is suspected, each is tried alone."""
    poison = fault("poison", service="desk", at_s=0.0, for_s=5.0, messages=[7], how="kill", back_after_s=0.1)
    desk = batching(0.02, size=20, consumers=2, retry=Retry(attempts=4, wait_s=0.0, jitter="none"))
    history = simulate(scenario(steady(200.0, 0.1), poison, desk=desk, drain_s=60.0), [0])
    assert problems(history) == {}
    assert rows_of(history, "dead")["message"].tolist() == [7] and rows_of(history, "handled").size == 19


def test_a_kill_in_the_middle_of_a_batch_loses_nothing() -> None:
    desk = batching(0.3, size=50, consumers=2, prefetch=10)
    history = simulate(scenario(steady(200.0, 0.4), kill("desk", 0.25, 0.1), desk=desk), [0, 1])
    assert problems(history) == {} and rows_of(history, "handled").size == 160


def test_a_call_that_takes_too_long_fails_all_of_it_and_calls_its_dependency_once() -> None:
    database = Dependency(capacity=1, service_time=constant(0.2))
    fields: dict[str, Any] = {"uses": ("database",), "timeout_s": 0.1, "retry": AT_ONCE}
    desk = batching(0.0, size=5, wait_s=1.0, **fields)
    declared = scenario(steady(100.0, 0.05), dependencies={"database": database}, desk=desk)
    history = simulate(declared, [0])
    assert problems(history) == {} and sizes(history) == [5.0, 5.0, 5.0] and rows_of(history, "dead").size == 5
    services = {"desk": batching(0.0, size=5, wait_s=1.0, uses=("database",))}
    history = simulate(declared.with_services(services), [0])
    assert rows_of(history, "handled")["t_s"] == pytest.approx(0.04 + 0.2)


def test_batches_keep_the_order_of_keys_and_are_scaled() -> None:
    rule = {"max": 4, "backlog_per_consumer": 10, "every_s": 0.2, "down_after_s": 0.5}
    desk = batching(0.05, wait_s=0.02, error_rate=0.2, prefetch=4, ordered_by={"keys": 30}, autoscale=rule)
    assert problems(simulate(scenario(poisson(80.0, 3.0), desk=desk), range(3))) == {}


def test_the_shipped_example_is_faster_with_batches() -> None:
    declared = Scenario.load("data/scenarios/batches.yaml")
    one = declared.services["writer"].model_copy(update={"batch": None})
    batches, alone = (measure(simulate(each, [0])) for each in (declared, declared.with_services({"writer": one})))
    assert batches["lag_s_p99"][0] < 0.5 < alone["lag_s_p99"][0] and batches["batch_size_mean"][0] > 5


@pytest.mark.parametrize(
    ("desk", "words"),
    [
        (lambda: service(batch={"size": 0}), "batch.size"),
        (lambda: service(batch={"size": 2, "wait_s": -1}), "batch.wait_s"),
        (lambda: service(batch={"size": 2}, queue={}), "a task is run by itself"),
        (lambda: saga_service(saga_step("a"), batch={"size": 2}), "a step is done for one saga at a time"),
    ],
)
def test_what_takes_no_batches_is_refused(desk: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        scenario(steady(1.0, 1.0), desk=desk())


def test_a_message_that_was_published_twice_is_work_of_the_call_that_it_is_the_first_of() -> None:
    """Message 1 is second in a call of 10 ms and first in one of 20 ms; a run of 30 ms is full with them."""
    rows = list[Row]()
    for members, start_s, end_s in (((0, 1), 0.0, 0.01), ((1, 2), 0.01, 0.03)):
        rows += [one for message in members for one in attempted(message, start_s, end_s)]
        rows.append(row("batch", start_s, service=0, consumer=0, message=members[0], attempt=1, value=2.0))
    written = history(rows, declared=scenario(steady(10.0, 0.3), desk=batching()), ended_s=0.03)
    found = work_of(written.scenario, written.runs[0], written.rows, 0)
    assert (found.busy_s, found.attempts, found.utilisation) == pytest.approx((0.03, 4, 1.0))
