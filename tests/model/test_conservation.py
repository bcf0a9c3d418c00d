"""No message is lost and none appears from nowhere, in thirty scenarios drawn at random."""

import numpy as np
import pytest

from sim.declare.faults.kill import Kill
from sim.declare.scenario import Scenario
from sim.evidence.checks import check
from sim.evidence.metrics import measure
from sim.worlds.simulated import simulate
from tests.model.small import any_scenario, poisson, rows_of, scenario, service

SCENARIOS = [any_scenario(number) for number in range(30)]


@pytest.mark.parametrize("number", range(len(SCENARIOS)))
def test_every_message_is_settled_once(number: int) -> None:
    """At each service: published = handled + dead, each message once, and all claims about the run are true."""
    declared = SCENARIOS[number]
    history = simulate(declared, [0, 1])
    assert {one.name: one.verdict for one in check(history) if one.verdict != "true"} == {}
    for name, one in declared.services.items():
        event = history.events.index(one.consumes)
        published = rows_of(history, "published")
        published = published[published["event"] == event][["run", "message"]]
        settled = np.concatenate([rows_of(history, kind, name)[["run", "message"]] for kind in ("handled", "dead")])
        assert len(np.unique(published)) == len(published)
        assert np.array_equal(np.sort(settled), np.sort(published))
        dead = [run.left[name].dead for run in history.runs]
        assert dead == measure(history)[f"{name}." * (len(history.services) > 1) + "dead_letters"].tolist()


def test_the_random_scenarios_contain_every_fault() -> None:
    """Together they contain everything that can go wrong. Otherwise the tests above would prove little."""
    paths = [max(one.flow.paths.values()) for one in SCENARIOS]
    fans = [max(len(names) for names in one.flow.consumers.values()) for one in SCENARIOS]
    kills = [[fault for fault in one.faults if isinstance(fault, Kill)] for one in SCENARIOS]
    assert sum(ways > 1 for ways in paths) >= 3  # two ways to one service
    assert sum(fan > 1 for fan in fans) >= 5
    assert sum(bool(of_one) for of_one in kills) >= 15
    assert sum(any(kill.back_after_s is None for kill in of_one) for of_one in kills) >= 5
    assert sum(any(service.prefetch for service in one.services.values()) for one in SCENARIOS) >= 10
    redelivered = [rows_of(simulate(one, [0]), "started")["attempt"].max() > 1 for one in SCENARIOS]
    assert sum(redelivered) >= 15


def diamond() -> Scenario:
    """One event, two paths of two steps, one of which emits two events: three messages at the end for each one."""
    return scenario(
        poisson(50.0, 2.0),
        split=service(0.001, emits=("left", "right")),
        left=service(0.002, "left", emits=("joined",)),
        right=service(0.003, "right", emits=("joined", "joined")),
        join=service(0.001, "joined"),
    )


def test_a_diamond_multiplies_messages_by_its_number_of_paths() -> None:
    history = simulate(diamond(), [0])
    sent = len(rows_of(history, "handled", "split"))
    joined = rows_of(history, "handled", "join")
    assert len(joined) == 3 * sent > 150
    assert np.array_equal(np.sort(joined["message"]), np.arange(3 * sent))


def test_each_message_carries_the_intended_send_time_of_its_origin() -> None:
    """So the lag at the end of any path counts from the load."""
    history = simulate(diamond(), [0])
    arrivals_s = diamond().plan(0).arrivals_s
    joined = rows_of(history, "handled", "join")
    assert np.array_equal(joined["intended_s"], arrivals_s[joined["message"] // 3])


def test_the_simulated_backlog_obeys_littles_law() -> None:
    """L = lambda W: what is counted at the server agrees with the times that the messages note."""
    history = simulate(scenario(poisson(100.0, 30.0), desk=service(0.009)), range(5))
    residual = measure(history)["little_residual"]
    assert np.all(residual < 0.1)
