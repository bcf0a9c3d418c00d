"""Clients for real that wait, ask again and give up: a storm of retries, and the same one in the model."""

import asyncio

import numpy as np
import pytest

from eventlib.policy import Retry
from sim.declare.callers import Callers
from sim.declare.loads import Load
from sim.declare.scenario import Scenario
from sim.evidence.checks import check
from sim.evidence.history import KINDS, History, Rows
from sim.evidence.metrics import measure
from sim.evidence.requests import answers_of
from sim.worlds.live import run_live
from sim.worlds.simulated import simulate
from tests.live.live_runs import OF_THE_MACHINE, no_process_left
from tests.model.small import fault, rows_of, service, steady, with_callers
from tests.model.test_closed_loop import closed

TRIES, ENDS = 4, ("replied", "timed_out")
TIMEOUT_S = 0.5  # longer than a process of a busy machine stands still


def storm(load: Load) -> Scenario:
    """Two callers, whose service is away for 2.6 s: four tries of the first who meet that are over before."""
    callers = Callers(reply="given", processes=2, timeout_s=TIMEOUT_S, retry=Retry(attempts=TRIES, wait_s=0.05))
    away = fault("outage", service="quoting", at_s=0.3, back_after_s=2.6)
    return with_callers(callers, load, away, quoting=service(0.002, emits=("given",), lease_s=0.5))


def of_load(history: History) -> Rows:
    sent = rows_of(history, "sent")
    found: Rows = sent[sent["service"] == -1]
    return found


@pytest.mark.parametrize("load", [steady(30.0, 3.4), closed(30, 0.3, 3.4)], ids=["open", "closed"])
def test_both_worlds_have_the_same_storm(load: Load, url: str) -> None:
    declared = storm(load)
    with no_process_left():
        measured = asyncio.run(run_live(declared, [0], repeats=1, url=url))
    simulated = simulate(declared, [0])
    assert [one for one in check(measured) if one.verdict == "false" and one.name not in OF_THE_MACHINE] == []
    for world in (measured, simulated):
        answers, found = answers_of(declared, world.runs[0], world.rows), measure(world)
        assert answers.sent.max() == TRIES
        assert found["callers.requests_mean"].item() > 1.5
        assert found["callers.given_up"].item() > 5
        assert found["callers.answered"].item() + found["callers.given_up"].item() == answers.sent.size
        given_up, unseen = given_up_and_unseen(world)
        assert len(given_up) > 5 and unseen <= given_up and len(unseen) < len(given_up) / 4
    assert unseen == set()  # in the model, whose server is there all the time
    if load.looping:
        assert_each_waits(measured)
    else:
        assert asked_again(simulated, range(6)) == set() == asked_again(measured, range(6)) - late(measured)


def given_up_and_unseen(history: History) -> tuple[set[int], set[int]]:
    """The messages that their callers no longer wait for, and those that the service has not worked on.

    It works on what is given up, too. But a caller withdraws what the server does not take from it in time.
    """
    asked = of_load(history)
    numbers, seen = set(asked["message"].tolist()), set(rows_of(history, "handled", "quoting")["message"].tolist())
    published = rows_of(history, "published")
    taken = set(published[published["service"] == -1]["message"].tolist())
    assert taken <= seen
    return set(rows_of(history, "timed_out")["message"].tolist()), numbers - seen


def asked_again(history: History, requests: range) -> set[int]:
    """Those of these requests that were sent more than once."""
    number, sent = np.unique(of_load(history)["message"] // TRIES, return_counts=True)
    assert set(requests) <= set(number.tolist())
    return set(number[sent > 1].tolist()) & set(requests)


def late(history: History) -> set[int]:
    """Requests that were not answered in time, as happens on a machine that stands still: a reason to ask again."""
    sent_s = {int(one["message"]) // TRIES: float(one["t_s"]) for one in reversed(of_load(history))}
    over_s = {int(one["message"]) // TRIES: float(one["t_s"]) for one in history.rows if KINDS[one["kind"]] in ENDS}
    return {request for request, at_s in sent_s.items() if over_s[request] - at_s >= TIMEOUT_S}


def assert_each_waits(history: History) -> None:
    """Each client asks anew when the request before was over and it has thought, and by its own caller."""
    think_s, clients = history.scenario.plan(0).think_s, history.scenario.offered_load.looping
    assert think_s is not None
    over_s = {int(one["message"]) // TRIES: float(one["t_s"]) for one in history.rows if KINDS[one["kind"]] in ENDS}
    first = {int(one["message"]) // TRIES: one for one in reversed(of_load(history))}
    later = [one for one in first if one >= clients]
    assert len(later) > 20
    assert all(first[one]["t_s"] >= over_s[one - clients] + think_s[one] for one in later)
    assert all(sent["consumer"] == one % clients % 2 for one, sent in first.items())
