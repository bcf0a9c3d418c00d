"""Service times have the moments and the distribution that they declare: against scipy's, with fixed seeds."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy import stats

from sim.declare.scenario import Scenario
from sim.declare.service_times.empirical import EmpiricalTime, Histogram
from sim.declare.service_times.gamma import GammaTime
from sim.declare.service_times.pareto import ParetoTime
from sim.errors import InvalidScenario
from tests.model.small import steady

LOAD = steady(1.0, 1.0)
DRAWS = 100_000


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("cv", [0.1, 0.5, 1.0, 3.0])
def test_gamma(cv: float) -> None:
    """Mean and spread within four standard errors; the distribution at p above 0.001, once in 1,000 seeds not."""
    drawn_s = GammaTime(kind="gamma", mean_s=0.02, cv=cv).draw(DRAWS, rng(), LOAD)
    assert drawn_s.mean() == pytest.approx(0.02, rel=4 * cv / DRAWS**0.5)
    assert drawn_s.std() / drawn_s.mean() == pytest.approx(cv, rel=0.03)
    assert stats.kstest(drawn_s[:5000], stats.gamma(1 / cv**2, scale=0.02 * cv**2).cdf).pvalue > 0.001


@pytest.mark.parametrize(("longest_s", "shape"), [(0.05, 0.5), (5.0, 1.0), (5.0, 1.5), (1e5, 2.5), (0.011, 100.0)])
def test_pareto(longest_s: float, shape: float) -> None:
    time = ParetoTime(kind="pareto", shortest_s=0.01, longest_s=longest_s, shape=shape)
    drawn_s = time.draw(DRAWS, rng(), LOAD)
    truth = stats.truncpareto(shape, longest_s / 0.01, scale=0.01)
    assert drawn_s.min() >= 0.01 and drawn_s.max() <= longest_s
    assert time.mean_s() == pytest.approx(truth.mean(), rel=1e-9)
    assert drawn_s.mean() == pytest.approx(truth.mean(), abs=4 * truth.std() / DRAWS**0.5)
    assert stats.kstest(drawn_s[:5000], truth.cdf).pvalue > 0.001


class Ends(np.random.Generator):
    """Draws the ends of [0, 1) in place of what is between them."""

    def random(self, *args: Any, **kwargs: Any) -> Any:
        return np.array([0.0, np.nextafter(1.0, 0.0)])


def test_a_pareto_time_is_never_outside_of_its_range() -> None:
    for number in range(1, 100):
        time = ParetoTime(kind="pareto", shortest_s=number / 7, longest_s=number / 3, shape=number / 11)
        shortest_s, longest_s = time.draw(2, Ends(np.random.PCG64(0)), LOAD).tolist()
        assert shortest_s == time.shortest_s
        assert longest_s <= time.longest_s and longest_s == pytest.approx(time.longest_s)


EDGES_S, COUNTS = (0.0, 0.01, 0.02, 0.05, 0.1), (30.0, 50.0, 0.0, 20.0)


def histogram(edges_s: tuple[float, ...] = EDGES_S, counts: tuple[float, ...] = COUNTS) -> EmpiricalTime:
    return EmpiricalTime(kind="empirical", histogram=Histogram(edges_s=edges_s, counts=counts))


def test_a_histogram_gives_what_it_counted() -> None:
    """Each bin its share, evenly within; an empty bin nothing."""
    drawn_s, computing_s = histogram().draw_parts(DRAWS, rng(), LOAD)
    truth = stats.rv_histogram((np.array(COUNTS), np.array(EDGES_S)), density=False)
    assert computing_s is None
    assert stats.kstest(drawn_s[:5000], truth.cdf).pvalue > 0.001
    assert drawn_s.mean() == pytest.approx(truth.mean(), abs=4 * truth.std() / DRAWS**0.5)
    declared = histogram().histogram
    assert declared is not None and declared.mean_s() == pytest.approx(truth.mean())
    assert not np.any((drawn_s > 0.02) & (drawn_s < 0.05))


def test_a_histogram_is_never_left() -> None:
    least_s, most_s = histogram(counts=(0.0, 0.3, 0.7, 0.0)).draw(2, Ends(np.random.PCG64(0)), LOAD).tolist()
    assert least_s == 0.01
    assert 0.02 < most_s <= 0.05


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"kind": "gamma", "mean_s": 0, "cv": 1}, "mean_s: Input should be greater than 0, not 0"),
        (
            {"kind": "pareto", "shortest_s": 2, "longest_s": 2, "shape": 1},
            "longest_s: 2 is not above shortest_s, 2; raise it",
        ),
        (
            {"kind": "pareto", "shortest_s": 1, "longest_s": 2, "shape": 0},
            "shape: Input should be greater than 0, not 0",
        ),
        (
            {"kind": "empirical", "histogram": {"edges_s": [0, 1], "counts": [1, 2]}},
            "2 of them bound 1 bins, and there are 2 counts; give one edge more than counts",
        ),
        (
            {"kind": "empirical", "histogram": {"edges_s": [0, 2, 1], "counts": [1, 2]}},
            "edges_s: they must ascend, from 0 s or later to at most 1e+06 s; sort them",
        ),
        (
            {"kind": "empirical", "histogram": {"edges_s": [0, 1], "counts": [0]}},
            "counts: one is negative, or all are 0",
        ),
        (
            {"kind": "empirical", "values_s": [1], "histogram": {"edges_s": [0, 1], "counts": [1]}},
            "needs values_s, a list of seconds, or file, a CSV file, or a histogram; give one of them",
        ),
        ({"kind": "linear", "base_s": 1, "per_unit_s": 1}, "kind 'linear' needs a load of kind 'trace'"),
    ],
)
def test_one_that_cannot_be_drawn(tmp_path: Path, fields: dict[str, Any], said: str) -> None:
    load = {"kind": "constant", "event": "placed", "rate_per_s": 1, "duration_s": 1}
    declared = {"name": "s", "load": load, "services": {"desk": {"consumes": "placed", "service_time": fields}}}
    file = tmp_path / "s.yaml"
    file.write_text(yaml.safe_dump(declared))
    with pytest.raises(InvalidScenario) as refused:
        Scenario.load(file)
    assert said in refused.value.problem
