"""What was learned of own handlers, in virtual time: those that compute queue for the loop, those that wait do not."""

import codecs
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from eventlib.policy import Retry
from sim.calibration import Calibration
from sim.declare.autoscale import Autoscale
from sim.declare.dependencies import Dependency
from sim.declare.scenario import Scenario
from sim.declare.service import Service
from sim.declare.service_times.empirical import EmpiricalTime
from sim.declare.service_times.linear import LinearTime
from sim.errors import InvalidScenario, LiveRunFailed
from sim.evidence.checks import check
from sim.evidence.history import joined
from sim.evidence.metrics import measure
from sim.infer import own_services
from sim.infer.baselines import formula
from sim.infer.compare import compare
from sim.infer.learned_file import learned_as, open_learned, save_learned
from sim.infer.prediction import Prediction
from sim.worlds.simulated import simulate
from tests.model.small import AT_ONCE, constant, kill, poisson, rows_of, scenario, service, steady

WORK_S = np.random.default_rng(5).exponential(0.02, 400)
SEEDS = range(6)


def own(whole_s: Any, cpu_s: Any = None, learned: Any = None, **fields: Any) -> Service:
    """A service with own handlers that were learned."""
    known = {"digest": "0", "import_s": 0.2, "learned": {"attempts": 100} | (learned or {})}
    time = EmpiricalTime.of(np.asarray(whole_s), None if cpu_s is None else np.asarray(cpu_s), at_most=1000)
    declared = {"consumes": "placed", "app": "shop:app", "concurrency": 50, "service_time": time, "own": known}
    return Service.model_validate(declared | fields)


def lags_s(declared: Scenario, service: str = "desk") -> np.ndarray:
    handled = rows_of(simulate(declared, SEEDS), "handled", service)
    return np.asarray(handled["t_s"] - handled["intended_s"])


def test_a_handler_that_computes_is_a_server_of_its_own() -> None:
    """One consumer, however many run at once: each message ends by Lindley's recursion of the plan's own numbers."""
    declared = scenario(poisson(0.7 / WORK_S.mean(), 30.0), desk=own(WORK_S, WORK_S))
    plan, ends_s = declared.plan(0), [0.0]
    for at_s, takes_s in zip(plan.arrivals_s, plan.service_s["desk"], strict=True):
        ends_s.append(max(at_s, ends_s[-1]) + takes_s)
    handled = np.sort(rows_of(simulate(declared, [0]), "handled", "desk"), order="message")
    assert handled["t_s"] == pytest.approx(np.array(ends_s[1:]))


def test_handlers_that_wait_do_not_wait_for_each_other() -> None:
    """M/G/infinity: no message waits, at forty times the load that one handler could do."""
    found = lags_s(scenario(poisson(40 / 0.5, 20.0), desk=own([0.4, 0.6], [0.0, 0.0], concurrency=500)))
    assert set(np.round(found, 9)) == {0.4, 0.6}


async def test_services_are_learned_beside_those_that_use_a_dependency(monkeypatch: pytest.MonkeyPatch) -> None:
    database = Dependency(capacity=2, service_time=constant(0.01))
    desk = Service(consumes="placed", app="tests.own_app:app", group="compute")
    audit = service(uses=("database",))
    known = scenario(steady(5.0, 1.0), dependencies={"database": database}, desk=desk, audit=audit)
    runs = []

    async def run(light: Scenario, *_: Any, **__: Any) -> None:
        runs.append(light)
        raise LiveRunFailed("desk", "is not run here")

    monkeypatch.setattr(own_services, "run_live", run)
    with pytest.raises(LiveRunFailed, match="is not run here"):
        await own_services.learn_services(known)
    [light] = runs
    assert light.dependencies == known.dependencies and light.services["audit"].uses == ("database",)


async def test_the_light_load_says_what_declared_services_follow(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its messages are as large as those of the scenario; what follows a column of the trace is drawn from there."""
    (tmp_path / "t.csv").write_text("ts,work\n0,1\n1,3\n2,2\n")
    trace = {"kind": "trace", "event": "placed", "file": tmp_path / "t.csv", "columns": {"at": "ts", "work": "work"}}
    linear = {"kind": "linear", "base_s": 0.0, "per_unit_s": 0.01}
    desk = Service(consumes="ready", app="shop:app", autoscale=Autoscale(max=3, backlog_per_consumer=5))
    runs = []

    async def run(light: Scenario, *_: Any, **__: Any) -> None:
        runs.append(light)
        raise LiveRunFailed("desk", "is not run here")

    monkeypatch.setattr(own_services, "run_live", run)
    for load, more in ((trace, {}), (steady(5.0, 1.0).model_dump() | {"size_bytes": 300}, {"column": "size_bytes"})):
        first = Service.model_validate({"consumes": "placed", "emits": ["ready"], "service_time": linear | more})
        with pytest.raises(LiveRunFailed, match="is not run here"):
            await own_services.learn_services(
                Scenario.model_validate({"name": "small", "load": load, "services": {"first": first, "desk": desk}})
            )
    of_trace, sized = runs
    drawn, size = of_trace.services["first"].service_time, sized.offered_load.size_bytes
    assert drawn.kind == "empirical" and drawn.values_s == pytest.approx([0.01, 0.02, 0.03])
    assert size is not None and size.mean == 300
    assert sized.services["first"].service_time == LinearTime.model_validate(linear | {"column": "size_bytes"})
    assert {one.services["desk"].autoscale for one in runs} == {None}


def test_a_breaker_of_an_app_pauses_what_was_learned() -> None:
    """All attempts fail: what is rejected does not count, and a failure does."""
    breaker = {"failures": 2, "failure_share": 0.1, "window_s": 1.0, "open_s": 0.5}
    rejecting = {"reject_rate": 1.0, "failed_time": EmpiricalTime.of(np.array([0.01]))}
    for learned, errors, opened in (({"retry_error_rate": 1.0}, 1.0, 3), (rejecting, 0.0, 0)):
        desk = own([0.01], learned=learned, error_rate=errors, circuit_breaker=breaker, retry=Retry(attempts=1))
        history = simulate(scenario(steady(50.0, 1.0), desk=desk), [0])
        assert min(rows_of(history, "circuit_opened").size, 3) == opened
        begun_s = rows_of(history, "started")["t_s"]
        assert (np.diff(begun_s).max() > 0.45) == bool(opened)


def test_scaled_consumers_import_their_app_first() -> None:
    rule = {"min": 1, "max": 2, "backlog_per_consumer": 1, "every_s": 0.5}
    history = simulate(scenario(steady(50.0, 2.0), desk=own([0.1], [0.1], autoscale=rule, concurrency=1)), [0])
    second = rows_of(history, "started")
    assert second["t_s"][second["consumer"] == 1].min() == pytest.approx(0.5 + 0.2)


def test_two_consumers_compute_beside_each_other() -> None:
    """Under an even load of 1.6 times what one can do, two keep up."""
    declared = scenario(steady(80.0, 5.0), desk=own([0.02], [0.02], consumers=2, concurrency=1))
    assert lags_s(declared).max() < 0.03
    alone = scenario(steady(80.0, 5.0), desk=own([0.02], [0.02], concurrency=1))
    assert lags_s(alone).max() > 2.0


def test_what_is_emitted_errs_and_is_rejected_as_it_was_learned() -> None:
    """Of 3,000 messages, so that five standard errors are a few percent."""
    learned = {
        "retry_error_rate": 1.0,
        "reject_rate": 0.2,
        "emits": {"paid": {"shares": [0.5, 0.0, 0.5], "after": 0.5}},
    }
    declared = scenario(
        steady(500.0, 6.0),
        desk=own([0.01], [0.0], learned, error_rate=0.1, retry=AT_ONCE),
        next=Service(consumes="paid", concurrency=50, service_time=constant(0.001)),
    )
    history = simulate(declared, [0], calibration=Calibration.constant(publish_s=0.002))
    dead, handled, paid = (rows_of(history, *of) for of in (("dead", "desk"), ("handled", "desk"), ("handled", "next")))
    assert np.count_nonzero(dead["attempt"] == 3) / 3000 == pytest.approx(0.1, abs=0.03)
    assert np.count_nonzero(dead["attempt"] == 1) / 3000 == pytest.approx(0.2, abs=0.04)
    assert paid.size / handled.size == pytest.approx(1.0, abs=0.11)
    assert (paid["t_s"] - paid["intended_s"]).min() == pytest.approx(0.001 + 0.005 + 0.001 + 0.001)
    assert {one.name for one in check(history) if one.verdict != "true"} == set()
    assert measure(history)["next.throughput_per_s"][0] > 0
    assert simulate(declared, [0], repeats=2).rows.size != 2 * simulate(declared, [0]).rows.size, "repeats draw anew"


def test_the_formula_knows_what_own_handlers_publish() -> None:
    """A message of `next` has been at `desk` before, and waited there for 50 ms at least."""
    learned = {"emits": {"paid": {"shares": [0.0, 1.0], "after": 1.0}}}
    desk = own([0.05], learned=learned, concurrency=8)
    following = Service(consumes="paid", concurrency=4, service_time=constant(0.001))
    live = replace(simulate(scenario(poisson(20.0, 5.0), desk=desk, next=following), [0]), world="live")
    assert formula(live)["next.lag_s_p50"] > formula(live)["desk.lag_s_p50"] > 0.03


def test_own_handlers_are_judged_with_the_doubt_of_their_replications() -> None:
    """What they do is drawn anew each time, so live runs that all agree do not show how far off they may be."""
    declared = scenario(poisson(20.0, 5.0), desk=own(WORK_S))
    predicted, once = simulate(declared, [0], repeats=5), simulate(declared, [0])
    live = replace(joined(once, once), world="live")
    found, interval = compare(predicted, live)["lag_s_p50"], Prediction.of(predicted, [0]).metrics["lag_s_p50"]
    assert found.noise == pytest.approx((interval.high - interval.low) / 2.0) and found.floor == 0.0


def test_a_killed_consumer_imports_its_app_before_it_comes_back() -> None:
    declared = scenario(steady(20.0, 3.0), kill("desk", 1.0, 0.3), desk=own([0.01]))
    history = simulate(declared, [0], calibration=Calibration.constant(start_s=0.05))
    assert rows_of(history, "restarted")["t_s"] == pytest.approx(1.0 + 0.3 + 0.05 + 0.2)


def test_what_is_not_handled_makes_nothing_behind_it_look_fast() -> None:
    """The desk is given three times what it can do. What it never comes to is missing at the next service too."""
    emits = {"emits": {"paid": {"shares": [0.0, 1.0]}}}
    declared = scenario(
        steady(150.0, 4.0),
        drain_s=0.5,
        desk=own([0.02], [0.02], emits),
        next=Service(consumes="paid", service_time=constant(0.0)),
    )
    found = measure(simulate(declared, [0]))
    assert found["desk.unhandled"][0] == pytest.approx(0.625, abs=0.05)
    assert found["next.unhandled"][0] == pytest.approx(found["desk.unhandled"][0], abs=0.01)
    assert found["lag_s_p95"][0] >= 4.5


def test_handlers_that_were_not_learned_are_refused() -> None:
    declared = scenario(steady(1.0, 1.0), desk=Service(consumes="placed", app="shop:app"))
    with pytest.raises(
        InvalidScenario, match=r"services\.desk: its own handlers are not learned yet; `workbench compare"
    ):
        simulate(declared, [0])


def test_what_was_learned_is_kept_in_a_file(tmp_path: Path) -> None:
    """It holds for other loads, consumers and faults; it is refused for other handlers."""
    file, one = tmp_path / "learned.json", own([0.02], [0.01], retry=Retry(attempts=2))
    learned = scenario(steady(1.0, 1.0), desk=one)
    save_learned(learned, file)
    bare = Service(consumes="placed", app="shop:app", consumers=3)
    file.write_bytes(codecs.BOM_UTF8 + file.read_bytes())  # as editors on Windows write it
    known = open_learned(scenario(poisson(5.0, 2.0), desk=bare), file)
    assert known.scenario.services["desk"] == one.model_copy(update={"consumers": 3})
    assert known.other_machine() == "" and known.date.endswith("+00:00")
    other = bare.model_copy(update={"group": "other"})
    with pytest.raises(InvalidScenario, match=r"learned\.json: knows nothing of the handlers of desk; delete it"):
        open_learned(scenario(steady(1.0, 1.0), desk=other), file)
    for text in ("", "[]", "{}", '{"format": 1, "services": {"desk": 3}}'):
        file.write_text(text)
        with pytest.raises(InvalidScenario, match=r"learned\.json: (holds nothing that was learned|knows nothing)"):
            open_learned(scenario(steady(1.0, 1.0), desk=bare), file)
    with pytest.raises(InvalidScenario, match=r"cannot be read \(No such file or directory\)"):
        open_learned(learned, tmp_path / "none.json")


def test_a_scenario_is_taken_as_learned_where_a_prediction_knows_its_handlers() -> None:
    """So its file can be named beside the prediction, though it says nothing of what was learned."""
    one = own([0.02], [0.01], retry=Retry(attempts=2))
    learned, bare = scenario(steady(1.0, 1.0), desk=one), Service(consumes="placed", app="shop:app")
    assert learned_as(scenario(steady(1.0, 1.0), desk=bare), learned) == learned
    others = scenario(steady(1.0, 1.0), desk=bare.model_copy(update={"group": "other"}))
    assert learned_as(others, learned) == others


NEVER = {
    "service_time": ({"kind": "constant", "mean_s": 1.0}, "own handlers take the time that they take; leave it out"),
    "error_rate": (0.5, "own handlers fail when they fail; leave it out"),
    "emits": (["x"], "what own handlers publish is seen, not declared"),
    "concurrency": (3, "the App declares it for the group"),
    "prefetch": (3, "the App declares it for the group"),
    "lease_s": (3.0, "the App declares it for the group"),
    "retry": ({"attempts": 3}, "the App declares it for the group"),
    "retry_budget": ({}, "the App declares it for the group"),
    "queue": ({}, "tasks of an App are not modelled yet"),
    "payload": ("nothing", "'nothing' names nothing to import; write module:name"),
}


@pytest.mark.parametrize("field", NEVER)
def test_what_the_app_says_the_scenario_does_not(tmp_path: Path, field: str) -> None:
    value, said = NEVER[field]
    file = tmp_path / "s.yaml"
    load = {"kind": "constant", "event": "a", "rate_per_s": 1, "duration_s": 1}
    services = {"b": {"consumes": "a", "app": "shop:app", field: value}}
    file.write_text(yaml.safe_dump({"name": "s", "load": load, "services": services}))
    with pytest.raises(InvalidScenario, match=said):
        Scenario.load(file)
