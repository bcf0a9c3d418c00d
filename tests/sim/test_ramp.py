"""A ramp sends as many events as its rates say, when they say it: counts and shape against theory, over many seeds."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy import stats

from sim.declare.declared import Floats
from sim.declare.loads.ramp import RampLoad
from sim.declare.scenario import Scenario
from sim.errors import InvalidScenario
from sim.evidence.checks import check
from sim.worlds.simulated import simulate
from tests.model.small import rows_of, scenario, service

SEEDS = 400
RAMPS = [(10.0, 40.0), (40.0, 10.0), (0.0, 50.0), (50.0, 0.0), (25.0, 25.0), (25.0, 25.0 + 1e-9)]


def ramp(from_rate_per_s: float, to_rate_per_s: float, duration_s: float = 2.0) -> RampLoad:
    return RampLoad(
        kind="ramp",
        event="placed",
        from_rate_per_s=from_rate_per_s,
        to_rate_per_s=to_rate_per_s,
        duration_s=duration_s,
    )


def drawn(load: RampLoad) -> list[Floats]:
    """The arrivals of each seed."""
    return [load.arrivals_s(np.random.default_rng(seed)) for seed in range(SEEDS)]


def expected_until(load: RampLoad, at_s: Floats) -> Floats:
    """How many events are expected until then: the integral of the rate."""
    slope = (load.to_rate_per_s - load.from_rate_per_s) / load.duration_s
    return load.from_rate_per_s * at_s + slope * at_s**2 / 2.0


@pytest.mark.parametrize("rates", RAMPS)
def test_counts_are_poisson(rates: tuple[float, float]) -> None:
    """Mean and variance are what the rates say. A correct draw misses each bound once in 1,000 sets of seeds."""
    load = ramp(*rates)
    counts = np.array([len(arrivals_s) for arrivals_s in drawn(load)])
    expected = (rates[0] + rates[1]) / 2.0 * load.duration_s
    assert load.expected_events() == expected
    assert abs(counts.mean() - expected) < 3.3 * np.sqrt(expected / SEEDS)
    spread = (SEEDS - 1) * counts.var(ddof=1) / expected
    assert 0.0005 < stats.chi2(SEEDS - 1).sf(spread) < 0.9995


@pytest.mark.parametrize("rates", RAMPS)
def test_arrivals_follow_the_rate(rates: tuple[float, float]) -> None:
    """Measured by the events that are expected until then, they are uniform; p below 0.001 once in 1,000 seeds."""
    load = ramp(*rates)
    runs = drawn(load)
    together = np.concatenate(runs)
    assert all(np.all(np.diff(arrivals_s) >= 0) for arrivals_s in runs)
    assert together.min() >= 0 and together.max() <= load.duration_s
    assert stats.kstest(expected_until(load, together) / load.expected_events(), stats.uniform.cdf).pvalue > 0.001
    # The rates of the first and of the last tenth, within four standard errors.
    for begin_s, end_s in ((0.0, 0.2), (1.8, 2.0)):
        within = float(np.sum((together >= begin_s) & (together < end_s)))
        wanted = SEEDS * float(np.diff(expected_until(load, np.array([begin_s, end_s])))[0])
        assert abs(within - wanted) < 4.0 * np.sqrt(wanted)


def test_numbers_of_disjoint_times_are_independent() -> None:
    """As of any Poisson process: a full first half says nothing about the second."""
    halves = np.array([np.histogram(arrivals_s, (0.0, 1.0, 2.0))[0] for arrivals_s in drawn(ramp(10.0, 40.0))])
    assert abs(np.corrcoef(halves.T)[0, 1]) < 3.3 / np.sqrt(SEEDS)


class Edges(np.random.Generator):
    """Draws the ends of a range in place of what is between them."""

    def poisson(self, lam: Any = 1.0, size: Any = None) -> Any:
        return 2

    def uniform(self, low: Any = 0.0, high: Any = 1.0, size: Any = None) -> Any:
        return np.array([low, np.nextafter(high, low)])


@pytest.mark.parametrize("rates", [(0.0, 1.0), (1.0, 0.0), (1e-300, 1.0), (1.0, 1e-300), (0.3, 0.7), (0.7, 0.3)])
def test_no_arrival_is_outside_of_the_load(rates: tuple[float, float]) -> None:
    """Rounding may neither take the root of a negative number nor lead beyond the end; a warning is an error here."""
    edges = Edges(np.random.PCG64(0))
    for number in range(1, 300):
        load = ramp(rates[0] * number / 7.0, rates[1] * number / 7.0, duration_s=number / 11.0)
        first_s, last_s = load.arrivals_s(edges).tolist()
        assert first_s == 0.0
        assert last_s <= load.duration_s
        assert last_s == pytest.approx(load.duration_s, rel=1e-6)


def test_a_ramp_in_words() -> None:
    assert ramp(0.0, 200.0, 6.0).in_words() == "from 0 to 200 a second within 6 s, at random (Poisson)"
    assert not ramp(0.0, 200.0).sampled


def test_a_ramp_is_simulated() -> None:
    """And nothing else knows of it: the load that is sent is the plan's."""
    declared = scenario(ramp(0.0, 100.0), desk=service(0.001))
    history = simulate(declared, [5])
    sent = rows_of(history, "sent")
    assert sent["t_s"].tolist() == declared.plan(5).arrivals_s.tolist()
    assert len(sent) > 50
    assert {one.verdict for one in check(history)} == {"true"}


LOAD = {"kind": "ramp", "event": "placed", "from_rate_per_s": 1.0, "to_rate_per_s": 2.0, "duration_s": 3.0}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"from_rate_per_s": 0, "to_rate_per_s": 0}, "load: from_rate_per_s and to_rate_per_s are both 0"),
        ({"from_rate_per_s": -1}, "load.from_rate_per_s: Input should be greater than or equal to 0, not -1"),
        ({"to_rate_per_s": -1}, "load.to_rate_per_s: Input should be greater than or equal to 0, not -1"),
        ({"duration_s": 0}, "load.duration_s: Input should be greater than 0, not 0"),
        (
            {"rate_per_s": 5},
            "unknown field; there are: kind, event, size_bytes, fields, from_rate_per_s, to_rate_per_s, duration_s",
        ),
        (
            {"to_rate_per_s": 1e9},
            "lower the load's from_rate_per_s, to_rate_per_s or duration_s, or retry.attempts",
        ),
    ],
)
def test_a_ramp_that_cannot_be_run(tmp_path: Path, fields: dict[str, Any], said: str) -> None:
    desk = {"consumes": "placed", "service_time": {"kind": "constant", "mean_s": 0.01}}
    file = tmp_path / "ramp.yaml"
    file.write_text(yaml.safe_dump({"name": "ramp", "load": LOAD | fields, "services": {"desk": desk}}))
    with pytest.raises(InvalidScenario) as refused:
        Scenario.load(file).plan(0)
    assert said in refused.value.problem
