"""A service time that was measured: what is drawn has the recorded distribution, and a bad file is told by its line."""

from pathlib import Path

import numpy as np
import pytest

from sim.declare.declared import FilePlaces
from sim.declare.scenario import Scenario
from sim.declare.service_times.empirical import EmpiricalTime
from sim.errors import InvalidScenario, InvalidTrace
from tests.model.small import steady

SAMPLE_S = np.random.default_rng(1).lognormal(-4.0, 1.2, 5001)
LOAD = steady(1.0, 1.0)


def in_file(file: Path, text: str) -> EmpiricalTime:
    file.write_text(text)
    places = FilePlaces(file.parent, sample_if_missing=False)
    return EmpiricalTime.model_validate({"kind": "empirical", "file": file.name}, context=places)


def test_what_is_drawn_has_the_recorded_mean_and_quantiles() -> None:
    """A few values stand for a large sample: the mean is kept, and its quantiles up to p99 nearly."""
    time = EmpiricalTime.of(SAMPLE_S)
    assert len(time.values_s) == 200
    assert np.mean(time.values_s) == pytest.approx(SAMPLE_S.mean(), rel=1e-3)
    drawn = time.draw(200_000, np.random.default_rng(2), LOAD)
    assert drawn.mean() == pytest.approx(SAMPLE_S.mean(), rel=0.02)
    for q in (0.1, 0.5, 0.95):
        assert np.quantile(drawn, q) == pytest.approx(np.quantile(SAMPLE_S, q), rel=0.03)
    assert EmpiricalTime.of(SAMPLE_S[:3]).values_s == tuple(sorted(SAMPLE_S[:3].tolist()))


def test_a_file_beside_the_scenario_is_read(tmp_path: Path) -> None:
    """Other columns are passed over."""
    time = in_file(tmp_path / "times.csv", "task,service_s\na,0.25\nb,0.5\n")
    assert set(time.draw(50, np.random.default_rng(0), LOAD)) == {0.25, 0.5}
    assert time.in_words() == "as recorded in times.csv"
    assert time.files == (tmp_path / "times.csv",)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("service_s\n0.1\nsoon\n", "times.csv, line 3: 'soon' is no service time"),
        ("service_s\n-1\n", "times.csv, line 2: '-1' is no service time"),
        ("service_s\nnan\n", "times.csv, line 2: 'nan' is no service time"),
        ("seconds\n1\n", "times.csv, line 1: has no column service_s"),
        ("service_s\n", "times.csv: has no rows"),
    ],
)
def test_a_bad_file_is_told_by_its_line(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(InvalidTrace, match=problem):
        in_file(tmp_path / "times.csv", text).values()


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    time = in_file(tmp_path / "times.csv", "service_s\n1\n")
    (tmp_path / "times.csv").unlink()
    with pytest.raises(InvalidTrace, match=r"times\.csv: cannot be read \(No such file or directory\)"):
        time.values()


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ("", "service_time: needs values_s, a list of seconds, or file"),
        (", values_s: [0.1], file: x.csv", "service_time: needs values_s, a list of seconds, or file"),
        (", values_s: [0.1, -0.2]", "service_time: values_s: -0.2 is no service time"),
    ],
)
def test_a_declaration_without_one_source_is_refused(tmp_path: Path, fields: str, problem: str) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(
        "name: s\nload: {kind: constant, event: a, rate_per_s: 1, duration_s: 1}\n"
        f"services:\n  b: {{consumes: a, service_time: {{kind: empirical{fields}}}}}\n"
    )
    with pytest.raises(InvalidScenario, match=problem):
        Scenario.load(file)
