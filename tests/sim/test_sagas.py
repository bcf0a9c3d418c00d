"""Sagas of a scenario: how they are declared and refused, and what is said of them in a history that is known."""

from typing import Any

import pytest

from eventlib.saga_policy import StepPlan
from sim.declare.scenario import Scenario
from sim.evidence.checks import check
from sim.evidence.history import History, Left
from sim.evidence.metrics import measure, unit_of
from tests.model.small import constant, poisson, saga_service, saga_step, scenario, service, steady
from tests.sim.handmade import NOTHING, Row, history, row, sent

STEPS = (saga_step("reserve", undo=0.01), saga_step("charge", undo=0.01), saga_step("ship", nothing_to_undo=True))
DONE, UNDONE = "step_started step_done", "undo_started undo_done"


def declared() -> Scenario:
    return scenario(steady(10.0, 1.0), order=saga_service(*STEPS))


def saga(number: int, end: str, *acts: tuple[str, int]) -> list[Row]:
    """A saga that starts at time 0, with an act every 0.1 s; it ends with the last one."""
    there = {"service": 0, "event": 0, "message": number, "intended_s": 0.0}
    rows = sent(number, 0.0)
    for place, (kinds, step) in enumerate(acts):
        of_act = {"consumer": 0, "attempt": 1, "value": step}
        rows += [row(kind, (place + offset) / 10, **there | of_act) for offset, kind in enumerate(kinds.split())]
    if not end:
        return rows
    kinds_of_end = (end, *(("dead",) if end == "parked" else ("handled", "acked")))
    return rows + [row(kind, len(acts) / 10, attempt=1, **there) for kind in kinds_of_end]


def judged(*groups: list[Row], left: Left = NOTHING) -> tuple[str, int]:
    whole = next(one for one in check(history(*groups, declared=declared(), left=left)) if one.name == "sagas_whole")
    return whole.verdict, whole.violations


WHOLE = (
    saga(0, "completed", (DONE, 0), (DONE, 1), (DONE, 2)),
    saga(1, "compensated", (DONE, 0), (DONE, 1), (UNDONE, 1), (UNDONE, 0)),
)


@pytest.mark.parametrize(
    ("found", "broken"),
    [
        (saga(2, "completed", (DONE, 0), (DONE, 1)), 1),
        (saga(2, "completed", (DONE, 0), (DONE, 1), (DONE, 2), (UNDONE, 1)), 1),
        (saga(2, "compensated", (DONE, 0), (DONE, 1), (UNDONE, 1)), 1),
        (saga(2, "compensated", (DONE, 0), (DONE, 1), (UNDONE, 0), (UNDONE, 1)), 1),
        (saga(2, "compensated", (DONE, 0), (UNDONE, 0), (DONE, 1), (UNDONE, 1)), 1),
        (saga(2, "compensated", (DONE, 0), (DONE, 1), (UNDONE, 1), ("step_started", 1), (UNDONE, 0)), 1),
        (saga(2, "compensated", (DONE, 0), (DONE, 1), (DONE, 2), (UNDONE, 1), (UNDONE, 0)), 0),
        (saga(2, "compensated", (DONE, 0), ("step_started", 1), (UNDONE, 1), (UNDONE, 0)), 0),
        (saga(2, "parked", (DONE, 0)), 0),
        (saga(2, "", (DONE, 0)), 1),
    ],
)
def test_a_saga_whose_acts_do_not_agree_with_its_end_is_half_done(found: list[Row], broken: int) -> None:
    assert judged(*WHOLE, found) == ("false" if broken else "true", broken)


def test_a_saga_that_waits_for_a_worker_is_not_half_done() -> None:
    assert judged(*WHOLE, saga(2, "", (DONE, 0)), left=Left(0, 1, 0, 0, 0)) == ("true", 0)


def test_the_check_knows_nothing_without_sagas() -> None:
    assert judged([]) == ("unknown", 0)
    plain = history(sent(0, 0.0), declared=scenario(steady(10.0, 1.0), order=service()))
    assert "sagas_whole" not in {one.name for one in check(plain)}


def test_metrics_of_sagas() -> None:
    of: History = history(*WHOLE, saga(2, "parked", (DONE, 0)), declared=declared())
    found = {name: values.item() for name, values in measure(of).items()}
    assert (found["completed"], found["compensated"], found["parked"], found["half_done"]) == (1, 1, 1, 0)
    assert found["duration_s_p50"] == pytest.approx(0.3)
    assert found["utilisation"] == pytest.approx(8 * 0.1 / 10.0)
    assert unit_of("order.completed") == "sagas"
    assert unit_of("duration_s_p95") == "s"


def test_the_library_is_given_the_steps_as_declared() -> None:
    service_ = saga_service(*STEPS, saga_step("bill", unknown="park"))
    assert service_.saga is not None
    assert service_.saga.plan == (
        StepPlan("reserve", "undo", "retry"),
        StepPlan("charge", "undo", "retry"),
        StepPlan("ship", "nothing", "retry"),
        StepPlan("bill", "none", "park"),
    )


def test_saga_in_words() -> None:
    service_ = saga_service(*STEPS)
    assert service_.saga is not None
    assert service_.saga.in_words() == "reserve (can be undone), then charge (can be undone), then ship"


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"service_time": constant(0.1)}, r"service_time\n.*each step of a saga says its own"),
        ({"error_rate": 0.1}, r"error_rate\n.*each step of a saga says its own"),
        ({"emits": ["paid"]}, r"emits\n.*not modelled yet"),
        ({"prefetch": 3}, r"prefetch\n.*read no more than they run"),
        ({"saga": {"steps": [saga_step("a"), saga_step("a")]}}, "two are named 'a'"),
        ({"saga": {"steps": []}}, "at least 1 item"),
        ({"saga": {"steps": [saga_step("a b")]}}, "steps"),
        ({"saga": {"steps": [saga_step("a", error_rate=0.6, reject_rate=0.5)]}}, "over 1 together"),
        ({"saga": {"steps": [saga_step("a", undo=0.1, nothing_to_undo=True)]}}, "leave one out"),
        ({"saga": {"steps": [saga_step("a", unknown="hope")]}}, "'retry', 'undo' or 'park'"),
        ({"saga": None}, r"service_time\n.*required"),
    ],
)
def test_sagas_that_cannot_be_run_are_refused(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        saga_service(*STEPS, **fields)


def test_a_scenario_with_sagas_comes_back_from_its_json() -> None:
    assert Scenario.model_validate(declared().model_dump(mode="json", by_alias=True)) == declared()


def test_sagas_change_no_other_draw() -> None:
    """What a plan had before is the same beside a service that runs sagas."""
    load = poisson(50.0, 2.0)
    both = scenario(load, desk=service(error_rate=0.1), order=saga_service(*STEPS)).plan(4)
    alone = scenario(load, desk=service(error_rate=0.1)).plan(4)
    assert both.arrivals_s.tobytes() == alone.arrivals_s.tobytes()
    assert both.failure_draws["desk"].tobytes() == alone.failure_draws["desk"].tobytes()
