"""A prediction is kept with its hash, is of one scenario, and says where live runs should lie."""

import asyncio
import hashlib
import json
import math
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy import stats
from typer.testing import CliRunner

import sim
from sim.cli.commands import app
from sim.declare.loads.poisson import PoissonLoad
from sim.declare.scenario import Scenario
from sim.declare.service_times.exponential import ExponentialTime
from sim.environment import machine, versions
from sim.errors import InvalidHistory, InvalidPrediction, InvalidScenario
from sim.evidence.metrics import measure
from sim.infer.baselines import Queue, formula
from sim.infer.compare import compare
from sim.infer.prediction import Prediction
from sim.worlds.live import product_at
from tests.model.small import scenario, service, steady
from tests.sim.handmade import attempted, history, sent

RETRIED = {
    "name": "small",
    "load": {"kind": "poisson", "event": "placed", "rate_per_s": 50, "duration_s": 1},
    "services": {
        "desk": {
            "consumes": "placed",
            "concurrency": 2,
            "service_time": {"kind": "exponential", "mean_s": 0.01},
            "error_rate": 0.3,
            "lease_s": 1.0,
        }
    },
}


@pytest.fixture(scope="module")
def small() -> Scenario:
    return Scenario.model_validate(RETRIED)


@pytest.fixture(scope="module")
def predicted(small: Scenario) -> Prediction:
    return sim.predict(small, [0, 1], replications=5)


def test_replications_have_one_plan_and_their_own_jitter(small: Scenario) -> None:
    found = measure(sim.simulate(small, [3], repeats=4))
    assert len(set(found["attempts_mean"])) == 1, "which attempts fail is planned"
    assert len(set(found["lag_s_p99"])) == 4, "how long a retry waits is not"
    with pytest.raises(InvalidScenario, match="replications: 0 is too few"):
        sim.predict(small, [0], replications=0)


def test_the_interval_is_that_of_one_more_run(small: Scenario, predicted: Prediction) -> None:
    """By hand, from the means over the seeds of each replication."""
    lags = measure(sim.simulate(small, [0, 1], repeats=5))["lag_s_p95"].reshape(5, 2)
    found = predicted.metrics["lag_s_p95"]
    assert found.of_seeds == pytest.approx(lags.mean(axis=0))
    half = stats.t.ppf(0.975, 4) * lags.mean(axis=1).std(ddof=1) * math.sqrt(1 + 1 / 5)
    assert [found.low, found.high] == pytest.approx([lags.mean() - half, lags.mean() + half])
    assert "little_residual" not in predicted.metrics, "how good a measurement is cannot be predicted"


def test_it_comes_back_from_its_file_with_its_hash(tmp_path: Path, predicted: Prediction) -> None:
    file = tmp_path / "prediction.json"
    predicted.save(file)
    back = Prediction.open(file)
    assert back.sha256 == predicted.sha256 == json.loads(file.read_text())["sha256"]
    assert str(back) == str(predicted)
    assert math.isnan(back.metrics["recovery_s"].mean), "there is no fault to recover from"


def change_metric(said: dict[str, Any]) -> None:
    said["metrics"]["lag_s_p95"]["high"] *= 2


def change_time(said: dict[str, Any]) -> None:
    said["made"] = "2020-01-01T00:00:00+00:00"


def drop_metrics(said: dict[str, Any]) -> None:
    del said["metrics"]


def newer_format(said: dict[str, Any]) -> None:
    said["format"] = 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (change_metric, "was changed after it was made"),
        (change_time, "was changed after it was made"),
        (drop_metrics, "is no prediction"),
        (newer_format, "has format 2, not 1"),
    ],
)
def test_a_changed_file_is_refused(
    tmp_path: Path, predicted: Prediction, change: Callable[[dict[str, Any]], None], said: str
) -> None:
    file, kept = tmp_path / "prediction.json", predicted.json()
    content = json.loads(json.dumps(kept))
    change(content)
    file.write_text(json.dumps(content))
    with pytest.raises(InvalidPrediction, match=said) as refused:
        Prediction.open(file)
    assert refused.value.where == str(file)


@pytest.mark.parametrize(
    "change",
    [
        {"seeds": []},
        {"seeds": [-1, 1]},
        {"seeds": ["x", 1]},
        {"seeds": [0]},
        {"replications": None},
        {"files": None},
        {"metrics": {"lag_s_p50": {"unit": "s", "of_seeds": [1.0], "low": 0.0, "high": 1.0, "unhandled": 0.0}}},
        {"versions": {"Python": 3}},
    ],
)
def test_what_cannot_be_said_is_refused_although_its_hash_is_right(
    tmp_path: Path, predicted: Prediction, change: dict[str, Any]
) -> None:
    said = {name: part for name, part in (predicted.json() | change).items() if name != "sha256"}
    text = json.dumps(said, sort_keys=True, separators=(",", ":"))
    file = tmp_path / "prediction.json"
    file.write_text(json.dumps(said | {"sha256": hashlib.sha256(text.encode()).hexdigest()}))
    with pytest.raises(InvalidPrediction, match="is no prediction"):
        Prediction.open(file)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 1}', "no json", '{"format": 1, "metrics": []}'])
def test_what_is_no_prediction_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "prediction.json"
    file.write_text(content)
    with pytest.raises(InvalidPrediction, match="is no prediction"):
        Prediction.open(file)
    with pytest.raises(InvalidPrediction, match="cannot be read: No such file"):
        Prediction.open(tmp_path / "absent.json")
    with pytest.raises(InvalidPrediction, match="cannot be written"):
        Prediction.of(history(sent(0, 1.0), world="simulated"), [0]).save(tmp_path)


def test_another_scenario_is_refused_and_told_apart(predicted: Prediction) -> None:
    service = RETRIED["services"]["desk"] | {"concurrency": 3}  # type: ignore[index]
    other = Scenario.model_validate(RETRIED | {"services": {"desk": service}})
    with pytest.raises(InvalidPrediction, match=r"another scenario \(services.desk.concurrency: 2, then 3\)"):
        predicted.check_is_of(other)


def test_another_server_or_software_is_refused(predicted: Prediction) -> None:
    predicted.check_fits("Redis 8.2.3")  # it was made without a calibration: for no server
    made_for = replace(predicted, calibration={"server": "Redis 7.0.15"})
    made_for.check_fits("Redis 7.0.15")
    with pytest.raises(InvalidPrediction, match=r"made for server 'Redis 7\.0\.15', here 'Redis 8\.2\.3'"):
        made_for.check_fits("Redis 8.2.3")
    with pytest.raises(InvalidPrediction, match=r"redis-py '1\.0', here"):
        replace(predicted, versions={**predicted.versions, "redis-py": "1.0"}).check_fits("Redis 8.2.3")


def test_a_trace_that_has_changed_is_another_scenario(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.0,1,1\n2023-11-16 18:15:47.0,1,1\n")
    file = tmp_path / "scenario.yaml"
    load = {"kind": "trace", "event": "placed", "file": "trace.csv"}
    file.write_text(yaml.safe_dump(RETRIED | {"load": load}))
    declared = Scenario.load(file)
    made = sim.predict(declared, [0], replications=1)
    made.check_is_of(declared)
    trace.write_text(trace.read_text().replace("18:15:47", "18:15:48"))
    with pytest.raises(InvalidPrediction, match=r"trace\.csv has changed"):
        made.check_is_of(declared)
    trace.unlink()
    with pytest.raises(InvalidPrediction, match=r"trace\.csv is not there"):
        made.check_is_of(declared)


def test_where_its_files_are_makes_no_other_scenario(tmp_path: Path) -> None:
    """Two of one name are told apart, and each is known by its content."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "times.csv").write_text(f"service_s\n{0.01 if folder == 'a' else 0.02}\n")
    declared = {"name": "s", "load": {"kind": "constant", "event": "placed", "rate_per_s": 5, "duration_s": 1}}
    services = {
        of: {"consumes": "placed", "service_time": {"kind": "empirical", "file": f"{of}/times.csv"}} for of in "ab"
    }
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(declared | {"services": services}))
    made = sim.predict(Scenario.load(tmp_path / "s.yaml"), [0], replications=1)
    assert len(made.files) == 2
    shutil.copytree(tmp_path, tmp_path / "copy")
    there = Scenario.load(tmp_path / "copy" / "s.yaml")
    made.check_is_of(there)
    (tmp_path / "copy" / "b" / "times.csv").write_text("service_s\n0.03\n")
    with pytest.raises(InvalidPrediction, match=r"times\.csv \(2\) has changed"):
        made.check_is_of(there)


def lagging(*lags_s: float, seeds: tuple[int, ...] = (0, 0, 1, 1)) -> sim.History:
    rows = [
        one
        for run, lag_s in enumerate(lags_s)
        for one in (*sent(0, 1.0, run=run), *attempted(0, 1.0, 1.0 + lag_s, run=run, intended_s=1.0))
    ]
    return history(rows, seeds=seeds)


def test_the_floor_is_how_far_all_pairs_of_repeats_are_apart() -> None:
    live = lagging(1.0, 1.2, 1.6, 2.0, 2.4, 2.0, seeds=(0, 0, 0, 1, 1, 1))
    lag = compare(replace(lagging(1.0, 2.0, seeds=(0, 1)), world="simulated"), live)["lag_s_p50"]
    assert lag.floor == pytest.approx((0.2 + 0.6 + 0.4 + 0.4 + 0.0 + 0.4) / 6)
    assert lag.pairs == 6
    assert lag.relative_floor == pytest.approx(lag.floor / lag.live)


def test_errors_of_two_seeds_do_not_cancel_in_the_distance() -> None:
    live = lagging(1.0, 1.0, 2.0, 2.0)
    lag = compare(replace(lagging(1.5, 1.5, seeds=(0, 1)), world="simulated"), live)["lag_s_p50"]
    assert lag.error == pytest.approx(0.0) and lag.distance == pytest.approx(0.5)


def test_the_last_run_is_that_of_the_seed_before() -> None:
    """Seed 1 had 2.0 and 2.2; the run before it 1.0. Nothing ran before seed 0."""
    live = lagging(1.0, 1.2, 2.0, 2.2)
    near = compare(replace(lagging(1.0, 2.0, seeds=(0, 1)), world="simulated"), live)["lag_s_p50"]
    assert near.baselines["last run"] == pytest.approx(2.1 - 1.0)
    assert near.beats("last run") is True
    far = compare(replace(lagging(9.0, 9.0, seeds=(0, 1)), world="simulated"), live)["lag_s_p50"]
    assert far.beats("last run") is False
    alone = compare(replace(lagging(1.0, seeds=(0,)), world="simulated"), lagging(1.0, 1.2, seeds=(0, 0)))["lag_s_p50"]
    assert alone.beats("last run") is None


def test_a_live_value_is_covered_or_not(small: Scenario, predicted: Prediction) -> None:
    live = replace(sim.simulate(small, [0, 1]), world="live", server="Redis 8.2.3")
    slow = replace(
        sim.simulate(small, [0, 1], calibration=sim.Calibration.constant(handle_s=0.05)),
        world="live",
        server="Redis 8.2.3",
    )
    near, far, unknown = compare(predicted, live), compare(predicted, slow), compare(predicted, live)["recovery_s"]
    assert [(one["lag_s_p95"].covered, one["lag_s_p95"].repeats) for one in (near, far)] == [(1, 1), (0, 1)]
    assert (unknown.covered, unknown.repeats) == (0, 0)
    with pytest.raises(InvalidHistory, match="seed 1 was predicted and did not run live"):
        compare(predicted, live.of_seeds([0]))


def test_the_formula_is_that_of_the_textbook() -> None:
    """In M/M/1, the sojourn is exponential with rate mu - lambda: p50 is ln 2 over that. 100,000 draws: within 2 %."""
    drawn = Queue(rate_per_s=60.0, mean_s=0.01, servers=1).sojourns_s(100_000, np.random.default_rng(1))
    assert np.quantile(drawn, 0.5) == pytest.approx(math.log(2) / 40, rel=0.02)
    assert np.quantile(drawn, 0.99) == pytest.approx(math.log(100) / 40, rel=0.02)


def test_the_formula_takes_what_was_measured_and_nothing_else() -> None:
    load = PoissonLoad(kind="poisson", event="placed", rate_per_s=60, duration_s=200)
    work = ExponentialTime(kind="exponential", mean_s=0.01)
    declared = scenario(load, desk=service().model_copy(update={"service_time": work}))
    live = replace(sim.simulate(declared, [0]), world="live")
    found, measured = formula(live), measure(live)
    assert found["lag_s_p50"] == pytest.approx(float(measured["lag_s_p50"][0]), rel=0.15)
    assert found["utilisation"] == pytest.approx(0.6, rel=0.05)
    assert "dead_letters" not in found
    assert formula(replace(sim.simulate(scenario(steady(200.0, 1.0), desk=service(0.01)), [0]), world="live")) == {}


def test_the_command_predicts_then_judges(tmp_path: Path, url: str) -> None:
    file, target, kept = (tmp_path / name for name in ("small.yaml", "my [1] 'p'.json", "calibration.json"))
    file.write_text(yaml.safe_dump(RETRIED | {"services": {"desk": {**RETRIED["services"]["desk"], "error_rate": 0}}}))  # type: ignore[index]
    measured = sim.Calibration.constant(dispatch_s=0.001)
    replace(measured, server=asyncio.run(product_at(url)), machine=machine(), versions=versions()).save(kept)
    common = ("--url", url)
    predict = ["predict", str(file), "--calibration", str(kept), "--live-seeds", "1", "--out", str(target)]
    said = CliRunner().invoke(app, [*predict, *common])
    assert said.exit_code == 0, said.output
    digest = Prediction.open(target).sha256
    assert digest in said.output
    assert shlex.split(said.output.replace("\n", "").partition("compare --prediction")[2]) == [str(target)]
    told = tmp_path / "told.json"
    judge = ["compare", "--prediction", str(target), "--repeats", "2", "--json", str(told), *common]
    judged = CliRunner().invoke(app, judge)
    assert judged.exit_code in (0, 1, 3), judged.output  # how close it is depends on how busy the machine is
    found = json.loads(told.read_text())
    assert found["prediction"]["sha256"] == digest and digest[:16] in judged.output
    assert found["metrics"]["lag_s_p50"]["pairs"] == 1
    file.write_text(file.read_text().replace("rate_per_s: 50", "rate_per_s: 51"))
    refused = CliRunner().invoke(app, ["compare", str(file), "--prediction", str(target), *common])
    assert refused.exit_code == 2 and "load.rate_per_s: 50.0, then 51.0" in " ".join(refused.output.split())
    replace(measured, server="Redis 1.0", machine=machine(), versions=versions()).save(kept)
    refused = CliRunner().invoke(app, [*predict, *common])
    assert refused.exit_code == 2 and "measured with server 'Redis 1.0'" in " ".join(refused.output.split())


KEPT = ("a.parquet", "b.parquet")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "nothing to compare"),
        ((*KEPT, "--prediction", "p.json"), "leave --prediction out"),
        ((*KEPT, "--tolerance", "0.2"), "leave --tolerance out"),
        ((*KEPT, "--repeats", "5"), "leave --repeats out"),
        (("--prediction", "p.json", "--calibration", "c.json"), "leave --calibration out"),
        (("--prediction", "p.json", "--live-seeds", "2"), "leave --live-seeds out"),
    ],
)
def test_a_comparison_of_nothing_or_too_much_is_refused(arguments: tuple[str, ...], told: str) -> None:
    """What would be passed over is, though it be the default."""
    said = CliRunner().invoke(app, ["compare", *arguments])
    assert said.exit_code == 2 and told in " ".join(said.output.split()), said.output
