"""compare() pairs runs by their seed, and measures how far two live runs of one seed are apart."""

import math
from dataclasses import replace

import pytest

from sim.errors import InvalidHistory
from sim.evidence.history import History, Left, World
from sim.evidence.metrics import measure
from sim.infer.compare import compare, comparison_json
from tests.model.small import kill
from tests.sim.handmade import attempted, chain, desk, history, row, sampled, sent


def of_lags(world: World, lags_s: dict[tuple[int, int], float]) -> History:
    """A run for each seed and repeat, with one message of this lag."""
    rows = [
        one
        for run, lag_s in enumerate(lags_s.values())
        for one in (*sent(0, 1.0, run=run), *attempted(0, 1.0, 1.0 + lag_s, run=run, intended_s=1.0))
    ]
    return history(rows, world=world, seeds=[seed for seed, _ in lags_s])


SIMULATED = of_lags("simulated", {(0, 0): 1.0, (1, 0): 2.0, (2, 0): 40.0})
LIVE = of_lags("live", {(0, 0): 1.5, (1, 0): 2.0, (0, 1): 1.7, (1, 1): 3.0})


def test_error_and_noise_floor() -> None:
    """Seed 0: 1.0 beside 1.5 and 1.7. Seed 1: 2.0 beside 2.0 and 3.0. Seed 2 ran in one world only."""
    found = compare(SIMULATED, LIVE)
    lag = found["lag_s_p50"]
    assert found.seeds == (0, 1)
    assert lag.simulated == pytest.approx(1.5)
    assert lag.live == pytest.approx((1.6 + 2.5) / 2)
    assert lag.error == pytest.approx((-0.6 - 0.5) / 2)
    assert lag.noise_floor == pytest.approx((0.2 + 1.0) / 2)
    assert lag.relative_error == pytest.approx(-0.55 / 2.05)
    assert lag.within_noise is True
    assert lag.unit == "s"


def test_json_says_all_that_is_known() -> None:
    result = compare(SIMULATED, LIVE)
    told = comparison_json(result)
    lag = told["metrics"]["lag_s_p50"]
    assert (lag["inside"], lag["unit"]) == (True, "s")
    assert lag["distance"] == pytest.approx(((0.5 + 0.7) / 2 + (0.0 + 1.0) / 2) / 2)
    interval = result["lag_s_p50"].simulated_interval
    assert lag["simulated_interval"] == [interval.low, interval.high] and interval.low < interval.high
    assert (told["seeds"], told["runs"], told["simulated_runs"], told["overheads"]) == ([0, 1], 4, 3, {})
    assert told["metrics"]["desk.lag_s_p50"] is lag and "desk.lateness_s_p99" not in told["metrics"]
    both = history(sent(0, 1.0), declared=chain())
    pair = compare(replace(both, world="simulated"), both)
    assert "billing.recovery_s" in comparison_json(pair)["metrics"]
    assert "recovery_s" not in comparison_json(pair)["metrics"]


def test_intervals_are_over_all_seeds() -> None:
    lag = compare(SIMULATED, LIVE)["lag_s_p50"]
    assert (lag.simulated_interval.runs, lag.live_interval.runs) == (3, 2), "repeats of a seed are one"
    assert lag.simulated_interval.mean == pytest.approx(43 / 3)
    assert lag.live_interval.mean == pytest.approx((1.6 + 2.5) / 2)


def test_an_error_above_the_noise() -> None:
    assert compare(of_lags("simulated", {(0, 0): 0.1}), LIVE)["lag_s_p50"].within_noise is False


def test_without_a_repeat_there_is_no_noise_floor() -> None:
    lag = compare(SIMULATED, of_lags("live", {(0, 0): 1.5}))["lag_s_p50"]
    assert math.isnan(lag.noise_floor)
    assert lag.within_noise is None


def test_equal_worlds_have_no_error() -> None:
    found = compare(SIMULATED, of_lags("live", {(0, 0): 1.0, (0, 1): 1.0}))
    assert found["lag_s_p50"].error == found["lag_s_p50"].noise_floor == 0.0
    assert found["lag_s_p50"].within_noise is True


def test_two_runs_that_never_recovered_agree() -> None:
    """Recovery is infinite in every run. Two infinities do not differ."""
    values, declared, left = [3.0] * 11 + [9.0] * 30, desk(kill("desk", 1.05, 0.5)), Left(1, 0, 0, 0, 0)
    simulated = history(sampled(values), declared=declared, world="simulated", left=left)
    live = history(sampled(values), sampled(values, run=1), declared=declared, seeds=(0, 0), left=left)
    recovery = compare(simulated, live)["recovery_s"]
    assert (recovery.simulated, recovery.live) == (math.inf, math.inf)
    assert recovery.distance == recovery.noise_floor == 0.0
    assert recovery.within_noise is True


def test_predictions_name_each_number_once() -> None:
    """Shipping ends every flow, so its lag is the system's. How good the measurement was is not predicted."""
    found = compare(history(declared=chain(), world="simulated"), history(declared=chain()))
    predicted = [row.metric for row in found.predictions]
    assert {"lag_s_p95", "billing.lag_s_p95", "shipping.backlog_mean"} <= set(predicted)
    assert not {"shipping.lag_s_p95", "shipping.throughput_per_s"} & set(predicted)
    assert not [name for name in predicted if "little" in name or "lateness" in name]


def test_every_metric_is_compared_and_the_live_history_is_judged() -> None:
    found = compare(SIMULATED, LIVE)
    assert {row.metric for row in found.rows} == set(measure(LIVE))
    assert {check.verdict for check in found.checks} == {"true"}
    lost = history([row("published", 1.0, event=0, message=5)], world="live")
    assert "false" in {check.verdict for check in compare(SIMULATED, lost).checks}


def test_it_prints_as_a_table() -> None:
    said = str(compare(SIMULATED, LIVE)).splitlines()
    assert said[0] == "small on Redis 8.2, seeds [0, 1]"
    (lag,) = [line.split() for line in said if line.startswith("lag_s_p50")]
    assert lag == ["lag_s_p50", "1.5", "2.05", "-0.55", "0.6", "s"]


@pytest.mark.parametrize(
    ("simulated", "live", "problem"),
    [
        (LIVE, SIMULATED, "needs a simulated and a live history, not live and simulated"),
        (SIMULATED, SIMULATED, "not simulated and simulated"),
        (SIMULATED, history(declared=chain()), "different scenarios"),
        (SIMULATED, of_lags("live", {(9, 0): 1.0}), "share no seed"),
    ],
)
def test_histories_that_cannot_be_compared_are_refused(simulated: History, live: History, problem: str) -> None:
    with pytest.raises(InvalidHistory, match=problem) as refused:
        compare(simulated, live)
    assert refused.value.where == "compare"
