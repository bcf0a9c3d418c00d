"""The formulas give the numbers that textbooks print."""

import math

import pytest

from sim.errors import InvalidScenario
from sim.infer.theory import lag_s_mean, wait_s_mean, wait_s_mean_general, waiting_probability

HOUR_S, DAY_S = 3600.0, 86400.0
BRONSON = "Bronson, Schaum's Outline of Operations Research, the worked examples on queues"
ERLANG = "Erlang C for a call centre: 360 calls in half an hour, 4 minutes each, 55 agents"
YEAR = (300 / (365 * DAY_S), 2 * DAY_S, 3)  # 300 breakdowns a year, two days of repair, three crews


@pytest.mark.parametrize(
    ("rate_per_s", "mean_s", "servers", "printed_s", "last_digit_s", "source"),
    [
        (24 / HOUR_S, HOUR_S / 30, 1, HOUR_S / 6, 1e-9, BRONSON),
        (1 / 60, 45.0, 1, 180.0, 1e-9, BRONSON),
        (*YEAR, 1.996 / YEAR[0], 0.001 / YEAR[0], BRONSON),  # printed as 1.996 in the system
        (0.5, 1.0, 1, 2.0, 1e-9, "the LINE solver's documentation: half busy, twice the service time"),
    ],
)
def test_the_mean_lag_is_that_of_the_textbook(
    rate_per_s: float, mean_s: float, servers: int, printed_s: float, last_digit_s: float, source: str
) -> None:
    assert lag_s_mean(rate_per_s, mean_s, servers) == pytest.approx(printed_s, abs=last_digit_s / 2), source


@pytest.mark.parametrize(
    ("rate_per_s", "mean_s", "servers", "printed_s", "last_digit_s", "source"),
    [
        (30 / HOUR_S, 90.0, 1, 270.0, 1e-9, BRONSON),
        (*YEAR, 0.43 * DAY_S, 0.01 * DAY_S, BRONSON),
        (360 / 1800, 240.0, 55, 8.18, 0.01, ERLANG),
    ],
)
def test_the_mean_wait_is_that_of_the_textbook(
    rate_per_s: float, mean_s: float, servers: int, printed_s: float, last_digit_s: float, source: str
) -> None:
    assert wait_s_mean(rate_per_s, mean_s, servers) == pytest.approx(printed_s, abs=last_digit_s / 2), source


def test_waiting_probability_of_a_call_centre() -> None:
    probability = waiting_probability(360 / 1800, 240.0, 55)
    assert probability == pytest.approx(0.2387, abs=0.00005), ERLANG
    # The wait of a call that must wait is exponential. Its rate is the agents' total rate minus that of the calls.
    within_15_s = 1.0 - probability * math.exp(-(55 / 240.0 - 360 / 1800) * 15.0)
    assert within_15_s == pytest.approx(0.846, abs=0.0005), ERLANG


def test_one_server_makes_a_message_wait_as_often_as_it_is_busy() -> None:
    assert waiting_probability(24 / HOUR_S, HOUR_S / 30, 1) == pytest.approx(1.0 - 0.2), BRONSON


def test_the_wait_grows_with_the_square_of_the_variation() -> None:
    assert wait_s_mean_general(0.8, 1.0, cv=0.0) == pytest.approx(2.0), "Pollaczek-Khinchine for M/D/1 at load 0.8"
    assert wait_s_mean_general(0.8, 1.0, cv=1.0) == pytest.approx(wait_s_mean(0.8, 1.0, 1))
    assert wait_s_mean_general(0.8, 1.0, cv=2.0) == pytest.approx(2.5 * wait_s_mean(0.8, 1.0, 1)), "(1 + cv^2) / 2"


def test_thousands_of_servers_neither_overflow_nor_vanish() -> None:
    assert 0.0 < waiting_probability(4950.0, 1.0, 5000) < 1.0
    assert waiting_probability(1e-9, 1.0, 5000) == 0.0


@pytest.mark.parametrize(
    ("rate_per_s", "mean_s", "servers"),
    [
        (1.0, 1.0, 1),
        (3.1, 1.0, 3),
        (0.0, 1.0, 1),
        (1.0, -1.0, 1),
        (1.0, 0.5, 0),
        (math.nan, 1.0, 1),
        (1.0, math.inf, 1),
    ],
)
def test_a_queue_without_a_steady_state_is_refused(rate_per_s: float, mean_s: float, servers: int) -> None:
    with pytest.raises(InvalidScenario, match=r"^theory: (.*the queue grows by|needs positive)"):
        wait_s_mean(rate_per_s, mean_s, servers)


@pytest.mark.parametrize(("rate_per_s", "cv"), [(1.0, 1.0), (0.5, -0.1), (0.5, math.nan)])
def test_a_queue_without_a_steady_state_is_refused_for_any_service_time(rate_per_s: float, cv: float) -> None:
    with pytest.raises(InvalidScenario, match=r"^theory: (.*the queue grows by|cv)"):
        wait_s_mean_general(rate_per_s, 1.0, cv)
