"""Distributions of histories whose numbers are known."""

import numpy as np
import pytest

from sim.evidence.distributions import (
    attempt_shares,
    attempts_over_runs,
    backlog_over_time,
    lag_over_time,
    lag_quantiles,
    lag_tail,
    lag_tail_over_runs,
)
from sim.evidence.history import Left
from sim.evidence.lags import lags
from sim.evidence.metrics import measure
from tests.sim.handmade import attempted, history, sampled, sent, whole

HUNDRED_S = np.arange(1, 101) / 100  # lags of 0.01, 0.02, ... 1 s


def test_lag_over_time_is_of_the_messages_in_each_bin() -> None:
    """Eight bins of ten seconds: lags of 1 to 5 s in the first, none in between, 9 s in the last."""
    known = history(*(whole(i, float(i), i + 1.0 + i) for i in range(5)), whole(5, 80.0, 89.0))
    band = lag_over_time(lags(known))
    assert band.at.tolist() == pytest.approx([5, 15, 25, 35, 45, 55, 65, 75])
    assert [band.low[0], band.middle[0], band.high[0]] == pytest.approx([1.2, 3.0, 4.8])
    assert np.isnan(band.middle[1:-1]).all()
    assert band.middle[-1] == pytest.approx(9.0)


def test_the_tail_goes_from_all_messages_to_the_last() -> None:
    shares, exceeded_s = lag_tail(HUNDRED_S, places=3)
    assert shares.tolist() == pytest.approx([1.0, 0.1, 0.01])
    assert exceeded_s.tolist() == pytest.approx([0.01, 0.901, 0.9901])


def test_the_tail_over_runs_ends_where_the_shortest_run_ends() -> None:
    """Three runs, each twice as slow as the one before; the shortest one has ten messages."""
    band = lag_tail_over_runs([HUNDRED_S[:10], HUNDRED_S[:10] * 2, HUNDRED_S * 4], places=2)
    assert band.at.tolist() == pytest.approx([1.0, 0.1])
    assert [band.low[0], band.middle[0], band.high[0]] == pytest.approx([0.011, 0.02, 0.038])


def test_quantiles_of_lag_are_means_over_runs() -> None:
    """They agree with the metrics of the runs."""
    runs = [
        [*sent(i, 0.0, run=run), *attempted(i, 0.0, (i + 1.0) * (run + 1), run=run)]
        for run in (0, 1, 2)
        for i in range(9)
    ]
    known = history(*runs, seeds=(0, 1, 2))
    numbers = measure(known)
    expected = [float(np.mean(numbers[name])) for name in ("lag_s_p50", "lag_s_p95", "lag_s_p99")]
    assert lag_quantiles(lags(known).by_run()).tolist() == pytest.approx(expected)


def test_runs_that_handled_nothing_have_no_tail() -> None:
    assert np.isnan(lag_tail_over_runs([], places=2).middle).all()
    assert np.isnan(lag_quantiles([])).all()


def test_shares_of_attempts_are_of_the_runs_that_settled_anything() -> None:
    """Run 0 needed a second attempt for one message in two; run 1 settled nothing; runs 2 and 3 needed one attempt."""
    first = [*attempted(0, 0, 1), *attempted(1, 0, 1, "retried"), *attempted(1, 2, 3, attempt=2)]
    others = [*attempted(0, 0, 1, run=2), *attempted(0, 0, 1, run=3)]
    shares = attempt_shares(history(first, others, seeds=(0, 1, 2, 3)), "desk")
    assert shares.tolist() == [[0.5, 0.5], [1.0, 0.0], [1.0, 0.0]]
    band = attempts_over_runs(shares)
    assert band.at.tolist() == [1, 2]
    assert band.middle.tolist() == pytest.approx([2.5 / 3, 0.5 / 3])
    assert attempt_shares(history(), "desk").size == 0


def test_a_run_that_has_ended_stays_at_what_it_left() -> None:
    """The last sample is at 0.2 s; the run ended at 0.4 s and left five entries."""
    known = history(sampled([0, 2, 1]), left=Left(1, 1, 1, 2, 9), ended_s=0.4)
    band = backlog_over_time(known, "desk", end_s=0.6)
    assert band.at[:7].tolist() == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    assert band.middle[:7].tolist() == pytest.approx([0, 2, 1, 3, 5, 5, 5])
