"""Runs whose rows are not kept: the numbers of a history, from the same draws, in memory that does not grow."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

import sim
from eventlib.policy import Retry
from sim.cli.commands import app
from sim.declare.declared import Floats
from sim.declare.each_fault import with_each_fault
from sim.declare.loads.constant import ConstantLoad
from sim.declare.loads.kind import LoadKind
from sim.declare.loads.poisson import PoissonLoad
from sim.declare.loads.spike import SpikeLoad
from sim.declare.loads.step import RateFrom, StepLoad
from sim.declare.parts import Column
from sim.declare.scenario import Scenario
from sim.declare.service_times.empirical import EmpiricalTime
from sim.declare.service_times.gamma import GammaTime
from sim.declare.service_times.kind import ServiceTimeKind
from sim.declare.service_times.pareto import ParetoTime
from sim.errors import InvalidScenario
from sim.evidence.capacity import overloads
from sim.evidence.checks import check
from sim.evidence.marks import Marks
from sim.evidence.metrics import measure
from sim.evidence.recovery import Question, Recovery
from sim.evidence.sketch import ERROR, Sketch
from tests.model.small import (
    exponential,
    fault,
    lognormal,
    poisson,
    saga_service,
    saga_step,
    scenario,
    service,
    steady,
)
from tests.model.test_own_handlers import own

TRIED_TWICE = Retry(attempts=2, wait_s=0.05)
CALM = scenario(
    poisson(200.0, 5.0),
    desk=service(
        consumers=2,
        concurrency=4,
        service_time=exponential(0.02),
        error_rate=0.2,
        retry=TRIED_TWICE,
        emits=("packed",),
    ),
    ship=service(0.005, consumes="packed", consumers=2, error_rate=0.1, retry=TRIED_TWICE),
    tell=service(0.001, consumes="packed"),
).model_copy(update={"warm_up_s": 1.0})
OVERLOADED = scenario(
    StepLoad(
        kind="step",
        event="placed",
        rates=(RateFrom(at_s=0.0, rate_per_s=30.0), RateFrom(at_s=2.0, rate_per_s=120.0)),
        duration_s=8.0,
    ),
    drain_s=1.0,
    desk=service(service_time=exponential(0.02), error_rate=0.2, retry=TRIED_TWICE, emits=("packed",)),
    ship=service(0.005, consumes="packed"),
)
FAULTY = scenario(
    poisson(100.0, 8.0),
    fault("slow", service="desk", at_s=2.0, for_s=1.0, factor=6.0),
    fault("errors", service="desk", at_s=5.0, for_s=0.5, error_rate=0.7),
    desk=service(0.015, consumers=2, error_rate=0.1, retry=TRIED_TWICE, emits=("packed",)),
    ship=service(0.002, consumes="packed"),
)
DATA = Path("data")
TIMES_S = np.random.default_rng(5).exponential(0.02, 100)
SHIPPED = [*sorted(DATA.glob("scenarios/*.yaml")), *sorted(DATA.glob("fidelity/*.yaml"))]
REFUSED = {  # by scenario: the places of what is judged by whole runs
    "priorities": ["services.mailer.queue"],
    "tenants": ["services.mailer.queue"],
    "request-reply": ["callers"],
    "saga": ["services.order.saga"],
}
EACH_FAULT = with_each_fault(Scenario.load(DATA / "scenarios" / "one-fault.yaml"), "billing", at_s=2.0, for_s=1.0)
BY_SIZE = {"column": "size_bytes"}
FEATURES: dict[str, dict[str, Any]] = {
    "nothing more": {},
    "batches": {"batch": {"size": 10, "wait_s": 0.02, "per_message_s": 0.001}},
    "a breaker": {"circuit_breaker": {"failures": 3, "failure_share": 0.2, "window_s": 0.5, "open_s": 0.3}},
    "autoscaling": {"autoscale": {"min": 2, "max": 4, "backlog_per_consumer": 5, "every_s": 0.5, "down_after_s": 1.0}},
    "a dependency and a limit": {"uses": ["db"], "timeout_s": 0.06},
    "order by key": {"ordered_by": {"keys": 20, "skew": 1.0}},
    "one of several events": {"emits": {"packed": 0.7, "refused": 0.3}},
    "sizes": {},
    "sizes that times follow": {"service_time": {"kind": "linear", "base_s": 0.01, "per_unit_s": 1e-5, **BY_SIZE}},
    "a mixed load": {},
    "a bursty load": {},
    "a load in batches": {},
}
SIZES: dict[str, Any] = {"size_bytes": {"kind": "lognormal", "mean_bytes": 900.0, "cv": 1.0}}
LOADED: dict[str, dict[str, Any]] = {
    "sizes": SIZES,
    "sizes that times follow": SIZES,
    "a mixed load": {"event": {"placed": 2, "changed": 1}, "size_bytes": {"placed": 300, "changed": 1500}},
    "a bursty load": {
        "kind": "bursty",
        "states": [{"rate_per_s": 40, "mean_s": 0.5}, {"rate_per_s": 300, "mean_s": 0.3}],
    },
    "a load in batches": {
        "kind": "batching",
        "of": {"kind": "poisson", "event": "placed", "rate_per_s": 120, "duration_s": 4},
        "size": 10,
        "wait_s": 0.1,
    },
}
FAULTS: dict[str, list[dict[str, Any]]] = {
    "consumers": [
        {"kind": "kill", "service": "desk", "at_s": 1.0, "back_after_s": 0.5},
        {"kind": "pause", "service": "desk", "consumer": 1, "at_s": 2.0, "for_s": 0.7},
        {"kind": "poison", "service": "desk", "at_s": 1.5, "for_s": 1.0, "share": 0.1},
    ],
    "the server": [
        {"kind": "server_away", "at_s": 1.0, "for_s": 0.4},
        {"kind": "lost_replies", "at_s": 2.0, "for_s": 0.5},
        {"kind": "bandwidth", "at_s": 2.8, "for_s": 0.6, "bytes_per_s": 30_000},
    ],
    "data": [
        {"kind": "dependency_out", "dependency": "db", "at_s": 0.8, "for_s": 0.5},
        {"kind": "server_restart", "at_s": 2.0, "back_after_s": 0.3, "with_data": False},
        {"kind": "black_hole", "at_s": 3.8, "for_s": 20.0},
    ],
}
LOADS = [
    ConstantLoad(kind="constant", event="placed", rate_per_s=301.0, duration_s=10.0),
    PoissonLoad(kind="poisson", event="placed", rate_per_s=300.0, duration_s=10.0),
    SpikeLoad(
        kind="spike", event="placed", rate_per_s=100.0, peak_rate_per_s=900.0, at_s=3.0, for_s=2.0, duration_s=10.0
    ),
    OVERLOADED.offered_load,
]
TIMES: list[ServiceTimeKind] = [
    exponential(0.02),
    lognormal(0.02, 1.5),
    GammaTime(kind="gamma", mean_s=0.02, cv=1.5),
    ParetoTime(kind="pareto", shortest_s=0.01, shape=1.5, longest_s=5.0),
    EmpiricalTime(kind="empirical", values_s=tuple(np.linspace(0.01, 0.1, 37).tolist())),
]


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A short run is cut into as many parts as a long one, and older parts are drawn again."""
    monkeypatch.setattr("sim.declare.parts.PART", 64)
    monkeypatch.setattr("sim.declare.loads.constant.PART", 64)
    monkeypatch.setattr("sim.declare.faults.poison.PART", 64)
    monkeypatch.setattr("sim.declare.parts._WINDOW", 300)
    monkeypatch.setattr("sim.evidence.marks.BLOCK", 64)
    monkeypatch.setattr("sim.evidence.tally.BLOCK", 64)
    monkeypatch.setattr("sim.evidence.seen.BLOCK", 64)
    monkeypatch.setattr("sim.worlds.simulated.noting._MANY", 500)


def _agrees(declared: Scenario) -> None:
    """Names, order, counts and means; quantiles to 0.1 %; checks and overloads in the same words."""
    history, counted = sim.simulate(declared, [3, 4]), sim.simulate_metrics(declared, [3, 4])
    measured = measure(history)
    assert list(counted.metrics) == list(measured)
    for name, values in measured.items():
        error = 1.01 * ERROR if "lag_s" in name else 1e-9
        assert counted.metrics[name] == pytest.approx(values, rel=error, nan_ok=True), name
    assert counted.metrics.unhandled.keys() == measured.unhandled.keys()
    for name, shares in measured.unhandled.items():
        assert counted.metrics.unhandled[name] == pytest.approx(shares), name
    assert [one.in_words() for one in counted.overloads] == [one.in_words() for one in overloads(history)]
    assert list(counted.checks) == check(history)
    assert [(run.ended_s, run.left) for run in counted.runs] == [(run.ended_s, run.left) for run in history.runs]


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("declared", [CALM, OVERLOADED, FAULTY], ids=["calm", "overloaded", "faulty"])
def test_what_is_counted_is_what_a_history_says(declared: Scenario) -> None:
    _agrees(declared)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_each_shipped_scenario_is_counted_as_measured_or_refused_with_its_places(file: Path) -> None:
    declared = Scenario.load(file, sample_if_missing=True)
    if (places := REFUSED.get(file.stem)) is None:
        _agrees(declared)
        return
    with pytest.raises(InvalidScenario) as refused:
        sim.simulate_metrics(declared, [0])
    assert [problem.partition(":")[0] for problem in refused.value.problems] == places


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("kind", EACH_FAULT)
def test_each_kind_of_fault_is_counted_as_measured(kind: str) -> None:
    _agrees(EACH_FAULT[kind])


def _load(said: dict[str, Any]) -> dict[str, Any]:
    rate = {"rate_per_s": 120} if "kind" not in said else {}
    length = {"duration_s": 4} if "of" not in said else {}
    return {"kind": "poisson", "event": "placed"} | rate | length | said


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("features", FEATURES)
@pytest.mark.parametrize("faults", FAULTS)
def test_each_feature_is_counted_as_measured_under_faults(features: str, faults: str) -> None:
    """Two services in a chain, of which the first one has the feature; nothing is left out while it is warmed up."""
    one, other = FEATURES[features], FAULTS[faults]
    desk = {
        "consumes": "placed",
        "consumers": 2,
        "concurrency": 3,
        "service_time": {"kind": "exponential", "mean_s": 0.02},
        "error_rate": 0.1,
        "retry": {"attempts": 3, "wait_s": 0.05, "wait_s_max": 0.5},
        "lease_s": 0.4,
        "emits": ["packed"],
    }
    ship = {"consumes": "packed", "concurrency": 2, "service_time": {"kind": "constant", "mean_s": 0.005}}
    _agrees(
        Scenario.model_validate(
            {
                "name": features,
                "load": _load(LOADED.get(features, {})),
                "services": {"desk": desk | one, "ship": ship},
                "dependencies": {"db": {"capacity": 3, "service_time": {"kind": "exponential", "mean_s": 0.01}}},
                "faults": other,
                "drain_s": 5,
                "warm_up_s": 0.7,
            }
        )
    )


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("load", LOADS, ids=lambda load: load.kind)
def test_a_load_in_parts_is_the_load(load: LoadKind) -> None:
    n, parts = load.draw_in_parts(np.random.default_rng(7))
    drawn = list(parts)
    whole = load.arrivals_s(np.random.default_rng(7))
    assert n == whole.size and len(drawn) > 5 and all(one.size for one in drawn)
    assert np.concatenate(drawn).tobytes() == whole.tobytes()


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("time", TIMES, ids=lambda time: time.kind)
def test_service_times_in_parts_are_the_service_times(time: ServiceTimeKind) -> None:
    """Whichever message is asked for next: one of a part that is held no more is drawn again."""
    load, n = LOADS[0], 1000
    whole = time.draw(n, np.random.default_rng(5), load)
    column = Column(n, np.random.default_rng(5), lambda m, rng: time.draw(m, rng, load))
    asked = [700, *range(n), 3, 640, 999]
    assert [column[index] for index in asked] == whole[asked].tolist()


def test_quantiles_of_a_sketch_are_within_its_error() -> None:
    rng, sketch = np.random.default_rng(1), Sketch()
    values: Floats = np.concatenate((np.zeros(500), rng.lognormal(-4.0, 3.0, 20_000), np.full(700, 0.25)))
    for part in np.array_split(rng.permutation(values), 7):
        sketch.add(part)
    for q in (0.0, 0.01, 0.5, 0.9, 0.99, 0.9999, 1.0):
        assert sketch.quantile(q) == pytest.approx(float(np.quantile(values, q)), rel=ERROR, abs=1e-9), q
    with_more = np.append(values, np.full(9000, 1e6))
    assert sketch.quantile(0.8, beyond=9000, beyond_s=1e6) == np.quantile(with_more, 0.8)
    assert np.isnan(Sketch().quantile(0.5))


@pytest.mark.usefixtures("small_parts")
def test_marks_are_a_set_of_numbers_whose_full_blocks_take_no_memory() -> None:
    rng, marks, known = np.random.default_rng(3), Marks(), set[int]()
    for _ in range(40):
        numbers = rng.integers(0, 400, 30)
        new = marks.add(numbers)
        firsts = [number not in known and number not in numbers[:at] for at, number in enumerate(numbers.tolist())]
        assert new.tolist() == firsts
        known.update(numbers.tolist())
        assert (marks.size, marks.until) == (len(known), max(known) + 1)
    assert [number in marks for number in range(500)] == [number in known for number in range(500)]
    for first, until in ((0, 500), (63, 65), (64, 64), (130, 389)):
        assert marks.between(first, until).tolist() == [number in known for number in range(first, until)]
    marks.add(np.arange(64 * 1000))
    assert not marks._blocks


def test_a_recovery_is_the_same_in_whatever_batches_looks_come() -> None:
    """Random walks of a backlog, which come back, come back late, or never do."""
    rng, answers = np.random.default_rng(2), set[str]()
    for _ in range(300):
        at_s: Floats = np.arange(80, dtype=np.float64) * 0.3
        entries = np.floor(np.abs(np.cumsum(rng.normal(0.0, 1.0, at_s.size))))
        calm_until_s = float(rng.uniform(0.0, 12.0))
        asked = Question(calm_until_s, calm_until_s + float(rng.uniform(0.0, 5.0)), at_once=bool(rng.integers(2)))
        whole, cut = Recovery(asked, 0.3), Recovery(asked, 0.3)
        whole.add(at_s, entries)
        cuts = np.sort(rng.integers(0, at_s.size + 1, 5))
        for times, values in zip(np.split(at_s, cuts), np.split(entries, cuts), strict=True):
            cut.add(times, values)
        took_s = whole.took_s(25.0, left=1)
        assert cut.took_s(25.0, left=1) == took_s
        answers.add("never" if np.isinf(took_s) else "at once" if took_s == 0 else "later")
    assert answers == {"never", "at once", "later"}


@pytest.mark.usefixtures("small_parts")
def test_memory_does_not_grow_with_the_run() -> None:
    """Four times as many messages take no more of it; a history of them takes four times as much."""
    peaks = []
    for duration_s in (2.0, 2.0, 8.0):  # the first one imports and fills caches
        declared = scenario(
            poisson(400.0, duration_s), desk=service(0.001, concurrency=2, error_rate=0.1, retry=TRIED_TWICE)
        )
        tracemalloc.start()
        sim.simulate_metrics(declared, [0])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.3 * peaks[1]


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize(
    "slow",
    [{"kind": "bandwidth", "for_s": 1.5, "bytes_per_s": 20_000}, {"kind": "server_away", "for_s": 20.0}],
    ids=lambda slow: slow["kind"],
)
def test_what_waits_to_be_sent_may_be_many_parts_of_the_load(slow: dict[str, Any]) -> None:
    """Hundreds of messages, in parts of 64: they join one batch of a narrow network, or were never sent."""
    late = fault(**slow, at_s=1.0)
    _agrees(scenario(poisson(300.0, 3.0), late, drain_s=2.0, desk=service(0.002, concurrency=4)))


@pytest.mark.usefixtures("small_parts")
def test_what_own_handlers_publish_is_counted_as_measured() -> None:
    """Some messages set off none, others two; a killed consumer leaves what was not handled."""
    learned = {"emits": {"packed": {"shares": [0.2, 0.5, 0.3], "after": 0.5}}, "reject_rate": 0.1}
    desk = own(TIMES_S, TIMES_S / 2, learned, consumers=2, lease_s=60.0, error_rate=0.1, retry=TRIED_TWICE)
    _agrees(
        scenario(
            poisson(60.0, 3.0),
            fault("kill", service="desk", at_s=1.0, back_after_s=50.0),
            drain_s=1.0,
            desk=desk,
            ship=service(0.002, consumes="packed"),
        )
    )


def test_a_hundred_million_messages_may_be_declared_and_only_a_history_of_them_is_refused() -> None:
    long = scenario(poisson(1000.0, 100_000.0), desk=service(retry=Retry(attempts=5)))
    assert long.offered_load.expected_events() == 1e8
    with pytest.raises(InvalidScenario, match=r"services\.desk: 500,000,000 attempts would have to be planned"):
        sim.simulate(long, [0])
    with pytest.raises(InvalidScenario, match="500,000,000 attempts"):
        long.plan(0)


def test_what_is_judged_by_whole_runs_is_refused_each_with_its_place() -> None:
    declared = scenario(
        steady(10.0, 1.0),
        desk=service(queue={}, emits=("packed",)),
        ship=saga_service(saga_step("book"), consumes="packed"),
    )
    with pytest.raises(InvalidScenario) as refused:
        sim.simulate_metrics(declared, [0])
    places = [problem.partition(":")[0] for problem in refused.value.problems]
    assert places == ["services.desk.queue", "services.ship.saga"]
    with pytest.raises(InvalidScenario, match="there are none"):
        sim.simulate_metrics(CALM, [])


def _simulate(folder: Path, *options: str, **changes: Any) -> Any:
    declared = {
        "name": "long",
        "load": {"kind": "constant", "event": "placed", "rate_per_s": 50, "duration_s": 2},
        "services": {"desk": {"consumes": "placed", "service_time": {"kind": "constant", "mean_s": 0.01}}},
    }
    (folder / "long.yaml").write_text(yaml.safe_dump(declared | changes))
    return CliRunner().invoke(app, ["simulate", str(folder / "long.yaml"), "--metrics-only", *options])


def test_the_command_says_what_one_with_rows_says(tmp_path: Path) -> None:
    options = ["--seeds", "3", "--expect", "lag_s_p99 < 20 ms", "--json"]
    result = _simulate(tmp_path, *options, str(tmp_path / "counted.json"))
    assert result.exit_code == 0, result.output
    CliRunner().invoke(app, ["simulate", str(tmp_path / "long.yaml"), *options, str(tmp_path / "measured.json")])
    counted, measured = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("counted", "measured"))
    assert counted["metrics"].keys() == measured["metrics"].keys()
    assert counted["metrics"]["attempts_mean"] == measured["metrics"]["attempts_mean"]
    assert [one["outcome"] for one in counted["expectations"]] == ["holds"]
    assert (counted["runs"], counted["seeds"], counted["overloads"]) == (3, [0, 1, 2], [])


def test_the_command_refuses_what_needs_rows(tmp_path: Path) -> None:
    result = _simulate(tmp_path, "--history", str(tmp_path / "rows.parquet"))
    assert result.exit_code == 2 and "--history needs them" in " ".join(result.output.split())
    result = _simulate(tmp_path, callers={"processes": 1, "reply": "done", "timeout_s": 1.0})
    assert result.exit_code == 2
