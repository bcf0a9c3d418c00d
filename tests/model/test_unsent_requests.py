"""Requests that wait to be sent beside a server that does not answer: the library's sender withdraws some of them."""

from math import ceil, floor
from typing import Any

import numpy as np
import pytest

from eventlib.policy import Retry
from sim.declare.callers import Callers
from sim.declare.faults import Fault
from sim.declare.loads import Load
from sim.declare.scenario import Scenario
from sim.evidence.history import History
from sim.worlds.simulated import simulate
from tests.model.small import fault, kill, problems, rows_of, service, steady, with_callers
from tests.model.test_closed_loop import closed

PER_S, AT_S, FOR_S, TIMEOUT_S = 40.0, 0.51, 1.0, 0.2
UNANSWERED: list[dict[str, Any]] = [
    {"kind": "server_away", "for_s": FOR_S},
    {"kind": "black_hole", "for_s": FOR_S},
    {"kind": "lost_replies", "for_s": FOR_S},
    {"kind": "server_restart", "back_after_s": FOR_S},
    {"kind": "server_full", "for_s": FOR_S},
]


def asking(*faults: Fault, load: Load | None = None, tries: int = 1, timeout_s: float = TIMEOUT_S) -> Scenario:
    """A request every 25 ms for two seconds."""
    callers = Callers(reply="given", timeout_s=timeout_s, retry=Retry(attempts=tries, wait_s=0.05))
    quoting = service(0.002, emits=("given",), lease_s=1.0)
    return with_callers(callers, load or steady(PER_S, 2.0), *faults, drain_s=8.0, quoting=quoting)


def replies_lost() -> Scenario:
    """The first request of the fault is appended. The others wait for it, those of its last 0.2 s not in vain."""
    return asking(fault("lost_replies", at_s=AT_S, for_s=FOR_S))


def withdrawn(history: History) -> list[int]:
    """The requests that were made, and that no service ever saw."""
    made = rows_of(history, "sent")
    made = made[made["service"] == -1]
    seen = rows_of(history, "started", "quoting")
    return sorted(set(made["message"].tolist()) - set(seen["message"].tolist()))


def due(from_s: float, until_s: float) -> list[int]:
    """The requests that are due after the first time and up to the second one."""
    return list(range(floor(from_s * PER_S) + 1, ceil(until_s * PER_S)))


def test_what_waits_longer_than_its_caller_is_withdrawn() -> None:
    """Each caller hears of it when its time is over, and knows that the server has a request only if it is in time."""
    history = simulate(replies_lost(), [0])
    first, *others = due(AT_S, AT_S + FOR_S - TIMEOUT_S)
    assert withdrawn(history) == others
    timed_out = rows_of(history, "timed_out")
    assert {first, *others} <= set(timed_out["message"].tolist())
    assert timed_out["t_s"] == pytest.approx(timed_out["intended_s"] + TIMEOUT_S)
    published = rows_of(history, "published")
    published = published[published["service"] == -1]
    assert not {first, *others} & set(published["message"].tolist())
    assert np.all(published["t_s"] < published["intended_s"] + TIMEOUT_S)
    assert problems(history) == {}


def test_more_patience_is_in_vain_less_often() -> None:
    lost = replies_lost().faults[0]
    counts = [len(withdrawn(simulate(asking(lost, timeout_s=timeout_s), [0]))) for timeout_s in (0.1, 0.2, 0.5, 2.0)]
    assert counts == sorted(counts, reverse=True) == [35, 31, 19, 0]


def test_a_batch_that_no_caller_waits_for_is_not_tried_again() -> None:
    """The server refuses connections: even the first request of the outage, which is tried, is given up."""
    history = simulate(asking(fault("server_away", at_s=AT_S, for_s=FOR_S)), [0])
    assert withdrawn(history)[:10] == due(AT_S, AT_S + FOR_S)[:10]
    assert problems(history) == {}


def test_a_delay_longer_than_the_patience() -> None:
    """0.3 s each way: a batch every 0.6 s, of the requests of its last 0.2 s. All who ask then wait in vain."""
    history = simulate(asking(fault("latency", at_s=AT_S, for_s=FOR_S, added_s=0.3)), [0])
    first, *meanwhile = due(AT_S, AT_S + 0.6 + 0.015 - TIMEOUT_S)
    assert withdrawn(history)[: len(meanwhile)] == meanwhile
    started = rows_of(history, "started", "quoting")
    assert started["t_s"][started["message"] == first] > first / PER_S + 0.3
    timed_out = rows_of(history, "timed_out")
    assert timed_out["t_s"] == pytest.approx(timed_out["intended_s"] + TIMEOUT_S)
    assert set(due(AT_S, AT_S + FOR_S)) - {due(AT_S, AT_S + FOR_S)[-1]} <= set(timed_out["message"].tolist())


def test_a_killed_caller_asks_for_what_it_never_sent() -> None:
    """It notes a request before it sends it. So it waits for a reply that cannot come."""
    lost = fault("lost_replies", at_s=0.3, for_s=0.6)
    history = simulate(asking(lost, kill("callers", 0.51, 0.8), timeout_s=1.0), [0])
    again = rows_of(history, "timed_out")
    again = again[again["attempt"] == 2]["message"].tolist()
    assert again == withdrawn(history) != []
    assert max(again) / PER_S <= 0.51


@pytest.mark.parametrize("unanswered", UNANSWERED, ids=lambda fields: fields["kind"])
@pytest.mark.parametrize("load", [steady(PER_S, 2.0), closed(20, 0.3, 2.0)], ids=["open", "closed"])
def test_who_asks_by_answers_goes_with_a_server_that_gives_none(load: Load, unanswered: dict[str, Any]) -> None:
    """Requests are sent again, and withdrawn again; each of their messages is handled or was never in the stream."""
    history = simulate(asking(fault(at_s=AT_S, **unanswered), load=load, tries=3), [0])
    made = rows_of(history, "sent")
    made = made[made["service"] == -1]
    ends = np.concatenate([rows_of(history, "replied")["message"], rows_of(history, "timed_out")["message"]])
    assert sorted(ends.tolist()) == sorted(made["message"].tolist())
    assert np.any(made["message"] % 3 == 2)
    assert problems(history) == {}


def test_a_caller_hears_again_when_it_is_connected_again() -> None:
    """Connections break just before a reply comes. The caller makes another one after 25 ms or more, and hears it."""
    quoting, cut_s = service(0.03, emits=("given",), concurrency=9), 0.5201
    declared = with_callers(Callers(reply="given"), steady(10.0, 1.0), fault("reset", at_s=cut_s), quoting=quoting)
    replied = rows_of(simulate(declared, [0]), "replied")
    (heard_s,) = replied["t_s"][replied["message"] == 5]
    assert cut_s + 0.025 <= heard_s <= cut_s + 0.05
