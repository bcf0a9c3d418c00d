"""Expectations: what they say, what they may be about, and when they hold, fail or cannot be told."""

import json
import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from sim.cli.commands import app
from sim.declare.callers import Callers
from sim.declare.expectations import Expectation
from sim.declare.scenario import Scenario
from sim.errors import InvalidScenario
from sim.evidence.expectations import expectations_of, judge, judge_history, metric_names
from sim.evidence.export import under_all_names
from sim.evidence.metrics import Metrics, measure, unit_of
from sim.infer.judging import judge_prediction
from sim.infer.predict import predict
from sim.infer.prediction import Prediction
from sim.show.verdict import state_of
from sim.worlds.simulated import simulate
from tests.model.small import poisson, saga_service, saga_step, scenario, service, steady, with_callers
from tests.sim.handmade import history, sent, whole

SMALL = scenario(steady(20.0, 1.0), desk=service(0.01))


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("lag_s_p99 < 0.5", Expectation("lag_s_p99", "<", 0.5)),
        ("lag_s_p99<500ms", Expectation("lag_s_p99", "<", 0.5, "s")),
        ("billing.unhandled <= 1 %", Expectation("billing.unhandled", "<=", 0.01, "share")),
        ("throughput_per_s >= 2e2 /s", Expectation("throughput_per_s", ">=", 200.0, "1/s")),
        ("recovery_s < 2 min", Expectation("recovery_s", "<", 120.0, "s")),
        ("dead_letters <= 0 messages", Expectation("dead_letters", "<=", 0.0, "messages")),
    ],
)
def test_an_expectation_is_a_metric_a_comparison_and_a_number(text: str, read: Expectation) -> None:
    found = Expectation.parse(text)
    assert (found.metric, found.operator, found.unit) == (read.metric, read.operator, read.unit)
    assert found.limit == pytest.approx(read.limit)


@pytest.mark.parametrize("text", ["", "lag_s_p99", "lag_s_p99 < fast", "lag_s_p99 = 3", "0.5 > lag_s_p99", "x < 1e999"])
def test_what_expects_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="such as 'lag_s_p99 < 500 ms'"):
        Expectation.parse(text)


@pytest.mark.parametrize(
    "declared",
    [
        SMALL,
        scenario(steady(20.0, 1.0), one=service(0.01, emits=("more",)), two=service(0.01, consumes="more")),
        scenario(steady(20.0, 1.0), mailer=service(0.01, queue={"priorities": {"high": 0.5, "low": 0.5}})),
        scenario(steady(20.0, 1.0), shop=saga_service(saga_step("reserve", undo=0.01))),
        with_callers(Callers(reply="given", timeout_s=1.0), steady(20.0, 1.0), desk=service(0.01, emits=("given",))),
    ],
    ids=["one service", "two", "queue", "sagas", "callers"],
)
def test_the_metrics_that_can_be_expected_are_those_that_are_measured(declared: Scenario) -> None:
    measured = {name: unit_of(name) for name in measure(simulate(declared, [0]))}
    assert metric_names(declared) == under_all_names(measured, declared)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("lag_p99 < 0.5", "there is no metric 'lag_p99'; the nearest are lag_s_p99"),
        ("shipping.lag_s_p99 < 0.5", "the nearest are desk.lag_s_p99"),
        ("lag_s_p99 < 3 /s", "lag_s_p99 is in s, not in 1/s"),
        ("lag_s_p99", "expects nothing"),
    ],
)
def test_an_expectation_of_no_metric_is_refused_with_the_nearest_names(text: str, problem: str) -> None:
    with pytest.raises(InvalidScenario, match="expect: ") as refused:
        expectations_of(SMALL, [text])
    assert problem in str(refused.value)


def outcome(text: str, values: list[float], unhandled: list[float] | None = None) -> str:
    wanted = Expectation.parse(text)
    shares = {wanted.metric: np.array(unhandled)} if unhandled else {}
    [found] = judge([wanted], Metrics({wanted.metric: np.array(values)}, shares))
    return found.verdict


def test_it_holds_or_fails_where_the_whole_interval_does() -> None:
    """The mean of these is 1, and its 95 % interval from 0.75 to 1.25."""
    values = [0.9, 1.1, 1.0]
    assert [outcome(f"lag_s_p99 < {limit}", values) for limit in (0.7, 1.1, 1.3)] == [
        "fails",
        "cannot tell from 3 runs",
        "holds",
    ]
    assert outcome("lag_s_p99 >= 0.7", values) == "holds"
    assert outcome("lag_s_p99 < 9", [1.0, 1.0]) == "cannot tell from 2 runs"
    assert outcome("lag_s_p99 < 9", [math.nan] * 5) == "cannot tell"  # more runs would not help
    assert outcome("dead_letters <= 0", [0.0, 0.0, 0.0]) == "holds"
    assert outcome("dead_letters < 0", [0.0, 0.0, 0.0]) == "fails"
    assert outcome("recovery_s < 5", [1.0, math.inf, 1.0]) == "fails"  # on average it is infinite


def test_a_number_that_no_run_has_is_not_blamed_on_few_runs() -> None:
    """Recovery is that of a service which a fault meets."""
    judged = judge([Expectation.parse("recovery_s < 5")], Metrics({"recovery_s": np.array([math.nan] * 5)}, {}))
    assert judged[0].found == "no run has such a number, because no fault meets it; expect another metric"
    assert state_of((), judged=judged) == ("unknown", "One expectation cannot be told: no run has such a number")


def test_a_lower_bound_never_holds_below_a_limit() -> None:
    """What was never handled has at least this lag: it may be over any limit."""
    bounds = [2.0, 2.1, 1.9]
    assert outcome("lag_s_p99 < 9", bounds, [0.5, 0.5, 0.5]) == "cannot tell from 3 runs"
    assert outcome("lag_s_p99 < 1", bounds, [0.5, 0.5, 0.5]) == "fails"
    unhandled = history(*(whole(i, 0.0, 0.01, run=0) for i in range(3)), *(sent(i, 0.0) for i in range(3, 100)))
    [found] = judge_history([Expectation.parse("lag_s_p99 < 0.5")], unhandled)
    assert found.found == ">= 10 s, 97 % unhandled (1 run, no interval; give 3 seeds or more)"


def test_repeats_of_a_seed_are_no_independent_runs() -> None:
    seeds = (0, 0, 1, 1, 2, 2)
    rows = [whole(0, 0.0, 1.0 + index / 10, run=index) for index in range(6)]
    for index, group in enumerate(rows):
        rows[index] = [(index, *row[1:]) for row in group]
    [found] = judge_history([Expectation.parse("lag_s_p50 < 9")], history(*rows, seeds=seeds))
    assert found.runs == 3 and found.mean == pytest.approx(1.25)


def test_a_prediction_is_judged_by_where_live_runs_should_lie() -> None:
    prediction = predict(SMALL, [0, 1], replications=3)
    [holds, fails] = judge_prediction(
        [Expectation.parse("lag_s_p99 < 500 ms"), Expectation.parse("desk.lag_s_p99 < 1 ms")], prediction
    )
    assert (holds.outcome, fails.outcome) == ("holds", "fails")


def test_a_predicted_overload_fails_a_limit_and_never_holds(tmp_path: Path) -> None:
    """Twenty messages of a second each, and two seconds for them: p99 is only known to be longer than some time."""
    overloaded = scenario(poisson(20.0, 1.0), drain_s=1.0, desk=service(1.0))
    found = predict(overloaded, [0, 1], replications=3)
    found.save(tmp_path / "p.json")
    for prediction in (found, Prediction.open(tmp_path / "p.json")):
        fails, unsure = judge_prediction(
            [Expectation.parse("lag_s_p99 < 500 ms"), Expectation.parse("desk.lag_s_p99 < 3600 s")], prediction
        )
        assert (fails.outcome, unsure.outcome) == ("fails", "cannot tell")
        assert "% unhandled (95 % interval from " in fails.found
    assert " on " in next(line for line in str(found).splitlines() if line.startswith("lag_s_p99"))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run `workbench simulate` on a scenario of one service, with files in a directory of the test's own."""
    monkeypatch.chdir(tmp_path)
    declared = {
        "name": "small",
        "load": {"kind": "constant", "event": "order.placed", "rate_per_s": 10, "duration_s": 1},
        "services": {"desk": {"consumes": "order.placed", "service_time": {"kind": "constant", "mean_s": 0.01}}},
    }

    def simulated(*arguments: str, **fields: Any) -> Any:
        Path("scenario.yaml").write_text(yaml.safe_dump(declared | fields))
        return CliRunner().invoke(app, ["simulate", "scenario.yaml", "--seeds", "3", *arguments])

    return simulated


def test_the_exit_status_says_what_became_of_what_was_expected(run: Any) -> None:
    good, bad = "lag_s_p99 < 500 ms", "lag_s_p99 < 1 ms"
    statuses = [
        run("--expect", good).exit_code,
        run(expect=[good, bad]).exit_code,
        run("--expect", good, "--seeds", "2").exit_code,
        run("--expect", "lag_p99 < 1").exit_code,
        run(expect=["lag_s_p99 is low"]).exit_code,
    ]
    assert statuses == [0, 1, 3, 2, 2]
    said = run("--expect", bad).output
    assert "fails   lag_s_p99 < 1 ms: 10 ms (95 % interval 10 ms to 10 ms, 3 runs)" in said
    assert said.splitlines()[-1] == "One expectation failed."


def test_an_overloaded_run_fails_what_is_expected_of_its_lag(run: Any) -> None:
    """It is not drained in time, so it would be invalid. But its lag is over the limit, whatever it is."""
    slow = {"desk": {"consumes": "order.placed", "service_time": {"kind": "constant", "mean_s": 0.7}}}
    failed = run("--expect", "lag_s_p95 < 500 ms", services=slow, drain_s=0.25)
    assert (failed.exit_code, failed.output.splitlines()[-1]) == (1, "One expectation failed.")
    assert (
        "fails   lag_s_p95 < 500 ms: >= 1.25 s, 90 % unhandled (95 % interval from 1.25 s on, 3 runs)" in failed.output
    )
    assert run("--expect", "lag_s_p95 < 99 s", services=slow, drain_s=0.25).exit_code == 3


def test_ci_is_told(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    Path("summary.md").write_text("what was there\n")
    expected = ["--expect", "lag_s_p99 < 1 ms", "--expect", "dead_letters <= 0"]
    run(*expected, "--junit", "junit.xml", "--markdown", "out.md", "--json", "out.json", name="a <small> | *one*")
    suite = ElementTree.parse("junit.xml").getroot()[0]
    assert suite.attrib["name"] == "a <small> | *one*, simulated"
    cases = {case.attrib["name"]: [child.tag for child in case] for case in suite}
    assert cases["lag_s_p99 < 1 ms"] == ["failure"] and cases["dead_letters <= 0 messages"] == ["system-out"]
    assert int(suite.attrib["failures"]) == 1 and int(suite.attrib["tests"]) == len(cases)
    markdown = Path("out.md").read_text()
    assert "| ❌ fails | lag\\_s\\_p99 &lt; 1 ms | 10 ms" in markdown and "a &lt;small&gt; \\| \\*one\\*" in markdown
    assert Path("summary.md").read_text() == f"what was there\n{markdown}\n"
    told = json.loads(Path("out.json").read_text())["expectations"]
    assert [(one["expect"], one["outcome"]) for one in told] == [
        ("lag_s_p99 < 1 ms", "fails"),
        ("dead_letters <= 0 messages", "holds"),
    ]
