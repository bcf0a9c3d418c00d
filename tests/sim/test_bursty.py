"""A bursty load has the mean, the dispersion and the bursts of its Markov-modulated Poisson process."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy import stats

from sim.declare.loads.bursty import BurstyLoad
from sim.declare.scenario import Scenario
from sim.errors import InvalidScenario
from sim.evidence.checks import check
from sim.worlds.simulated import simulate
from tests.model.small import rows_of, scenario, service

SEEDS = 2000


def bursty(*states: tuple[float, float], duration_s: float = 4.0) -> BurstyLoad:
    """States as pairs of a rate and a mean length."""
    listed = [{"rate_per_s": rate_per_s, "mean_s": mean_s} for rate_per_s, mean_s in states]
    return BurstyLoad.model_validate({"kind": "bursty", "event": "placed", "states": listed, "duration_s": duration_s})


def dispersion(load: BurstyLoad) -> float:
    """The variance of the number of events over its mean, of an MMPP of two states that begins in its steady state.

    Source: Heffes, Lucantoni, "A Markov modulated characterization of packetized voice and data traffic", IEEE Journal
    on Selected Areas in Communications 4(6), 1986.
    """
    (one, other), t = load.states, load.duration_s
    leaves, comes = 1 / one.mean_s, 1 / other.mean_s
    both = leaves + comes
    factor = (
        2 * leaves * comes * (one.rate_per_s - other.rate_per_s) ** 2
        / (both**2 * (one.rate_per_s * comes + other.rate_per_s * leaves))
    )  # fmt: skip
    return float(1 + factor - factor / (both * t) * -np.expm1(-both * t))


@pytest.mark.parametrize("states", [((5.0, 2.0), (50.0, 0.5)), ((0.0, 1.0), (30.0, 1.0)), ((20.0, 0.3), (20.0, 3.0))])
def test_counts_have_the_mean_and_the_dispersion_of_theory(states: tuple[tuple[float, float], ...]) -> None:
    """Each within four standard errors, as the sample itself estimates them."""
    load = bursty(*states)
    counts = np.array([load.arrivals_s(np.random.default_rng(seed)).size for seed in range(SEEDS)])
    expected = load.expected_events()
    (rate, mean), (other_rate, other_mean) = states
    assert expected == pytest.approx((rate * mean + other_rate * other_mean) / (mean + other_mean) * load.duration_s)
    assert abs(counts.mean() - expected) < 4 * counts.std() / SEEDS**0.5
    squares = (counts - expected) ** 2 / expected
    assert abs(squares.mean() - dispersion(load)) < 4 * squares.std() / SEEDS**0.5


def test_states_last_as_long_as_they_say_and_lead_to_each_other() -> None:
    """Lengths are exponential; after a state, each of the others is equally likely."""
    load = bursty((1.0, 0.5), (2.0, 1.0), (3.0, 2.0), duration_s=20_000.0)
    rate = load.rate(np.random.default_rng(7))
    lengths_s = np.diff(rate.edges_s)[1:-1]
    states = rate.per_s[1:-1].astype(int)
    for state, mean_s in ((1, 0.5), (2, 1.0), (3, 2.0)):
        assert stats.kstest(lengths_s[states == state], stats.expon(scale=mean_s).cdf).pvalue > 0.001
    following = np.bincount(4 * states[:-1] + states[1:], minlength=16).reshape(4, 4)[1:, 1:]
    assert not following.diagonal().any()
    pairs = following[~np.eye(3, dtype=bool)].reshape(3, 2)
    assert stats.chisquare(pairs, axis=1).pvalue.min() > 0.0003


def test_it_begins_in_the_middle_of_things() -> None:
    """At 0 s a state is as likely as its share of the time is."""
    load = bursty((1.0, 3.0), (9.0, 1.0))
    first = [load.rate(np.random.default_rng(seed)).per_s[0] for seed in range(1000)]
    assert stats.binomtest(first.count(1.0), 1000, 0.75).pvalue > 0.001


def test_rates_have_no_say_in_the_states_and_the_length_none_in_the_begin() -> None:
    """Each source has random numbers of its own: other rates meet the same bursts."""
    load = bursty((1.0, 0.01), (9.0, 0.01))
    of_seed = [one.rate(np.random.default_rng(3)) for one in (load, bursty((5.0, 0.01), (7.0, 0.01)))]
    assert of_seed[0].edges_s.tolist() == of_seed[1].edges_s.tolist()
    assert (of_seed[0].per_s == 1.0).tolist() == (of_seed[1].per_s == 5.0).tolist()
    longer = bursty((1.0, 0.01), (9.0, 0.01), duration_s=16.0).rate(np.random.default_rng(3))
    assert longer.edges_s[: of_seed[0].edges_s.size - 1].tolist() == of_seed[0].edges_s[:-1].tolist()


def test_trap_53_states_and_events_have_random_numbers_of_their_own() -> None:
    """Where all states have one rate, it does not matter how many of them are drawn."""
    few, many = (bursty((20.0, mean_s), (20.0, mean_s)) for mean_s in (0.3, 0.003))
    arrivals_s = [load.arrivals_s(np.random.default_rng(3)).tolist() for load in (few, many)]
    assert arrivals_s[0] == pytest.approx(arrivals_s[1], abs=1e-9)


def test_a_bursty_load_is_simulated() -> None:
    declared = scenario(bursty((5.0, 1.0), (100.0, 0.2)), desk=service(0.001))
    history = simulate(declared, [5])
    assert rows_of(history, "sent")["t_s"].tolist() == declared.plan(5).arrivals_s.tolist()
    assert {one.verdict for one in check(history)} == {"true"}


def test_a_bursty_load_in_words() -> None:
    words = bursty((5.0, 2.0), (50.0, 0.5)).in_words()
    assert words == "5 a second for about 2 s or 50 a second for about 0.5 s, for 4 s, in bursts (MMPP)"


@pytest.mark.parametrize(
    ("states", "said"),
    [
        ([(5.0, 1.0)], "load.states: has 1; give at least 2"),
        ([(0.0, 1.0), (0.0, 2.0)], "states: all rates are 0; nothing would be sent"),
        ([(5.0, 0.0), (5.0, 1.0)], "load.states.0.mean_s: Input should be greater than 0"),
        ([(5.0, 1e-9), (5.0, 1e-9)], "over 1,000,000; raise mean_s or lower duration_s"),
    ],
)
def test_a_bursty_load_that_cannot_be_run(tmp_path: Path, states: list[tuple[float, float]], said: str) -> None:
    desk = {"consumes": "placed", "service_time": {"kind": "constant", "mean_s": 0.01}}
    listed: list[Any] = [{"rate_per_s": rate_per_s, "mean_s": mean_s} for rate_per_s, mean_s in states]
    load = {"kind": "bursty", "event": "placed", "states": listed, "duration_s": 2}
    file = tmp_path / "bursty.yaml"
    file.write_text(yaml.safe_dump({"name": "bursty", "load": load, "services": {"desk": desk}}))
    with pytest.raises(InvalidScenario) as refused:
        Scenario.load(file)
    assert said in refused.value.problem
