"""Callers for real: processes that call `bus.request`, one of which is killed and comes back for its replies."""

import asyncio

import numpy as np
import pytest

from eventlib.policy import Retry
from sim.declare.callers import Callers
from sim.declare.scenario import Scenario
from sim.evidence.history import KIND, History
from sim.evidence.metrics import measure
from sim.infer.compare import compare
from sim.worlds.live import run_live
from sim.worlds.simulated import simulate
from tests.live.live_runs import delay_orders, in_time, keys_of_runs, no_process_left, problems
from tests.model.small import attempts_by_message, kill, rows_of, service, steady, with_callers
from tests.model.test_unsent_requests import AT_S, TIMEOUT_S, due, replies_lost, withdrawn

KILLED_AT_S, BACK_AFTER_S = 1.2, 0.3
WORK_S = 1.0  # so much that the killed caller waits for the replies to all that it asked for in that time
MINUTES_S = 120.0  # longer than any test


def quotes() -> Scenario:
    """Two callers; the second one is killed with about twelve requests on their way, and comes back.

    On a busy machine, that takes a second or two.
    """
    quoting = service(
        WORK_S, concurrency=50, error_rate=0.2, retry=Retry(attempts=9, wait_s=0.01), lease_s=5.0, emits=("given",)
    )
    callers = Callers(reply="given", processes=2, timeout_s=20.0)
    killed = kill("callers", KILLED_AT_S, BACK_AFTER_S, consumer=1)
    return with_callers(callers, steady(25.0, 4.0), killed, quoting=quoting)


@pytest.fixture(scope="module")
def measured(url: str) -> History:
    with no_process_left():
        return asyncio.run(run_live(quotes(), [0], repeats=1, url=url))


def test_a_killed_caller_gets_every_reply_when_it_is_back(measured: History) -> None:
    assert problems(measured) == {}
    sent, replied = rows_of(measured, "sent"), rows_of(measured, "replied")
    assert set(replied["message"]) == set(sent[sent["service"] == -1]["message"])
    again = replied[replied["attempt"] == 2]
    assert again.size >= 5
    assert set(again["consumer"]) == {1}
    (killed_s,) = rows_of(measured, "killed")["t_s"]
    first_sent_s = sent[(sent["service"] == -1) & np.isin(sent["message"], again["message"])]["t_s"]
    assert np.all(first_sent_s < killed_s)
    assert rows_of(measured, "timed_out").size == 0


def test_the_dead_caller_sends_nothing(measured: History) -> None:
    sent = rows_of(measured, "sent")
    sent = sent[(sent["service"] == -1) & (sent["consumer"] == 1)]
    (killed_s,) = rows_of(measured, "killed")["t_s"]
    (back_s,) = rows_of(measured, "restarted")["t_s"]
    assert not np.any((sent["t_s"] > killed_s) & (sent["intended_s"] < KILLED_AT_S + BACK_AFTER_S))
    assert np.any(sent["t_s"] > back_s)


def test_both_worlds_make_the_same_attempts(measured: History) -> None:
    """At every request that both worlds made: the dead caller's time depends on how soon a process starts."""
    simulated = simulate(quotes(), [0])
    both = set(rows_of(measured, "sent")["message"]) & set(rows_of(simulated, "sent")["message"])
    assert len(both) >= 60  # all of the other caller, and what this one sent before
    one, other = (
        {message: count for _, message, count in attempts_by_message(world, "quoting") if message in both}
        for world in (measured, simulated)
    )
    assert one == other
    assert max(one.values()) > 1


def test_both_worlds_have_the_same_metrics(measured: History) -> None:
    compared = compare(simulate(quotes(), [0]), measured)
    named = {row.metric for row in compared.rows if row.metric.startswith("callers.")}
    assert "callers.round_trip_s_p95" in named
    assert compared["callers.timed_out"].error == compared["callers.replies_lost"].error == 0.0


async def test_requests_time_out_while_the_service_is_away(url: str) -> None:
    """It has not answered the first of them when it is killed, however late that is."""
    away = with_callers(
        Callers(reply="given", timeout_s=1.0),
        steady(20.0, 1.0),
        kill("quoting", 0.0, None),
        quoting=service(MINUTES_S, emits=("given",)),
        drain_s=3.0,
    )
    history = await in_time(run_live(away, [0], repeats=1, url=url))
    assert rows_of(history, "timed_out")["attempt"].tolist() == [1] * 20
    assert measure(history)["callers.timed_out"].tolist() == [20.0]
    left = history.runs[0].left["quoting"]
    assert left.waiting + left.pending == 20  # the service may have read one before it was killed


async def test_callers_that_still_wait_end_with_the_run(url: str) -> None:
    """Their time is over in minutes, and the run a second after its load."""
    away = with_callers(
        Callers(reply="given", timeout_s=MINUTES_S),
        steady(20.0, 0.5),
        kill("quoting", 0.0, None),
        quoting=service(MINUTES_S, emits=("given",)),
        drain_s=1.0,
    )
    with no_process_left():
        history = await in_time(run_live(away, [0], repeats=1, url=url))
    assert not np.any(np.isin(history.rows["kind"], [KIND["replied"], KIND["timed_out"]]))
    assert await keys_of_runs(url) == set()


async def test_a_caller_that_begins_late_makes_every_request(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine it hears that it may go when the first requests are due already. It was not dead."""
    delay_orders(monkeypatch, "go", 0.6)
    declared = with_callers(Callers(reply="given"), steady(20.0, 0.5), quoting=service(emits=("given",)))
    history = await in_time(run_live(declared, [0], repeats=1, url=url))
    assert sorted(rows_of(history, "replied")["message"].tolist()) == list(range(10))


async def test_both_worlds_withdraw_the_same_requests(url: str) -> None:
    """Replies are lost for a second. Who asks meanwhile, and has given up before it is over, is not heard of.

    The first who ask are: their requests are under way when the others begin to wait for the reply that is lost.
    """
    declared = replies_lost()
    measured = await in_time(run_live(declared, [0], repeats=1, url=url))
    simulated = simulate(declared, [0])
    for world in (measured, simulated):
        in_vain, never_seen = asked_in_vain(world), set(withdrawn(world))
        assert in_vain and in_vain <= never_seen
        assert never_seen <= set(rows_of(world, "timed_out")["message"].tolist())
    assert not set(due(-1.0, AT_S - TIMEOUT_S)) & never_seen  # in the model, where no process stands still


def asked_in_vain(history: History) -> set[int]:
    """The requests that were made after the network failed and given up before it worked, but for the first ones."""
    [fails_s], [works_s] = (rows_of(history, kind)["t_s"].tolist() for kind in ("network_fails", "network_works"))
    sent, over = rows_of(history, "sent"), rows_of(history, "timed_out")
    given_up = over[over["t_s"] < works_s]["message"]
    made = sent[(sent["service"] == -1) & (sent["t_s"] > fails_s) & np.isin(sent["message"], given_up)]
    return set(made[made["t_s"] > made["t_s"].min(initial=np.inf) + 0.02]["message"].tolist())
