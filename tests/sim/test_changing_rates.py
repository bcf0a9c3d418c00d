"""Loads whose rate changes send as many events as their rates say, when they say it: against theory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy import stats

from sim.declare.declared import Floats
from sim.declare.loads.diurnal import DiurnalLoad
from sim.declare.loads.poisson_process import PiecewiseRate
from sim.declare.loads.spike import SpikeLoad
from sim.declare.loads.step import StepLoad
from sim.declare.scenario import Scenario
from sim.errors import InvalidScenario
from sim.evidence.checks import check
from sim.worlds.simulated import simulate
from tests.model.small import rows_of, scenario, service

SEEDS = 300
Changing = StepLoad | SpikeLoad | DiurnalLoad

STEP = StepLoad.model_validate(
    {
        "kind": "step",
        "event": "placed",
        "rates": [{"at_s": 0.5, "rate_per_s": 40}, {"at_s": 1.0, "rate_per_s": 0}, {"at_s": 1.5, "rate_per_s": 10}],
        "duration_s": 3.0,
    }
)
SPIKE = SpikeLoad(
    kind="spike", event="placed", rate_per_s=10, peak_rate_per_s=100, at_s=1.0, for_s=0.25, duration_s=2.0
)
WAVE = DiurnalLoad(
    kind="diurnal", event="placed", mean_rate_per_s=30, amplitude=0.8, period_s=1.5, peak_at_s=0.4, duration_s=2.0
)
HOURLY = tuple(float(hour) for hour in range(24))
HOURS = DiurnalLoad(
    kind="diurnal",
    event="placed",
    hourly_rates_per_s=HOURLY,
    starts_at_h=22.5,
    time_scale=1 / 3600,
    duration_s=4.0,
)


def hours_until(at_s: Floats) -> Floats:
    """Half an hour at 22, an hour at 23, one at 0, one at 1, half an hour at 2; an hour takes a second."""
    return np.asarray(np.interp(at_s, (0.0, 0.5, 1.5, 2.5, 3.5, 4.0), np.cumsum((0.0, 11.0, 23.0, 0.0, 1.0, 1.0))))


def wave_until(at_s: Floats) -> Floats:
    """The integral of 30 (1 + 0.8 cos(2 pi (t - 0.4) / 1.5))."""
    turn = 2 * np.pi / 1.5
    return np.asarray(30 * (at_s + 0.8 / turn * (np.sin(turn * (at_s - 0.4)) + np.sin(turn * 0.4))))


LOADS: dict[str, tuple[Changing, Callable[[Floats], Floats]]] = {
    "step": (STEP, lambda at_s: np.interp(at_s, (0.0, 0.5, 1.0, 1.5, 3.0), (0.0, 0.0, 20.0, 20.0, 35.0))),
    "spike": (SPIKE, lambda at_s: np.interp(at_s, (0.0, 1.0, 1.25, 2.0), (0.0, 10.0, 35.0, 42.5))),
    "wave": (WAVE, wave_until),
    "hours": (HOURS, hours_until),
}


def drawn(load: Changing) -> list[Floats]:
    """The arrivals of each seed."""
    return [load.arrivals_s(np.random.default_rng(seed)) for seed in range(SEEDS)]


@pytest.mark.parametrize("name", LOADS)
def test_counts_are_poisson(name: str) -> None:
    """Mean and variance are what the rates say. A correct draw misses each bound once in 1,000 sets of seeds."""
    load, expected_until = LOADS[name]
    counts = np.array([len(arrivals_s) for arrivals_s in drawn(load)])
    expected = float(expected_until(np.array([load.duration_s]))[0])
    assert load.expected_events() == pytest.approx(expected, rel=1e-12)
    assert abs(counts.mean() - expected) < 3.3 * np.sqrt(expected / SEEDS)
    spread = (SEEDS - 1) * counts.var(ddof=1) / expected
    assert 0.0005 < stats.chi2(SEEDS - 1).sf(spread) < 0.9995


@pytest.mark.parametrize("name", LOADS)
def test_arrivals_follow_the_rate(name: str) -> None:
    """Measured by the events that are expected until then, they are uniform; p below 0.001 once in 1,000 seeds."""
    load, expected_until = LOADS[name]
    runs = drawn(load)
    together = np.concatenate(runs)
    assert all(np.all(np.diff(arrivals_s) >= 0) for arrivals_s in runs)
    assert together.min() >= 0 and together.max() <= load.duration_s
    assert stats.kstest(expected_until(together) / load.expected_events(), stats.uniform.cdf).pvalue > 0.001


def test_nothing_is_sent_where_the_rate_is_zero() -> None:
    together = np.concatenate(drawn(STEP))
    assert not np.any(together < 0.5)
    assert not np.any((together > 1.0) & (together < 1.5))
    by_the_hour = np.concatenate(drawn(HOURS))  # midnight is at 1.5 s
    assert not np.any((by_the_hour > 1.5) & (by_the_hour < 2.5))


class Edges(np.random.Generator):
    """Draws the ends of a range in place of what is between them."""

    def poisson(self, lam: Any = 1.0, size: Any = None) -> Any:
        return 3

    def uniform(self, low: Any = 0.0, high: Any = 1.0, size: Any = None) -> Any:
        return np.array([low, np.nextafter(high, low), high])


@pytest.mark.parametrize("rates", [(0.0, 0.3, 0.0), (0.7, 0.0, 0.3), (0.3, 1e-300, 0.7), (1.0, 0.0, 0.0)])
def test_no_arrival_is_outside_of_the_load_or_where_the_rate_is_zero(rates: tuple[float, ...]) -> None:
    """Rounding may lead to the very end of the measure; a warning of NumPy is an error here."""
    edges = Edges(np.random.PCG64(0))
    for number in range(1, 100):
        edges_s = np.array([0.0, 1.0, 2.0, 3.0]) * number / 7.0
        at_s = PiecewiseRate(edges_s, np.array(rates) * number / 11.0).draw(edges)
        busy = np.flatnonzero(rates)
        assert at_s.min() == edges_s[busy[0]]
        assert at_s.max() <= edges_s[busy[-1] + 1]
        assert at_s.max() == pytest.approx(edges_s[busy[-1] + 1], rel=1e-6)


def test_a_day_comes_back() -> None:
    """The rates of 50 hours that begin at 22:30 are those of the clock."""
    load = HOURS.model_copy(update={"duration_s": 50.0})
    rate = load.hours()
    assert rate.per_s.tolist() == [float((22 + hour) % 24) for hour in range(51)]
    assert rate.edges_s.tolist() == pytest.approx([0.0, *(hour + 0.5 for hour in range(50)), 50.0])


def test_they_put_themselves_into_words() -> None:
    assert STEP.in_words() == (
        "40 a second from 0.5 s on, 0 a second from 1 s on, 10 a second from 1.5 s on, until 3 s, at random (Poisson)"
    )
    assert SPIKE.in_words() == "10 a second for 2 s, but 100 a second from 1 s to 1.25 s, at random (Poisson)"
    assert WAVE.in_words() == ("6 to 54 a second in waves of 1.5 s with a peak at 0.4 s, for 2 s, at random (Poisson)")
    assert HOURS.in_words() == (
        "0 to 23 a second by the hours of a day from 22.5 h on at 3600 times the clock's speed, for 4 s, at random "
        "(Poisson)"
    )


@pytest.mark.parametrize("name", LOADS)
def test_they_are_simulated(name: str) -> None:
    """And nothing else knows of them: the load that is sent is the plan's."""
    declared = scenario(LOADS[name][0], desk=service(0.001))
    history = simulate(declared, [5])
    sent = rows_of(history, "sent")
    assert sent["t_s"].tolist() == declared.plan(5).arrivals_s.tolist()
    assert len(sent) > 20
    assert {one.verdict for one in check(history)} == {"true"}


FILES: dict[str, dict[str, Any]] = {
    "step": {"rates": [{"at_s": 0, "rate_per_s": 5}, {"at_s": 2, "rate_per_s": 9}], "duration_s": 3},
    "spike": {"rate_per_s": 5, "peak_rate_per_s": 50, "at_s": 1, "for_s": 1, "duration_s": 3},
    "diurnal": {"mean_rate_per_s": 5, "period_s": 3, "duration_s": 3},
}


@pytest.mark.parametrize(
    ("kind", "fields", "said"),
    [
        ("step", {"rates": []}, "load.rates: is empty; give at least one"),
        ("step", {"rates": [{"at_s": 1, "rate_per_s": 5}, {"at_s": 1, "rate_per_s": 6}]}, "1 s does not follow 1 s"),
        ("step", {"rates": [{"at_s": 0, "rate_per_s": 0}]}, "rates: all are 0; nothing would be sent"),
        ("step", {"rates": [{"at_s": 3, "rate_per_s": 5}]}, "begins at 3 s, when the load is over; raise duration_s"),
        ("step", {"rates": [{"at_s": 0, "rate_per_s": -5}]}, "load.rates.0.rate_per_s: Input should be greater than"),
        ("step", {"rates": [{"at_s": 0, "rate_per_s": 1e9}]}, "lower the load's rates or duration_s, or retry"),
        ("spike", {"at_s": 2.5}, "the spike ends at 3.5 s, after the load; raise duration_s"),
        ("spike", {"for_s": 0}, "load.for_s: Input should be greater than 0, not 0"),
        ("diurnal", {"mean_rate_per_s": None}, "needs mean_rate_per_s, for a sinusoid, or hourly_rates_per_s"),
        ("diurnal", {"hourly_rates_per_s": [1.0] * 24}, "needs mean_rate_per_s, for a sinusoid, or hourly_rates_per_s"),
        ("diurnal", {"time_scale": 0.1}, "time_scale: says nothing beside mean_rate_per_s; leave it out"),
        (
            "diurnal",
            {"mean_rate_per_s": None, "period_s": 24 * 3600, "hourly_rates_per_s": [1.0] * 23},
            "hourly_rates_per_s: 23 rates; give one for each of the 24 hours",
        ),
        (
            "diurnal",
            {"mean_rate_per_s": None, "period_s": 24 * 3600, "hourly_rates_per_s": [0.0] * 24},
            "hourly_rates_per_s: all are 0; nothing would be sent",
        ),
        ("diurnal", {"amplitude": 1.5}, "load.amplitude: Input should be less than or equal to 1, not 1.5"),
    ],
)
def test_one_that_cannot_be_run(tmp_path: Path, kind: str, fields: dict[str, Any], said: str) -> None:
    desk = {"consumes": "placed", "service_time": {"kind": "constant", "mean_s": 0.01}}
    load = {"kind": kind, "event": "placed"} | FILES[kind]
    file = tmp_path / "load.yaml"
    file.write_text(yaml.safe_dump({"name": "load", "load": load, "services": {"desk": desk}}))
    assert Scenario.load(file).offered_load.kind == kind
    file.write_text(yaml.safe_dump({"name": "load", "load": load | fields, "services": {"desk": desk}}))
    with pytest.raises(InvalidScenario) as refused:
        Scenario.load(file).plan(0)
    assert said in refused.value.problem
