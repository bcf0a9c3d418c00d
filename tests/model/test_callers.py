"""Requests in virtual time: against theory, at extremes, and in the right direction."""

from typing import Any

import numpy as np
import pytest

from sim.calibration import Calibration
from sim.declare.callers import Callers
from sim.declare.faults import Fault
from sim.declare.loads import Load
from sim.declare.scenario import Scenario
from sim.evidence.history import History
from sim.evidence.lags import lags
from sim.evidence.metrics import measure
from sim.infer.theory import lag_s_mean
from sim.worlds.simulated import simulate
from tests.model.small import exponential, kill, poisson, rows_of, service, steady, with_callers

COSTS = Calibration.constant(publish_s=0.002, dispatch_s=0.005, read_s=0.001, handle_s=0.003)


def asking(load: Load, *faults: Fault, emits: tuple[str, ...] = ("given",), **fields: Any) -> Scenario:
    """Callers ask one service, `quoting`, and its events are their replies. `fields` are of both."""
    of_callers = {name: fields.pop(name) for name in ("processes", "timeout_s") if name in fields}
    callers = Callers(reply="given", **of_callers)
    return with_callers(callers, load, *faults, quoting=service(emits=emits, **fields))


def callers(history: History, metric: str) -> float:
    return float(measure(history)[f"callers.{metric}"].mean())


def test_a_round_trip_is_the_sojourn_of_theory() -> None:
    """M/M/3 on an ideal machine. The mean is within four standard errors of eight runs."""
    declared = asking(poisson(40.0, 40.0), service_time=exponential(0.05), concurrency=3, timeout_s=1e4)
    history = simulate(declared, range(8))
    means_s = np.array([waited_s.mean() for waited_s in lags(history, "callers").by_run()])
    error_s = means_s.std(ddof=1) / np.sqrt(means_s.size)
    assert abs(means_s.mean() - lag_s_mean(40.0, 0.05, 3)) < 4 * error_s


def test_a_round_trip_of_an_idle_service_is_the_sum_of_its_parts() -> None:
    """Published, dispatched, handled, the reply published, and read by the caller."""
    history = simulate(asking(steady(10.0, 1.0), mean_s=0.01), [0], calibration=COSTS)
    publish_s, dispatch_s, handle_s = 0.002, 0.005, 0.003
    parts_s = publish_s / 2 + dispatch_s + 0.01 + handle_s + publish_s / 2 + dispatch_s
    assert lags(history, "callers").lag_s == pytest.approx(np.full(10, parts_s))


def test_each_caller_makes_its_own_requests() -> None:
    history = simulate(asking(steady(10.0, 1.0), processes=3), [0])
    sent = rows_of(history, "sent")
    sent = sent[sent["service"] == -1]
    assert sent["consumer"].tolist() == [number % 3 for number in range(10)]
    assert rows_of(history, "replied")["consumer"].tolist() == sent["consumer"].tolist()


def test_no_wait_is_longer_than_its_time() -> None:
    """Work takes a second and callers wait for 0.3 s: all time out, and the run ends when the work is done."""
    history = simulate(asking(steady(10.0, 1.0), mean_s=1.0, concurrency=10, timeout_s=0.3), [0])
    assert lags(history, "callers").lag_s == pytest.approx(np.full(10, 0.3))
    assert callers(history, "timed_out") == 10
    assert rows_of(history, "replied").size == 0
    assert history.runs[0].ended_s == pytest.approx(1.9)


def test_a_run_waits_for_those_who_wait() -> None:
    """Nobody replies, because every attempt fails for good: the run ends when the last caller gives up."""
    history = simulate(asking(steady(10.0, 1.0), error_rate=1.0, retry={"attempts": 1}, timeout_s=2.0), [0])
    assert history.runs[0].ended_s == pytest.approx(2.9)
    assert callers(history, "timed_out") == 10


def test_the_longer_callers_wait_the_fewer_time_out() -> None:
    busy = [
        simulate(asking(poisson(45.0, 10.0), service_time=exponential(0.02), timeout_s=timeout_s), range(3))
        for timeout_s in (0.05, 0.1, 0.2)
    ]
    few, more, most = (callers(one, "timed_out") for one in reversed(busy))
    assert 0 < few < more < most


def test_the_first_of_several_replies_counts() -> None:
    """Two events of the reply's type answer each request, and each caller hears one."""
    history = simulate(asking(steady(10.0, 1.0), emits=("given", "given")), [0])
    assert np.unique(rows_of(history, "replied")["message"]).size == rows_of(history, "replied").size == 10


# A caller that is killed


def killed_caller(back_after_s: float | None, work_s: float = 0.5, timeout_s: float = 1.0) -> History:
    """A request every 0.1 s, by two callers in turn; the second one dies at 0.98 s, with two or three on their way."""
    declared = asking(
        steady(10.0, 2.0),
        kill("callers", 0.98, back_after_s, consumer=1),
        mean_s=work_s,
        concurrency=20,
        processes=2,
        timeout_s=timeout_s,
    )
    return simulate(declared, [0])


def test_a_caller_that_comes_back_finds_what_came_meanwhile() -> None:
    history = killed_caller(back_after_s=0.8)
    found = rows_of(history, "replied")
    found = found[found["attempt"] == 2]
    assert found["message"].tolist() == [5, 7, 9]
    assert found["t_s"] == pytest.approx(np.full(3, 0.98 + 0.8))
    assert callers(history, "found_after_return") == 3
    assert callers(history, "abandoned") == callers(history, "replies_lost") == 0


def test_a_caller_that_comes_back_early_waits_for_what_is_to_come() -> None:
    history = killed_caller(back_after_s=0.1)
    found = rows_of(history, "replied")
    assert found[found["attempt"] == 2]["t_s"] == pytest.approx([0.5 + 0.58, 0.7 + 0.5, 0.9 + 0.5])


def test_what_is_due_while_the_caller_is_dead_is_not_sent() -> None:
    sent = rows_of(killed_caller(back_after_s=0.4), "sent")
    assert [number for number in range(20) if number not in sent["message"]] == [11, 13]


def test_a_caller_that_never_comes_back_holds_up_nothing() -> None:
    history = killed_caller(back_after_s=None)
    assert callers(history, "abandoned") == 3
    assert callers(history, "timed_out") == 0
    assert history.runs[0].ended_s == pytest.approx(1.8 + 0.5)


def test_a_run_waits_for_a_caller_that_comes_back() -> None:
    """All work is done long before the killed caller is back."""
    history = killed_caller(back_after_s=5.0)
    assert callers(history, "found_after_return") == 3
    assert history.runs[0].ended_s == pytest.approx(5.98)


def test_a_caller_that_comes_back_waits_as_long_as_any() -> None:
    """Its replies come 1.2 s after it asked again, and it waits for one second."""
    history = killed_caller(back_after_s=0.1, work_s=2.0)
    again = rows_of(history, "timed_out")
    assert again[again["attempt"] == 2]["t_s"] == pytest.approx(np.full(5, 0.98 + 0.1 + 1.0))


def test_the_same_seed_gives_the_same_rows() -> None:
    declared = asking(
        poisson(50.0, 2.0), kill("callers", 1.0, 0.3), service_time=exponential(0.05), concurrency=2, timeout_s=0.2
    )
    one, other = (simulate(declared, [7], calibration=COSTS) for _ in range(2))
    assert one.rows.tobytes() == other.rows.tobytes()
    assert {"replied", "timed_out"} <= set(one.frame()["kind"])


def test_callers_change_nothing_for_the_service() -> None:
    """With and without those who wait, the service handles the same messages at the same times."""
    asked = asking(poisson(50.0, 2.0), service_time=exponential(0.05), concurrency=2)
    unasked = Scenario.model_validate(asked.model_dump(by_alias=True) | {"callers": None})
    with_, without = (rows_of(simulate(one, [3], calibration=COSTS), "handled") for one in (asked, unasked))
    assert with_["t_s"].tolist() == without["t_s"].tolist()
