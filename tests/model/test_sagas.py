"""Sagas in virtual time, under the library's own policy: extremes, the right direction, and workers that are killed."""

import random
from typing import Any

import numpy as np
import pytest

from sim.calibration import Calibration
from sim.declare.faults import Fault
from sim.declare.scenario import Scenario
from sim.evidence.checks import check
from sim.evidence.history import History
from sim.evidence.lags import lags
from sim.evidence.metrics import measure
from sim.worlds.simulated import simulate
from tests.model.small import constant, kill, poisson, rows_of, saga_service, saga_step, scenario, service, steady

COSTS = Calibration.constant(publish_s=0.002, dispatch_s=0.005, read_s=0.001, handle_s=0.003, settle_s=0.004)
RESERVE, CHARGE, SHIP = (saga_step(name, undo=0.01) for name in ("reserve", "charge", "ship"))


def orders(*steps: dict[str, Any], faults: tuple[Fault, ...] = (), rate_per_s: float = 10.0, **fields: Any) -> Scenario:
    return scenario(steady(rate_per_s, 1.0), *faults, order=saga_service(*steps, **fields))


def ends(history: History) -> dict[str, float]:
    """How many sagas ended in which way, a run on average."""
    names = ("completed", "compensated", "parked", "half_done")
    return {name: of for name in names if (of := float(measure(history)[name].mean()))}


def acts(history: History, number: int = 0) -> list[tuple[str, int]]:
    """What happened in one saga: kinds of rows, and the number of the step."""
    rows = history.frame()
    of_saga = rows[(rows["message"] == number) & rows["kind"].str.contains("step_|undo_")]
    return [(str(kind), int(step)) for kind, step in zip(of_saga["kind"], of_saga["value"], strict=True)]


def test_a_saga_without_failures_does_its_steps_in_order() -> None:
    history = simulate(orders(RESERVE, CHARGE, SHIP), [0])
    assert ends(history) == {"completed": 10}
    assert acts(history) == [(kind, step) for step in range(3) for kind in ("step_started", "step_done")]


def test_the_duration_of_a_lone_saga_is_the_sum_of_its_parts() -> None:
    history = simulate(orders(RESERVE, CHARGE), [0], calibration=COSTS)
    publish_s, dispatch_s, handle_s, settle_s = 0.002, 0.005, 0.003, 0.004
    step_s = dispatch_s + publish_s + 0.01 + handle_s + settle_s
    assert lags(history).lag_s == pytest.approx(np.full(10, publish_s / 2 + 2 * step_s))


def test_sagas_of_one_step_are_a_plain_service() -> None:
    """On an ideal machine, with the same time for all: every message is done at the same moment."""
    load = poisson(80.0, 5.0)
    plain = simulate(scenario(load, order=service(0.02, concurrency=2)), [3])
    sagas = simulate(scenario(load, order=saga_service(saga_step("only", 0.02), concurrency=2)), [3])
    assert lags(sagas).lag_s == pytest.approx(lags(plain).lag_s)


def test_what_was_done_is_undone_in_reverse_order() -> None:
    history = simulate(orders(RESERVE, CHARGE, SHIP | {"reject_rate": 1.0}), [0])
    assert ends(history) == {"compensated": 10}
    assert acts(history)[-4:] == [("undo_started", 1), ("undo_done", 1), ("undo_started", 0), ("undo_done", 0)]
    assert ("step_failed", 2) in acts(history)


def test_a_step_that_failed_may_have_happened_and_is_undone_too() -> None:
    history = simulate(orders(RESERVE, CHARGE | {"error_rate": 1.0}), [0])
    assert ends(history) == {"compensated": 10}
    assert [step for kind, step in acts(history) if kind == "undo_done"] == [1, 0]
    assert acts(history).count(("step_failed", 1)) == 3


@pytest.mark.parametrize(
    ("first", "end"),
    [
        (saga_step("reserve"), "parked"),  # done, to be undone, and there is no undo
        (saga_step("reserve", nothing_to_undo=True), "compensated"),
        (
            saga_step("reserve", undo={"service_time": constant(0.01), "error_rate": 1.0, "retry": {"attempts": 2}}),
            "parked",
        ),
    ],
)
def test_what_cannot_be_undone_parks_its_saga(first: dict[str, Any], end: str) -> None:
    history = simulate(orders(first, saga_step("charge", reject_rate=1.0)), [0])
    assert ends(history) == {end: 10}
    assert history.runs[0].left["order"].dead == 10 * (end == "parked")
    assert {one.verdict for one in check(history)} == {"true"}


def test_the_more_is_rejected_the_more_is_compensated() -> None:
    few, more, most = (
        ends(simulate(orders(RESERVE, CHARGE | {"reject_rate": rate}, rate_per_s=200.0), range(3)))["compensated"]
        for rate in (0.1, 0.3, 0.6)
    )
    assert few < more < most


# Killed workers


def killed(unknown: str) -> History:
    """The only worker dies while it charges the first order, and another one takes its place."""
    steps = (RESERVE, saga_step("charge", 0.5, undo=0.01, unknown=unknown))
    faults = (kill("order", 0.2, 0.1),)
    return simulate(scenario(steady(1.0, 1.0), *faults, order=saga_service(*steps, lease_s=1.0)), [0])


@pytest.mark.parametrize(("unknown", "end"), [("retry", "completed"), ("undo", "compensated"), ("park", "parked")])
def test_a_step_whose_worker_died_is_what_its_policy_says(unknown: str, end: str) -> None:
    history = killed(unknown)
    assert ends(history) == {end: 1}
    assert acts(history).count(("step_started", 1)) == (2 if unknown == "retry" else 1)
    assert {one.verdict for one in check(history)} <= {"true"}


def test_a_step_that_kills_its_workers_again_and_again_is_compensated() -> None:
    """Two attempts are allowed, and both end with their worker: nobody knows whether the step was done."""
    faults = (kill("order", 0.2, 0.1), kill("order", 3.5, 0.1))
    steps = (RESERVE, saga_step("charge", 60.0, undo=0.01))
    declared = scenario(
        steady(0.25, 4.0), *faults, order=saga_service(*steps, lease_s=1.0, retry={"attempts": 2, "wait_s": 0.0})
    )
    history = simulate(declared, [0])
    assert ends(history) == {"compensated": 1}
    assert [step for kind, step in acts(history) if kind == "undo_done"] == [1, 0]


def test_the_same_seed_gives_the_same_rows() -> None:
    declared = any_sagas(5)
    one, other = (simulate(declared, [7], calibration=COSTS) for _ in range(2))
    assert one.rows.tobytes() == other.rows.tobytes()


def any_sagas(number: int) -> Scenario:
    """One of any number of different scenarios, always the same for one number."""
    draw = random.Random(number)
    steps = [
        saga_step(
            f"s{index}",
            draw.choice((0.0, 0.01, 0.05)),
            undo=draw.choice((None, 0.01, {"service_time": constant(0.01), "error_rate": 0.3})),
            error_rate=draw.choice((0.0, 0.2)),
            reject_rate=draw.choice((0.0, 0.1)),
            unknown=draw.choice(("retry", "undo", "park")),
        )
        for index in range(draw.randint(1, 4))
    ]
    faults = [
        kill("order", draw.uniform(0.0, 1.0), draw.choice((0.0, 0.3)), consumer)
        for consumer in range(2)
        if draw.random() < 0.7
    ]
    order = saga_service(*steps, consumers=2, concurrency=draw.randint(1, 4), lease_s=draw.uniform(0.3, 1.0))
    return scenario(poisson(draw.uniform(20, 60), 1.0), *faults, drain_s=300.0, order=order)


@pytest.mark.parametrize("number", range(12))
def test_no_saga_is_half_done_whatever_happens(number: int) -> None:
    history = simulate(any_sagas(number), [number], calibration=COSTS)
    assert {one.name: one.detail for one in check(history) if one.verdict != "true"} == {}
    assert sum(ends(history).values()) == np.unique(rows_of(history, "published")["message"]).size
