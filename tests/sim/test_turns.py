"""How many dispatches passed a waiting task, in histories written by hand."""

import numpy as np
import pytest

from eventlib.queueing import PRIORITIES
from sim.declare.scenario import Scenario
from sim.declare.task_queue import PriorityShares, TaskQueue
from sim.evidence.checks import broken, check
from sim.evidence.history import History
from sim.evidence.metrics import measure, unit_of
from tests.model.small import scenario, service, steady
from tests.sim.handmade import Row, attempted, history, row, sent

SHARES = PriorityShares(critical=0.5, low=0.5)


def declared(**queue: object) -> Scenario:
    """One worker with one slot."""
    return scenario(steady(50.0, 2.0), desk=service(queue=TaskQueue.model_validate({"priorities": SHARES} | queue)))


def numbers(of: Scenario, priority: str = "", tenant: int | None = None) -> list[int]:
    """The messages of a priority and a tenant."""
    labels = of.labels("desk", 0, 100)
    chosen = np.ones(100, bool) if tenant is None else labels.tenant == tenant
    return np.flatnonzero(chosen & ((labels.priority == PRIORITIES.index(priority)) if priority else True)).tolist()


def dispatched(order: list[int], *, since_s: float = 1.0, each_s: float = 0.01) -> list[Row]:
    """These messages start one after another, in the order of their dispatches."""
    found: list[Row] = []
    for place, message in enumerate(order):
        start_s = since_s + place * each_s
        rows = attempted(message, start_s, start_s + each_s)
        found += [row("started", start_s, event=0, service=0, consumer=0, message=message, attempt=1, value=place)]
        found += rows[1:]
    return found


def passed_by(known: History, name: str) -> float:
    return float(measure(known)[f"{name}.passed_by"][0])


def test_dispatches_that_pass_a_waiting_task_are_counted() -> None:
    """The first one does not count: nothing tells that the task was there when it was dispatched."""
    one, [low, *_] = declared(), numbers(declared(), "low")
    critical = numbers(one, "critical")[:6]
    known = history(*(sent(m, 0.0) for m in (*critical, low)), dispatched([*critical, low]), declared=one)
    assert passed_by(known, "low") == 5.0
    assert passed_by(known, "critical") == 0.0
    assert unit_of("desk.low.passed_by") == "dispatches"


def test_a_task_that_came_late_was_passed_by_none_before_it() -> None:
    one, [low, *_] = declared(), numbers(declared(), "low")
    critical = numbers(one, "critical")[:6]
    late = history(*(sent(m, 0.0) for m in critical), sent(low, 1.035), dispatched([*critical, low]), declared=one)
    assert passed_by(late, "low") == 2.0  # those whose slot was free at 1.04 and 1.05 s


def test_a_task_that_is_never_dispatched_was_passed_by_all() -> None:
    one, [low, other, *_] = declared(), numbers(declared(), "low")
    critical = numbers(one, "critical")[:20]
    known = history(*(sent(m, 0.0) for m in (*critical, low, other)), dispatched([low, *critical]), declared=one)
    assert passed_by(known, "low") == 20.0
    turns = next(found for found in check(known) if found.name == "turns")
    assert (turns.verdict, turns.violations) == ("false", 1)
    assert "desk.low by 20 of 14 allowed" in turns.detail and "desk.critical by 0 of 1 allowed" in turns.detail
    assert turns in broken(check(known))


@pytest.mark.parametrize(("fair", "verdicts"), [(True, ["false"]), (False, [])])
def test_a_tenant_is_passed_by_others_of_its_priority_alone(fair: bool, verdicts: list[str]) -> None:
    one = declared(priorities=PriorityShares(normal=1.0), tenants={"acme": 0.8, "tiny": 0.2}, fair=fair)
    [tiny, *_], acme = numbers(one, tenant=1), numbers(one, tenant=0)[:10]
    known = history(*(sent(m, 0.0) for m in (*acme, tiny)), dispatched([*acme, tiny]), declared=one)
    assert passed_by(known, "tiny") == 9.0
    assert [found.verdict for found in check(known) if found.name == "turns"] == verdicts
    both = declared(tenants={"acme": 0.8, "tiny": 0.2})
    [tiny, *_], others = numbers(both, "low", 1), numbers(both, "critical", 0)[:5] + numbers(both, "low", 0)[:3]
    known = history(*(sent(m, 0.0) for m in (*others, tiny)), dispatched([*others, tiny]), declared=both)
    assert passed_by(known, "tiny") == 3.0


def test_the_lag_of_each_priority_is_that_of_its_messages() -> None:
    one = declared()
    low, critical = numbers(one, "low")[:3], numbers(one, "critical")[:3]
    known = history(*(sent(m, 0.0) for m in (*critical, *low)), dispatched([*critical, *low]), declared=one)
    found = measure(known)
    assert found["critical.lag_s_p50"].tolist() == pytest.approx([1.02])
    assert found["low.lag_s_p50"].tolist() == pytest.approx([1.05])
    assert np.isnan(passed_by(history(sent(low[0], 0.0), declared=one), "critical"))


def test_what_was_never_handled_counts_in_the_lag_of_its_priority() -> None:
    one = declared()
    low, critical = numbers(one, "low")[:3], numbers(one, "critical")[:3]
    known = history(*(sent(m, 0.0) for m in (*critical, *low)), dispatched(critical), declared=one, ended_s=9.0)
    assert measure(known)["low.lag_s_p50"].tolist() == [9.0]
    assert measure(known)["critical.lag_s_p50"].tolist() == pytest.approx([1.02])


def test_where_no_task_was_dispatched_nothing_is_known() -> None:
    known = history(sent(0, 0.0), declared=declared())
    assert [found.verdict for found in check(known) if found.name == "turns"] == ["unknown"]


def test_a_scenario_without_queues_has_no_such_check() -> None:
    assert "turns" not in {found.name for found in check(history(sent(0, 0.0)))}
