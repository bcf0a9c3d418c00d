"""When a parameter goes up or down, the results move in the right direction."""

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from eventlib.policy import Retry
from sim.declare.declared import Floats
from sim.evidence.history import History
from sim.evidence.lags import lags
from sim.evidence.metrics import measure
from sim.worlds.simulated import simulate
from tests.model.small import (
    attempts_by_message,
    exponential,
    kill,
    lognormal,
    poisson,
    rows_of,
    scenario,
    service,
    steady,
)

SEEDS = range(8)


def run(*, killed_for_s: float | None = None, **changes: Any) -> History:
    """A desk at three quarters of its capacity for five seconds; one of two consumers may be killed at 1 s."""
    desk = service(0.015, **{"consumers": 2, "lease_s": 1.0} | changes)
    faults = [] if killed_for_s is None else [kill("desk", 1.0, killed_for_s)]
    return simulate(scenario(poisson(100.0, 5.0), *faults, desk=desk), SEEDS)


def lag_by_message_s(history: History) -> Floats:
    """Of each message of all runs, in one order for every history of the same load."""
    handled = np.sort(rows_of(history, "handled"), order=("run", "message"))
    return np.asarray(handled["t_s"] - handled["intended_s"])


@pytest.mark.parametrize("more", [{"consumers": 3}, {"concurrency": 2}])
def test_more_handlers_delay_no_message(more: dict[str, int]) -> None:
    """With first come, first served, a further handler never makes any message wait longer."""
    few, many = lag_by_message_s(run()), lag_by_message_s(run(**more))
    assert len(few) == len(many) > 3000
    assert np.all(many <= few + 1e-9)
    assert many.mean() < 0.8 * few.mean()


def test_a_longer_service_delays_every_message() -> None:
    quick = lag_by_message_s(run())
    slow = lag_by_message_s(run(service_time={"kind": "constant", "mean_s": 0.018}))
    assert np.all(slow >= quick + 0.003 - 1e-9)


def test_a_higher_error_rate_takes_no_message_fewer_attempts() -> None:
    """The same draws decide at every rate, so an attempt that fails at the lower rate fails at the higher one too."""
    rates = (0.0, 0.1, 0.3, 0.6)
    attempts = [[count for *_, count in attempts_by_message(run(error_rate=rate), "desk")] for rate in rates]
    for fewer, more in itertools.pairwise(attempts):
        assert all(np.array(fewer) <= np.array(more))
        assert sum(fewer) < sum(more)


def taken_over_in_time(after_s: Floats, lease_s: float) -> npt.NDArray[np.bool_]:
    """Seconds from a kill until its entries start again, 0.1 s for waiting allowed.

    They were renewed up to a third of a lease before it. At the latest, the group looked just before the lease ended,
    the next offer came just before half a lease after that, and the one that counted up to 0.6 of a lease later.
    """
    return np.asarray((after_s > lease_s * 2 / 3 - 0.2) & (after_s < lease_s * 2.1 + 0.1))


def test_a_shorter_lease_recovers_sooner() -> None:
    """The dead consumer's entries wait for their lease; its successor takes the rest at once."""
    waits_s = []
    for lease_s in (0.5, 1.0, 2.0):
        history = run(killed_for_s=0.0, lease_s=lease_s)
        again = rows_of(history, "started")
        again = again[again["attempt"] > 1]
        assert len(again) > 0  # a consumer that was idle when killed leaves nothing behind
        waits_s.append(float((again["t_s"] - 1.0).mean()))
        assert np.all(taken_over_in_time(again["t_s"] - 1.0, lease_s))
    assert waits_s == sorted(waits_s)


def test_the_backlog_recovers_sooner_with_a_shorter_lease() -> None:
    """A backlog of what ten handlers hold is back when the dead consumer's share of it has been handled."""
    recovered_s = []
    for lease_s in (0.3, 1.5, 6.0):
        desk = service(0.1, consumers=2, concurrency=10, lease_s=lease_s)
        history = simulate(scenario(steady(100.0, 8.0), kill("desk", 1.02, 0.1), desk=desk), SEEDS)
        recovered_s.append(measure(history)["recovery_s"])
        assert np.all(taken_over_in_time(recovered_s[-1] - 0.2, lease_s))  # then handled, and seen a sample later
    assert np.all(recovered_s[0] < recovered_s[1]) and np.all(recovered_s[1] < recovered_s[2])


def test_a_consumer_that_is_back_sooner_leaves_no_longer_lag() -> None:
    lags = [float(lag_by_message_s(run(killed_for_s=back_s)).mean()) for back_s in (0.0, 0.5, 1.0, 2.0)]
    assert lags == sorted(lags)
    assert lags[0] < 0.5 * lags[-1]


def test_a_longer_retry_wait_makes_the_lag_tail_longer() -> None:
    tails_s = []
    for wait_s in (0.01, 0.1, 1.0):
        retry = Retry(attempts=6, wait_s=wait_s, wait_s_max=10.0)
        tails_s.append(float(np.quantile(lags(run(consumers=3, error_rate=0.1, retry=retry)).lag_s, 0.99)))
    assert tails_s[0] < tails_s[1] < tails_s[2]


def test_more_attempts_give_up_less() -> None:
    dead = [len(rows_of(run(consumers=3, error_rate=0.3, retry=Retry(attempts=n)), "dead")) for n in (1, 2, 4)]
    assert dead[0] > dead[1] > dead[2]


def test_prefetching_delays_messages_that_an_idle_consumer_could_handle() -> None:
    """A consumer that prefetches holds messages that an idle consumer could have begun."""
    mean_s = [
        float(lag_by_message_s(run(service_time=lognormal(0.015, 2.0), prefetch=ahead)).mean()) for ahead in (0, 50)
    ]
    assert mean_s[0] < 0.9 * mean_s[1]


def test_a_burstier_service_makes_the_lag_longer() -> None:
    steady, bursty = (lag_by_message_s(run(service_time=time)) for time in (lognormal(0.015, 0.1), exponential(0.015)))
    assert steady.mean() < bursty.mean()
