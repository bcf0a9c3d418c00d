"""What a report's numbers are beside those of the reports before: a change counts where it is more than their noise."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from sim.evidence.claims import Finding, Row
from sim.infer.trends import REPORTS_MAX, InvalidTrends, Number, Trends, _trend, numbers_of
from sim.show.trends import trend_line
from tests.sim.test_exit_status import compared

HERE = "here, 2 CPUs, Redis 8"


def number(value: float, name: str = "lag", better: str = "lower") -> Number:
    return Number(name, value, "s", better)  # type: ignore[arg-type]


def kept(*values: float, machine: str = HERE, better: str = "lower", trends: Trends | None = None) -> Trends:
    found = trends or Trends.open(Path("there is none"))
    for place, value in enumerate(values):
        found = found.with_report(f"2026-01-01T00:00:{place:06}", "abc", machine, [number(value, better=better)])
    return found


@pytest.mark.parametrize(
    ("values", "better", "change"),
    [
        ([1.0, 1.1, 0.9, 1.05], "lower", "as before"),
        ([1.0, 1.1, 0.9, 3.0], "lower", "worse"),
        ([1.0, 1.1, 0.9, 3.0], "higher", "better"),
        ([1.0, 1.1, 0.9, -1.0], "lower", "better"),
        ([1.0, 1.0, 9.0], "lower", "too few"),
        ([1.0], "lower", "too few"),
    ],
)
def test_a_change_is_more_than_the_noise_of_the_reports_before(values: list[float], better: str, change: str) -> None:
    [trend] = kept(*values, better=better).of(HERE)
    assert (trend.change, list(trend.values)) == (change, values)


def test_the_band_is_a_prediction_interval() -> None:
    """For 1, 2, 3: mean 2, s 1, t(0.995, 2) = 9.9248, sqrt(1 + 1/3) = 1.1547."""
    [trend] = kept(1.0, 2.0, 3.0, 2.0).of(HERE)
    assert (trend.low, trend.high) == pytest.approx((2 - 9.92484 * 1.154701, 2 + 9.92484 * 1.154701), abs=1e-4)


def test_one_in_a_hundred_is_marked_by_chance() -> None:
    rng = np.random.default_rng(1)
    changes = [_trend(number(values[-1]), values).change for values in rng.normal(10, 1, (400, 8))]
    assert 0 <= 400 - changes.count("as before") <= 12


def test_another_machine_is_another_matter() -> None:
    found = kept(9.0, trends=kept(1.0, 1.1, 0.9), machine="there")
    assert [list(trend.values) for trend in found.of("there")] == [[9.0]]
    assert found.of("nowhere") == []


def test_they_are_kept_in_a_file_and_a_thousand_at_most(tmp_path: Path) -> None:
    file = tmp_path / "history.parquet"
    many = [f"2026-{place:06}" for place in range(REPORTS_MAX + 5)]
    rows = Trends.open(file).with_report("2025", "abc", HERE, [number(0.0)])._rows
    import pandas as pd

    Trends(pd.concat([rows.assign(date=date, value=float(place)) for place, date in enumerate(many)])).save(file)
    found = Trends.open(file).with_report("2027", "abc", HERE, [number(7.0)])
    found.save(file)
    assert len(Trends.open(file)._rows) == REPORTS_MAX
    assert found.of(HERE)[0].values[-1] == 7.0


def test_a_file_of_something_else_is_refused_and_stays(tmp_path: Path) -> None:
    file = tmp_path / "history.parquet"
    file.write_text("something else")
    with pytest.raises(InvalidTrends, match=r"history\.parquet: is no history of reports"):
        Trends.open(file)
    assert file.read_text() == "something else"


def test_lags_and_what_claims_measured_are_followed() -> None:
    finding = Finding("true", "", {"lower_is_better": 1.0}, distance=0.5)
    fast = Row("S32", "performance", "fast", "", "", finding, 0.0)
    plain = Row("S9", "bus", "kept", "", "", Finding("true", ""), 0.0)
    found = {one.name: one for one in numbers_of([compared()], [fast, plain])}
    assert found["S32 fast"] == Number("S32 fast", 0.5, "times the threshold", "lower")
    assert any(name.endswith("lag_s_p99, live") for name in found) and not any("S9" in name for name in found)


def test_a_line_says_in_words_what_it_draws() -> None:
    [trend] = kept(1.0, 1.1, 0.9, 3.0).of(HERE)
    line = str(trend_line(trend))
    assert 'aria-label="4 reports, from 1 to 3"' in line and line.count(",") >= 4 and "<rect" in line
    [one] = kept(1.0).of(HERE)
    assert "<rect" not in str(trend_line(one))


def test_reports_that_are_kept_at_the_same_moment_are_all_there(tmp_path: Path) -> None:
    """Both end in one second too: each number is followed once all the same."""
    file = tmp_path / "history.parquet"
    with ThreadPoolExecutor(6) as pool:
        kept = [pool.submit(Trends.keep, file, "2026-01-01", "abc", HERE, [number(float(place))]) for place in range(6)]
    assert {one.result().of(HERE)[0].number.name for one in kept} == {"lag"}
    [trend] = Trends.open(file).of(HERE)
    assert sorted(trend.values) == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0] and trend.number.value == trend.values[-1]
    assert list(tmp_path.iterdir()) == [file]
