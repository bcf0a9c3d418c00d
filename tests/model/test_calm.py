"""Runs in which nothing breaks have a way of their own: it gives the rows of the general one, byte for byte."""

from math import inf
from typing import Any, ClassVar, Literal
from unittest.mock import patch

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sim import simulate
from sim.calibration import Calibration
from sim.declare.dependencies import Dependency
from sim.declare.faults.kind import FaultKind, System
from sim.declare.faults.worlds import Injection, SimulatedWorld
from sim.declare.scenario import Scenario
from sim.declare.service import Service
from sim.evidence.history import History
from sim.timings import Block
from sim.worlds.simulated import world
from sim.worlds.simulated.calm import CalmRun, is_calm
from tests.model.small import constant, fault, poisson, scenario, service, steady

# Times that are multiples of each other: much happens at the same moment, so that its order counts.
GRID_S = (0.0, 0.01, 0.02, 0.05)


def by_both(declared: Scenario, seeds: range = range(2)) -> tuple[History, History]:
    """The history of a calm scenario, by the way for calm runs and by the general one."""
    assert is_calm(declared)
    calm = simulate(declared, seeds)
    with patch.object(world, "is_calm", lambda _: False):
        return calm, simulate(declared, seeds)


def assert_same(declared: Scenario) -> None:
    calm, general = by_both(declared)
    assert calm.runs == general.runs
    assert calm.rows.tobytes() == general.rows.tobytes()


times = st.one_of(
    st.sampled_from(GRID_S).map(lambda mean_s: {"kind": "constant", "mean_s": mean_s}),
    st.sampled_from((0.01, 0.03)).map(lambda mean_s: {"kind": "exponential", "mean_s": mean_s}),
)
retries = st.fixed_dictionaries(
    {
        "attempts": st.integers(1, 4),
        "wait_s": st.sampled_from((*GRID_S, 0.2)),
        "jitter": st.sampled_from(("none", "full", "equal")),
        "immediate": st.integers(0, 2),
    }
)
budgets = st.fixed_dictionaries(
    {"ratio": st.sampled_from((0.0, 0.1)), "per_s": st.sampled_from((0.0, 1.0)), "burst": st.just(1.0)}
    | {"wait_s": st.sampled_from((0.05, 0.1))}
)
plain = {
    "consumers": st.integers(1, 4),
    "concurrency": st.integers(1, 3),
    "prefetch": st.integers(0, 2),
    "service_time": times,
    "error_rate": st.sampled_from((0.0, 0.2, 0.6, 1.0)),
    "retry": retries,
    "lease_s": st.sampled_from((0.1, 1.0)),
    "retry_budget": st.none() | budgets,
}


def load_of(kind: str, rate_per_s: float, event: str | dict[str, int] = "a") -> dict[str, Any]:
    """What a file would declare."""
    return {"kind": kind, "event": event, "rate_per_s": rate_per_s, "duration_s": 0.8}


loads = st.sampled_from(
    (
        load_of("constant", 40.0),
        load_of("constant", 100.0),
        load_of("poisson", 200.0),
        load_of("constant", 100.0, {"a": 3, "b": 1}),
        {"kind": "batching", "event": "a", "size": 4, "wait_s": 0.1}
        | {"of": {"kind": "poisson", "rate_per_s": 90.0, "duration_s": 0.8}},
        {"kind": "batching", "event": "a", "size": 50, "wait_s": 0.1}  # the first are sent when a sample is due
        | {"of": {"kind": "constant", "rate_per_s": 60.0, "duration_s": 0.8}},
    )
)
planned = st.one_of(
    st.just({"kind": "errors", "service": "first", "at_s": 0.2, "for_s": 0.2, "error_rate": 0.9}),
    st.just({"kind": "slow", "service": "first", "at_s": 0.1, "for_s": 0.3, "factor": 3.0}),
    st.just({"kind": "poison", "service": "first", "at_s": 0.0, "share": 0.3}),
)


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    """A few plain services, one behind the other or beside it, under any load. Two ways may lead to one of them."""
    load = draw(loads)
    services: dict[str, Any] = {"first": draw(st.fixed_dictionaries(plain)) | {"consumes": "a"}}
    mixed = isinstance(load.get("event"), dict)
    services["beside"] = draw(st.fixed_dictionaries(plain)) | {"consumes": "b" if mixed else "a"}
    emits = draw(st.sampled_from(((), ("c",), ("c", "c"), ("c", "d"), {"c": 0.7, "d": 0.3})))
    services["first"]["emits"] = emits
    for event in emits:
        services[f"of-{event}"] = draw(st.fixed_dictionaries(plain)) | {"consumes": event, "emits": ("e",)}
    if emits:
        services["last"] = draw(st.fixed_dictionaries(plain)) | {"consumes": "e"}
    faults = draw(st.lists(planned, max_size=2, unique_by=lambda one: one["kind"]))
    drain_s = draw(st.sampled_from((1e-300, 0.01, 0.3, 3.0)))
    return Scenario.model_validate(
        {"name": "calm", "load": load, "services": services, "faults": faults, "drain_s": drain_s}
    )


@settings(max_examples=60, deadline=None)
@given(declared=scenarios())
@example(declared=scenario(steady(100.0, 0.5), desk=service(0.01)))  # each ends when the next one comes
@example(declared=scenario(steady(100.0, 0.5), drain_s=0.001, desk=service(0.2)))  # most is never handled
@example(declared=scenario(steady(20.0, 0.5), desk=service(0.0, error_rate=1.0)))  # all at one moment
@example(  # two messages come to a consumer at one moment, which has time for both
    declared=scenario(
        steady(20.0, 0.5), desk=service(0.0, emits=("paid", "paid")), ledger=service(0.0, "paid", concurrency=2)
    )
)
@example(declared=scenario(poisson(3000.0, 0.8), desk=service(concurrency=50)))  # once, the clock misses a last digit
def test_a_calm_run_has_the_rows_of_the_general_way(declared: Scenario) -> None:
    assert_same(declared)


@pytest.mark.parametrize(
    "declared",
    [
        scenario(steady(10.0, 0.2), one_fault, desk=service())
        for one_fault in (
            fault("kill", service="desk", consumer=0, at_s=0.1),
            fault("latency", at_s=0.1, for_s=0.1, added_s=0.01),
            fault("poison", service="desk", messages=[1], how="kill"),
        )
    ]
    + [
        scenario(steady(10.0, 0.2), desk=service(**special))
        for special in (
            {"timeout_s": 1.0},
            {"ordered_by": {"keys": 3}},
            {"autoscale": {"min": 1, "max": 2, "backlog_per_consumer": 5}},
        )
    ]
    + [
        scenario(
            steady(10.0, 0.2),
            dependencies={"unused": Dependency(capacity=1, service_time=constant(0.1))},  # its slots are sampled
            desk=service(),
        )
    ],
)
def test_where_something_may_break_the_general_way_is_taken(declared: Scenario) -> None:
    assert not is_calm(declared)


class _Later(Service):
    """A service as it may be declared one day."""

    later: str | None = None


class _Flood(FaultKind):
    """A fault that may be there one day. It says nothing of parts."""

    kind: Literal["flood"] = "flood"
    label: ClassVar = "flood"
    until_s: ClassVar = inf

    def in_words(self, system: System) -> str:
        return "All is under water."

    def inject_simulated(self, world: SimulatedWorld) -> Injection:
        yield world.wait_until(self.at_s)


@pytest.mark.parametrize(("later", "calm"), [(None, True), ("says something", False)])
def test_what_is_declared_one_day_takes_the_general_way(later: str | None, calm: bool) -> None:
    declared = scenario(steady(10.0, 0.2), desk=service())
    desk = _Later.model_validate(declared.services["desk"].model_dump() | {"later": later})
    assert is_calm(declared.model_copy(update={"services": {"desk": desk}})) == calm


def test_a_fault_of_one_day_takes_the_general_way() -> None:
    declared = scenario(steady(10.0, 0.2), desk=service())
    assert not is_calm(declared.model_copy(update={"faults": (_Flood(at_s=0.1),)}))


def test_on_a_measured_machine_the_general_way_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    declared, runs = scenario(steady(10.0, 0.2), desk=service()), list[CalmRun]()
    monkeypatch.setattr(CalmRun, "run", runs.append)
    simulate(declared, [0], calibration=Calibration((Block(0, {}),)))
    assert runs == []
