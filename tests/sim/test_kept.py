"""Two kept histories: what moved by more than the noise is found, what did not is not, and too few runs say nothing."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from scipy import stats
from typer.testing import CliRunner

from sim.cli.commands import app
from sim.errors import InvalidHistory
from sim.evidence.history import History
from sim.evidence.metrics import is_predicted
from sim.infer.kept import KeptComparison, compare_kept, kept_json
from tests.model.small import scenario, service, steady
from tests.sim.handmade import attempted, history, sent

SEEDS = (0, 0, 0, 1, 1, 1)


def of_lags(*lags_s: float, seeds: tuple[int, ...] = SEEDS) -> History:
    """A live run for each lag, with one message that has it."""
    rows = [
        one
        for number, lag_s in enumerate(lags_s)
        for one in (*sent(0, 1.0, run=number), *attempted(0, 1.0, 1.0 + lag_s, run=number, intended_s=1.0))
    ]
    return history(rows, world="live", seeds=seeds)


BEFORE = of_lags(1.0, 1.1, 0.9, 3.0, 3.1, 2.9)
SLOWER = of_lags(1.6, 1.5, 1.4, 3.6, 3.5, 3.4)


def test_what_moved_is_told_with_its_direction() -> None:
    """Seeds 0 and 1 differ by much more than before and after do: runs are compared seed by seed."""
    worse, better = compare_kept(BEFORE, SLOWER)["lag_s_p50"], compare_kept(SLOWER, BEFORE)["lag_s_p50"]
    assert (worse.verdict, better.verdict) == ("worse", "better")
    assert worse.change == pytest.approx(0.5) and worse.relative_change == pytest.approx(0.25)
    assert worse.low == pytest.approx(-better.high) and 0 < worse.low < 0.5 < worse.high
    assert worse.before == pytest.approx(2.0) and worse.after == pytest.approx(2.5) and worse.runs == (6, 6)


def test_noise_is_no_movement() -> None:
    found = compare_kept(BEFORE, of_lags(1.05, 0.95, 1.0, 3.1, 2.95, 3.0))
    assert found["lag_s_p50"].verdict == "not moved"
    assert found["dead_letters"].verdict == "not moved", "what is equal in all runs has not moved"
    assert found.in_words.startswith("None of ")
    assert not found.judged("unknown")


def test_a_difference_without_any_noise_is_one() -> None:
    assert compare_kept(of_lags(*[1.0] * 6), of_lags(*[1.1] * 6))["lag_s_p50"].verdict == "worse"


def test_a_few_runs_that_count_the_same_do_not_tell_of_others() -> None:
    """Of two dead letters in two runs and none in two others, neither is known to be the rule."""
    few, many = (of_lags(*[1.0] * n, seeds=(0,) * n) for n in (2, 12))
    more = [of_lags(*[2.0] * n, seeds=(0,) * n) for n in (2, 12)]
    assert compare_kept(few, more[0])["lag_s_p50"].verdict == "unknown"
    assert compare_kept(many, more[1])["lag_s_p50"].verdict == "worse"


def test_each_side_has_its_own_noise() -> None:
    """Welch's degrees of freedom, by hand: variances 0 and 0.01 of three runs a seed, of two seeds each."""
    found = compare_kept(of_lags(1.0, 1.0, 1.0, 3.0, 3.0, 3.0), SLOWER)
    row = found["lag_s_p50"]
    assert (row.high - row.low) / 2 == pytest.approx(half_width(4, found) * math.sqrt(2 * 0.01 / 3 / 2**2))


def test_a_side_without_repeats_has_the_noise_of_the_other() -> None:
    found = compare_kept(BEFORE, of_lags(1.5, 3.5, seeds=(0, 1)))
    row = found["lag_s_p50"]
    error = math.sqrt((2 * 0.01 / 3 + 2 * 0.01) / 2**2)
    squares = [2 * 0.01 / 3 / 4, 2 * 0.01 / 4]
    freedom = sum(squares) ** 2 / sum(one**2 / 4 for one in squares)
    judged = sum(is_predicted(one.metric) for one in found.rows)
    half = float(stats.t.ppf(1.0 - 0.025 / judged, freedom)) * error
    assert (row.high - row.low) / 2 == pytest.approx(half)


def half_width(freedom: int, found: KeptComparison) -> float:
    """In standard errors. With m metrics, each may fail once in 20 m times, so that all hold 19 times in 20."""
    judged = sum(is_predicted(row.metric) for row in found.rows)
    assert judged > 10
    return float(stats.t.ppf(1.0 - 0.025 / judged, freedom))


def test_all_intervals_hold_together() -> None:
    """By hand: each seed's runs have variance 0.01, so 8 degrees of freedom, and each mean of three 0.01 / 3."""
    found = compare_kept(BEFORE, SLOWER)
    row = found["lag_s_p50"]
    error = math.sqrt(4 * 0.01 / 3 / 2**2)
    assert (row.high - row.low) / 2 == pytest.approx(half_width(8, found) * error)


def test_without_repeats_seeds_show_the_noise() -> None:
    seeds = (0, 1, 2, 3)
    one, other = of_lags(1, 2, 3, 4, seeds=seeds), of_lags(1.5, 2.49, 3.51, 4.5, seeds=seeds)
    assert compare_kept(one, other)["lag_s_p50"].verdict == "worse"


def test_one_run_each_tells_nothing() -> None:
    row = compare_kept(of_lags(1.0, seeds=(0,)), of_lags(9.0, seeds=(0,)))["lag_s_p50"]
    assert row.verdict == "unknown" and math.isnan(row.low) and row.change == pytest.approx(8.0)


def test_runs_of_other_seeds_are_independent() -> None:
    """Welch's interval, by hand: 1, 2, 3 and 11, 12, 13 have variance 1, so 4 degrees of freedom."""
    found = compare_kept(of_lags(1, 2, 3, seeds=(0, 1, 2)), of_lags(11, 12, 13, seeds=(3, 4, 5)))
    row = found["lag_s_p50"]
    assert row.change == pytest.approx(10.0) and row.verdict == "worse"
    assert (row.high - row.low) / 2 == pytest.approx(half_width(4, found) * math.sqrt(2 / 3))


def test_what_is_different_is_told() -> None:
    before = scenario(steady(5.0, 2.0), desk=service(0.1))
    after = scenario(steady(5.0, 2.0), desk=service(0.2, concurrency=3))
    found = compare_kept(
        replace(history(sent(0, 1.0), declared=before), server="Redis 7.2.0"),
        replace(history(sent(0, 1.0), declared=after), environment={"CPUs": "4", "date": "today"}),
    )
    assert set(found.differences) == {
        "server: Redis 7.2.0, then Redis 8.2",
        "CPUs: unknown, then 4",
        "services.desk.service_time.mean_s: 0.1, then 0.2",
        "services.desk.concurrency: 1, then 3",
    }


def test_two_worlds_are_no_pair() -> None:
    with pytest.raises(InvalidHistory, match="one history is live, the other simulated; give two of one world"):
        compare_kept(BEFORE, replace(BEFORE, world="simulated"))


@pytest.mark.parametrize(
    ("after", "status", "said"),
    [(BEFORE, 0, "None of "), (SLOWER, 1, "worse"), (of_lags(1.0, seeds=(0,)), 0, "None of ")],
)
def test_the_command_ends_with_its_verdict(tmp_path: Path, after: History, status: int, said: str) -> None:
    for name, kept in (("before", BEFORE), ("after", after)):
        kept.save(tmp_path / f"{name}.parquet")
    told = tmp_path / "told.json"
    files = [str(tmp_path / f"{name}.parquet") for name in ("before", "after")]
    found = CliRunner().invoke(app, ["compare", *files, "--json", str(told)])
    assert (found.exit_code, said in found.output) == (status, True), found.output
    lag = json.loads(told.read_text())["metrics"]["lag_s_p50"]
    assert lag["verdict"] == compare_kept(BEFORE, after)["lag_s_p50"].verdict
    assert lag["change"] == pytest.approx(kept_json(compare_kept(BEFORE, after))["metrics"]["lag_s_p50"]["change"])
