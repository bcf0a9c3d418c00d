"""compare() pairs runs by their seed, and judges each relative error by a tolerance, with its noise as error bar."""

import math
from dataclasses import replace

import pytest
from scipy import stats

from sim.errors import InvalidHistory
from sim.evidence.history import History, Left, World
from sim.evidence.metrics import Interval, measure
from sim.infer.compare import Row, compare, comparison_json
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


def test_error_and_noise() -> None:
    """Seed 0: 1.0 beside 1.5 and 1.7. Seed 1: 2.0 beside 2.0 and 3.0. Seed 2 ran in one world only."""
    found = compare(SIMULATED, LIVE)
    lag = found["lag_s_p50"]
    assert found.seeds == (0, 1)
    assert lag.simulated == pytest.approx(1.5)
    assert lag.live == pytest.approx((1.6 + 2.5) / 2)
    assert lag.error == pytest.approx((-0.6 - 0.5) / 2)
    variance = (0.1**2 + 0.1**2 + 0.5**2 + 0.5**2) / 2  # within the seeds, two degrees of freedom
    assert lag.noise == pytest.approx(stats.t.ppf(0.975, 2) * math.sqrt(variance / 4))
    assert lag.live_runs == 4
    assert lag.relative_error == pytest.approx(-0.55 / 2.05)
    assert lag.verdict == "too noisy"
    assert lag.unit == "s"


def test_json_says_all_that_is_known() -> None:
    result = compare(SIMULATED, LIVE)
    told = comparison_json(result)
    lag, row = told["metrics"]["lag_s_p50"], result["lag_s_p50"]
    inside = {"within": True, "outside": False, "too noisy": None, "unknown": None}[row.verdict]
    assert (lag["inside"], lag["verdict"], lag["unit"]) == (inside, row.verdict, "s")
    assert (lag["distance"], lag["relative_error"]) == (abs(row.error), row.relative_error)
    interval = row.simulated_interval
    assert lag["simulated_interval"] == pytest.approx([interval.low, interval.high], nan_ok=True)
    assert (told["seeds"], told["runs"], told["simulated_runs"], told["calibration"]) == ([0, 1], 4, 2, {})
    assert told["tolerance"] == 0.1
    assert told["metrics"]["desk.lag_s_p50"] is lag and "desk.lateness_s_p99" not in told["metrics"]
    both = history(sent(0, 1.0), declared=chain())
    pair = compare(replace(both, world="simulated"), both)
    assert "billing.recovery_s" in comparison_json(pair)["metrics"]
    assert "recovery_s" not in comparison_json(pair)["metrics"]


def test_numbers_and_intervals_beside_each_other_are_of_the_same_seeds() -> None:
    lag = compare(SIMULATED, LIVE)["lag_s_p50"]
    assert (lag.simulated_interval.runs, lag.live_interval.runs) == (1, 2), "repeats of a seed are one"
    assert lag.simulated_interval.mean == lag.simulated == pytest.approx(1.5)
    assert lag.live_interval.mean == lag.live == pytest.approx((1.6 + 2.5) / 2)


NO_INTERVAL = Interval(1.0, math.nan, math.nan, 2)
ROW = Row("lag_s_p50", "s", 1.0, 1.0, 0.0, 0.0, 4, NO_INTERVAL, NO_INTERVAL)


@pytest.mark.parametrize(
    ("error", "noise", "verdict"),
    [
        (-0.012, 0.001, "within"),  # off by far more than its noise, and good enough all the same
        (0.55, 0.6, "too noisy"),  # lost in the noise, which makes it no good prediction
        (0.55, 0.2, "outside"),
        (-0.55, 0.2, "outside"),
        (0.09, 0.02, "too noisy"),
        (0.11, 0.02, "too noisy"),
        (0.05, math.nan, "too noisy"),
        (math.nan, 0.01, "unknown"),
        (math.inf, 0.0, "outside"),
        (math.inf, math.inf, "too noisy"),
        (0.0, 0.0, "within"),
    ],
)
def test_the_relative_error_that_is_shown_is_judged(error: float, noise: float, verdict: str) -> None:
    assert replace(ROW, error=error, noise=noise).verdict == verdict
    twice = replace(ROW, live=2.0, error=2 * error, noise=2 * noise)
    assert twice.verdict == verdict
    assert twice.relative_error == pytest.approx(error, nan_ok=True)


@pytest.mark.parametrize(
    ("error", "noise", "drifted", "said"),
    [
        (0.5, 0.0, True, "machine changed"),  # there is no noise that could hide it
        (0.5, 0.2, True, "machine changed"),
        (math.inf, 0.0, True, "machine changed"),
        (0.5, 0.2, False, "outside"),
        (0.09, 0.02, True, "too noisy"),
        (0.5, math.nan, True, "too noisy"),
        (0.05, 0.0, True, "within"),
    ],
)
def test_a_table_says_what_hides_the_error(error: float, noise: float, drifted: bool, said: str) -> None:
    assert replace(ROW, error=error, noise=noise, drifted=drifted).in_words == said


def test_the_tolerance_is_as_told() -> None:
    off = of_lags("live", {(0, 0): 1.25, (0, 1): 1.25})
    assert [compare(SIMULATED, off, tolerance=told)["lag_s_p50"].verdict for told in (0.1, 0.3)] == [
        "outside",
        "within",
    ]
    assert compare(SIMULATED, off, tolerance=0.3).tolerance == 0.3
    for wrong in (0.0, -0.1, math.nan, math.inf):
        with pytest.raises(InvalidHistory, match="tolerance is"):
            compare(SIMULATED, off, tolerance=wrong)


def test_an_error_beside_a_live_zero_is_outside() -> None:
    found = replace(ROW, live=0.0, error=3.0)
    assert (found.relative_error, found.verdict) == (math.inf, "outside")
    assert replace(ROW, live=0.0).verdict == "within"


def test_a_live_zero_is_within_where_it_was_predicted_to_lie() -> None:
    """Of 0.05 dead letters on average, no run has that many."""
    expected = replace(ROW, live=0.0, error=0.05, noise=0.0, covered=5, repeats=5)
    assert (expected.verdict, replace(expected, covered=4).verdict) == ("within", "outside")


def test_without_a_repeat_it_is_too_noisy_to_tell() -> None:
    lag = compare(SIMULATED, of_lags("live", {(0, 0): 1.0}))["lag_s_p50"]
    assert math.isnan(lag.noise)
    assert (lag.relative_error, lag.verdict) == (0.0, "too noisy")


@pytest.mark.parametrize(
    ("simulated_share", "live_share", "error", "verdict"),
    [
        (0.0, 0.0, 0.05, "within"),
        (0.9, 0.9, 0.0, "unknown"),  # both are bounds: the true numbers may be far apart
        (0.9, 0.0, 3.0, "outside"),  # the simulated one is at least this much larger
        (0.9, 0.0, 0.05, "unknown"),
        (0.9, 0.0, -0.5, "unknown"),  # it may be larger than it is known to be, and so closer
        (0.0, 0.9, -0.5, "outside"),
        (0.0, 0.9, 0.5, "unknown"),
    ],
)
def test_a_lower_bound_is_judged_only_where_it_decides(
    simulated_share: float, live_share: float, error: float, verdict: str
) -> None:
    simulated, live = (replace(NO_INTERVAL, unhandled=share) for share in (simulated_share, live_share))
    assert replace(ROW, error=error, simulated_interval=simulated, live_interval=live).verdict == verdict


def test_lower_bounds_are_marked() -> None:
    never = history(sent(0, 1.0), world="live")
    found = compare(SIMULATED, never)
    assert " >= 10 " in next(line for line in str(found).splitlines() if line.startswith("lag_s_p50"))
    told = comparison_json(found)["metrics"]["lag_s_p50"]
    assert (told["live"], told["live_at_least"], told["live_unhandled"]) == (10.0, True, 1.0)
    assert "simulated_at_least" not in told


def test_equal_worlds_have_no_error() -> None:
    found = compare(SIMULATED, of_lags("live", {(0, 0): 1.0, (0, 1): 1.0}))
    assert found["lag_s_p50"].error == found["lag_s_p50"].noise == 0.0
    assert found["lag_s_p50"].verdict == "within"


def test_machines_are_told_the_same_numbers() -> None:
    found = compare(SIMULATED, LIVE)
    told, lag = comparison_json(found), found["lag_s_p50"]
    assert (told["seeds"], told["live_runs"], told["tolerance"]) == ([0, 1], 4, 0.1)
    shown = {name: told["metrics"]["lag_s_p50"][name] for name in ("relative_error", "relative_noise", "verdict")}
    assert shown == {
        "relative_error": lag.relative_error,
        "relative_noise": lag.relative_noise,
        "verdict": "too noisy",
    }
    assert told["metrics"]["lateness_s_p99"]["verdict"] is None, "it tells how good the measurement was"


def test_two_runs_that_never_recovered_agree() -> None:
    """Recovery is infinite in every run. Two infinities do not differ."""
    values, declared, left = [3.0] * 11 + [9.0] * 30, desk(kill("desk", 1.05, 0.5)), Left(1, 0, 0, 0, 0)
    simulated = history(sampled(values), declared=declared, world="simulated", left=left)
    live = history(sampled(values), sampled(values, run=1), declared=declared, seeds=(0, 0), left=left)
    recovery = compare(simulated, live)["recovery_s"]
    assert (recovery.simulated, recovery.live) == (math.inf, math.inf)
    assert recovery.error == recovery.noise == 0.0
    assert recovery.verdict == "within"


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
    assert said[0] == "small on Redis 8.2, seeds [0, 1]: tolerance 10 %, noise from n = 4 live runs"
    (lag,) = [line.split() for line in said if line.startswith("lag_s_p50")]
    assert lag == ["lag_s_p50", "-26.8", "%", "+/-53.5", "%", "1.5", "2.05", "s", "too", "noisy"]


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
