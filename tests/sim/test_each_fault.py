"""A scenario meets every kind of fault once, one at a time. The campaign of faults and notebook 12 share it."""

import pytest

from sim.declare.each_fault import LOSES, with_each_fault
from sim.declare.faults import FAULT_KINDS
from sim.declare.faults.poison import Poison
from sim.declare.scenario import Scenario
from sim.declare.varying import with_fields
from sim.errors import InvalidScenario
from tests.repository import TOP

TIME = {"kind": "constant", "mean_s": 0.001}
RANDOM = "random"  # a plan of the others
SCENARIO = Scenario.load(TOP / "data/scenarios/one-fault.yaml")


def test_every_kind_is_there_and_each_alone() -> None:
    faulted = with_each_fault(SCENARIO, "billing", at_s=2.0, for_s=1.0)
    kinds = set(FAULT_KINDS) - {RANDOM, "dependency_out"}  # it calls none
    assert {fault.kind for variant in faulted.values() for fault in variant.faults} == kinds
    assert [name for name, variant in faulted.items() if len(variant.faults) != 1] == ["none"]
    assert len({variant.name for variant in faulted.values()}) == len(faulted)
    assert set(LOSES) <= set(faulted)


def test_what_a_service_calls_is_taken_out_too() -> None:
    calls = with_fields(SCENARIO, {"dependencies": {"db": {"capacity": 1, "service_time": TIME}}})
    calls = with_fields(calls, {"services.billing.uses": ["db"]})
    [out] = with_each_fault(calls, "billing", at_s=2.0, for_s=1.0)["dependency out"].faults
    assert out.label == "db out" and (out.at_s, out.until_s) == (2.0, 3.0)


def test_deadly_messages_arrive_during_the_fault() -> None:
    [poison] = with_each_fault(SCENARIO, "billing", at_s=2.0, for_s=1.0)["poison that kills"].faults
    assert isinstance(poison, Poison)
    first, last = (SCENARIO.plan(0).arrivals_s[number] for number in poison.messages)
    assert 2.5 <= first < last == pytest.approx(3.0, abs=0.1)


@pytest.mark.parametrize(
    ("service", "at_s", "problem"), [("bill", 2.0, "billing"), ("billing", 5.5, "the load has ended")]
)
def test_what_cannot_happen_is_refused(service: str, at_s: float, problem: str) -> None:
    with pytest.raises(InvalidScenario, match=problem):
        with_each_fault(SCENARIO, service, at_s=at_s, for_s=1.0)
