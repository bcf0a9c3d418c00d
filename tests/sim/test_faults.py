"""What may be declared of faults: what is refused, what a random plan becomes, and what a seed poisons."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from sim.declare.dependencies import Dependency
from sim.declare.differences import differences
from sim.declare.faults import FAULT_KINDS, Fault
from sim.declare.scenario import Scenario
from sim.errors import InvalidScenario, InvalidTrace
from sim.evidence.metrics import measure
from sim.worlds.simulated import simulate
from tests.model.small import constant, fault, kill, poisson, saga_service, saga_step, scenario, service, steady

KILL = {"kind": "kill", "service": "desk", "at_s": 2.0, "back_after_s": 1.0}
OUTAGE = {"kind": "outage", "service": "desk", "at_s": 1.0, "back_after_s": 2.0}
SLOW = {"kind": "slow", "service": "desk", "at_s": 1.0, "for_s": 2.0, "factor": 3.0}
POISON = {"kind": "poison", "service": "desk", "share": 0.01}
AWAY = {"kind": "server_away", "at_s": 1.0, "for_s": 2.0}
RANDOM = {"kind": "random", "every_s": 1.0}


def loaded(directory: Path, *faults: dict[str, Any], **desk: Any) -> Scenario:
    declared = {"consumes": "placed", "consumers": 2, "service_time": {"kind": "constant", "mean_s": 0.01}} | desk
    declared = {name: value for name, value in declared.items() if value is not None}
    load = {"kind": "constant", "event": "placed", "rate_per_s": 100, "duration_s": 10}
    file = directory / "faulty.yaml"
    file.write_text(yaml.safe_dump({"name": "p", "load": load, "services": {"desk": declared}, "faults": list(faults)}))
    return Scenario.load(file)


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        ([OUTAGE, KILL], "faults: 'desk' consumer 0 is taken out while it is down; let the later one begin after 3 s"),
        ([KILL | {"consumer": 1}, OUTAGE], "faults: 'desk' consumer 1 is killed while it is down"),
        ([OUTAGE, OUTAGE | {"at_s": 2.5}], "is taken out while it is down"),
        ([OUTAGE | {"service": "dsk"}, KILL], "there is no service 'dsk'; services are 'desk'"),
        ([KILL, OUTAGE | {"service": "dsk"}], "there is no service 'dsk'"),
        ([OUTAGE | {"how": "pause", "back_after_s": None}], "stand still go on; say after how many seconds"),
        ([SLOW | {"factor": 0}], "faults.0.factor: Input should be greater than 0"),
        ([POISON | {"share": None}], "say which events are poison, by their share or by their numbers"),
        ([POISON | {"messages": [3]}], "say which events are poison"),
        ([POISON | {"share": None, "messages": [-1]}], "numbered from 0"),
        ([POISON | {"how": "kill", "share": 0.5}], "about 2,500 consumers would be killed by poison, over 100"),
        ([POISON | {"how": "kill"}, KILL], "consumer 0 is killed by poison while it is down; leave one of the two out"),
        (
            [POISON | {"how": "kill", "for_s": 1.0}, POISON | {"how": "kill", "at_s": 5.0}],
            "'desk' consumer 0 is killed by poison while it is down",
        ),
        ([AWAY, {"kind": "reset", "at_s": 1.5}], "faults: the server is made hard to reach while it is down"),
        ([AWAY | {"for_s": 25}], "less than or equal to 20"),
        ([{"kind": "latency", "at_s": 1, "for_s": 1, "added_s": 2}], "faults.0.added_s: Input should be less than"),
        ([{"kind": "bandwidth", "at_s": 1, "for_s": 1, "bytes_per_s": 1}], "faults.0.bytes_per_s"),
        ([RANDOM | {"kinds": ["flood"]}], "faults: random: no faults of kind 'flood' can be drawn; kinds may be kill,"),
        ([RANDOM | {"kinds": ["random"]}], "no faults of kind 'random' can be drawn"),
        ([RANDOM | {"kinds": []}], "faults.0.kinds: is empty; give at least one"),
        ([RANDOM | {"every_s": 0.0}], "faults.0.every_s"),
        ([AWAY | {"at_s": 11}], "server away at 11 s, after the load's end at 10 s; lower at_s"),
    ],
)
def test_a_fault_that_cannot_happen_is_refused(tmp_path: Path, faults: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(InvalidScenario) as refused:
        loaded(tmp_path, *faults)
    assert said in refused.value.problem


@pytest.mark.parametrize("declared", [SLOW, POISON])
def test_handlers_of_an_app_do_what_they_do(tmp_path: Path, declared: dict[str, Any]) -> None:
    with pytest.raises(InvalidScenario, match="'desk' has handlers of an App, which do what they do"):
        loaded(tmp_path, declared, app="shop:app", service_time=None)


def test_sagas_are_not_poisoned_and_outlive_no_loss_of_data() -> None:
    sagas = saga_service(saga_step("pay"))
    with pytest.raises(ValueError, match="'desk' runs sagas, which have no dead letters"):
        scenario(steady(10.0, 5.0), fault("poison", service="desk", share=0.1), desk=sagas)
    with pytest.raises(ValueError, match="loses its data is modelled for plain services only"):
        scenario(steady(10.0, 5.0), fault("server_restart", at_s=1.0, with_data=False), desk=sagas)


def test_faults_at_different_parts_may_happen_together(tmp_path: Path) -> None:
    found = loaded(tmp_path, OUTAGE, SLOW, AWAY, POISON, KILL | {"at_s": 4.0})
    assert [one.kind for one in found.faults] == ["outage", "slow", "server_away", "poison", "kill"]


# A random plan


def planned(seed: int = 0, **fields: Any) -> tuple[Fault, ...]:
    desks: dict[str, Any] = {name: service(0.01, consumers=3) for name in ("desk", "till")}
    random = fault("random", **{"every_s": 2.0, "seed": seed} | fields)
    return scenario(steady(10.0, 60.0), random, **desks).faults


def test_a_random_plan_becomes_plain_faults() -> None:
    """One each two seconds on average, at both services, of all the kinds; none while its part is down."""
    desks: dict[str, Any] = {name: service(0.01, consumers=3) for name in ("desk", "till")}
    faults, system = planned(), scenario(steady(10.0, 60.0), **desks)
    assert 15 <= len(faults) <= 45  # 30 are expected: within 2.7 standard deviations
    assert {one.kind for one in faults} == {"kill", "pause", "errors", "slow", "outage"}
    assert [one.at_s for one in faults] == sorted(one.at_s for one in faults)
    assert {name for one in faults for name in ("desk", "till") if one.hits(name, system)} == {"desk", "till"}
    assert all(0.2 <= one.until_s - one.at_s <= 0.6 for one in faults)  # a fifth of two seconds, more or less


def test_a_random_plan_is_a_function_of_its_seed() -> None:
    assert planned() == planned()
    assert planned() != planned(1)
    assert planned(kinds=["pause"], lasts_s=0.1)[0].kind == "pause"


def test_a_scenario_that_is_read_again_has_the_same_plan() -> None:
    """A history has the plain faults in it: nothing is drawn twice."""
    declared = scenario(steady(10.0, 20.0), fault("random", every_s=2.0), desk=service(consumers=2))
    assert differences(declared, Scenario.model_validate_json(declared.model_dump_json(by_alias=True))) == []


def test_every_kind_that_can_be_drawn_is_drawn() -> None:
    kinds = [name for name in FAULT_KINDS if name not in ("random", "dependency_out")]  # it calls nothing
    faults = planned(kinds=kinds, lasts_s=0.2, every_s=0.5)
    assert {one.kind for one in faults} == set(kinds)


def test_random_plans_see_what_was_drawn_for_each_other() -> None:
    """None hits what another one has taken out, in whatever order they are declared."""
    plans = [fault("random", every_s=1.0, lasts_s=0.5, kinds=["kill", "pause"], seed=seed) for seed in range(4)]
    declared = scenario(steady(10.0, 30.0), *plans, desk=service(consumers=2))
    assert len(declared.faults) > 30 and declared.declared_faults == tuple(plans)
    first = scenario(steady(10.0, 30.0), plans[0], desk=service(consumers=2)).faults
    assert declared.faults[: len(first)] == first


def test_a_random_plan_for_a_trace_that_is_missing_is_refused_by_the_run(tmp_path: Path) -> None:
    declared = {"name": "p", "load": {"kind": "trace", "event": "placed", "file": "none.csv"}, "faults": [RANDOM]}
    declared["services"] = {"desk": {"consumes": "placed", "service_time": {"kind": "constant", "mean_s": 0.01}}}
    file = tmp_path / "faulty.yaml"
    file.write_text(yaml.safe_dump(declared))
    loaded_without = Scenario.load(file)
    with pytest.raises(InvalidTrace, match=r"none\.csv"):
        loaded_without.plan(0)


def test_what_services_call_is_drawn_where_they_call_something() -> None:
    database = {"database": {"capacity": 1, "service_time": {"kind": "constant", "mean_s": 0.01}}}
    declared = scenario(steady(10.0, 20.0), desk=service()).model_dump(by_alias=True)
    random = {"kind": "random", "every_s": 2.0, "kinds": ["dependency_out"], "lasts_s": 0.2}
    drawn = Scenario.model_validate(declared | {"dependencies": database, "faults": [random]}).faults
    assert drawn and {one.label for one in drawn} == {"database out"}
    assert Scenario.model_validate(declared | {"faults": [random]}).faults == ()


# Poison


def test_a_seed_poisons_a_share_of_the_load() -> None:
    """The same events whatever else is declared; and all that they set off at the service."""
    poisoned = fault("poison", service="till", share=0.1, at_s=2.0, for_s=4.0)
    desks: dict[str, Any] = {"desk": service(emits=("paid", "paid")), "till": service(consumes="paid")}
    declared = scenario(poisson(200.0, 10.0), poisoned, **desks)
    plan = declared.plan(3)
    found = np.unique(np.array(sorted(plan.poison["till"])) // 2)
    assert set(plan.poison) == {"till"} and len(plan.poison["till"]) == 2 * found.size
    assert np.all((plan.arrivals_s[found] >= 2.0) & (plan.arrivals_s[found] < 6.0))
    assert 50 <= found.size <= 110  # 80 are expected
    assert declared.plan(3).poison == plan.poison != declared.plan(4).poison
    beside = scenario(poisson(200.0, 10.0), poisoned, kill("desk", 1.0, 0.5), **desks)
    assert beside.plan(3).poison == plan.poison


def test_as_many_consumers_are_killed_as_messages_are_poisoned() -> None:
    """In its time, and at its service: one event may set off several messages there."""
    desks: dict[str, Any] = {"desk": service(emits=["paid"] * 10), "till": service(consumes="paid")}
    deadly = {"how": "kill", "at_s": 500.0, "for_s": 10.0, "share": 0.01}
    load = steady(100.0, 600.0)
    assert scenario(load, fault("poison", service="desk", **deadly), **desks).faults  # 10 of 1,000 events, 5 attempts
    with pytest.raises(ValueError, match="about 500 consumers would be killed by poison"):
        scenario(load, fault("poison", service="till", **deadly), **desks)
    with pytest.raises(ValueError, match="about 150 consumers"):
        scenario(load, fault("poison", service="till", how="kill", messages=[1, 2, 3]), **desks)


def test_messages_are_poisoned_by_their_numbers() -> None:
    poisoned = fault("poison", service="desk", messages=[3, 7, 10**6])
    plan = scenario(steady(10.0, 2.0), poisoned, desk=service()).plan(0)
    assert plan.poison == {"desk": {3: "fails", 7: "fails"}}
    assert [index for index in range(20) if plan.fails("desk", index, 1, 0.0)] == [3, 7]


def test_a_dependency_that_is_out_meets_those_that_use_it() -> None:
    """So what is told of a fault's recovery is told of them alone."""
    database = Dependency(capacity=1, service_time=constant(0.001))
    out = fault("dependency_out", dependency="database", at_s=1.0, for_s=1.0)
    services = {"desk": service(uses=("database",)), "till": service()}
    declared = Scenario(
        name="small", load=steady(10.0, 4.0), services=services, faults=(out,), dependencies={"database": database}
    )
    assert [name for name in ("desk", "till", "callers") if out.hits(name, declared)] == ["desk"]
    found = measure(simulate(declared, [0]))
    assert found["desk.recovery_s"][0] > 0.5 and np.isnan(found["till.recovery_s"][0])
