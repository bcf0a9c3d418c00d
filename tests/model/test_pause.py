"""A paused consumer in the simulated world, and what may be declared of a pause."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from sim.declare.faults.kind import Mark
from sim.declare.faults.pause import Pause
from sim.declare.scenario import Scenario
from sim.errors import InvalidScenario
from sim.evidence.checks import check
from sim.evidence.history import KINDS, History
from sim.evidence.metrics import measure
from sim.worlds.simulated import simulate
from tests.model.small import kill, rows_of, scenario, service, steady

LEASE_S = 0.6


def pause(at_s: float, for_s: float, consumer: int = 0) -> Pause:
    return Pause(kind="pause", service="desk", consumer=consumer, at_s=at_s, for_s=for_s)


def run(for_s: float) -> History:
    """Twenty events a second, for two consumers that can handle forty each; one of them is paused at 1.02 s."""
    desk = service(0.05, consumers=2, concurrency=2, lease_s=LEASE_S)
    return simulate(scenario(steady(20.0, 4.0), pause(1.02, for_s), desk=desk), range(10))


def test_the_pause_is_in_the_history() -> None:
    history = run(1.5)
    assert KINDS[12:14] == ("paused", "resumed")
    for kind, at_s in (("paused", 1.02), ("resumed", 2.52)):
        noted = rows_of(history, kind, "desk")
        assert noted["t_s"].tolist() == pytest.approx([at_s] * 10)
        assert set(noted["consumer"]) == {0} and set(noted["message"]) == {-1}


def test_a_pause_longer_than_the_lease_loses_nothing() -> None:
    """What was held is handled by the other consumer, one to two leases after the last renewal."""
    history = run(1.5)
    assert {one.name: one.detail for one in check(history) if one.verdict != "true"} == {}
    started = rows_of(history, "started")
    again = started[started["attempt"] > 1]
    assert len(again) >= 10
    assert set(again["consumer"]) == {1} and set(again["attempt"]) == {2}
    after_s = again["t_s"] - 1.02
    assert np.all((after_s > LEASE_S * 2 / 3) & (after_s < LEASE_S * 2.1 + 0.2))  # the last was read 0.1 s later
    late = rows_of(history, "handled")
    late = late[(late["consumer"] == 0) & (late["t_s"] == 1.02 + 1.5) & (late["attempt"] == 1)]
    assert len(late) >= 10  # their handlers ended when it went on
    assert set(late[["run", "message"]].tolist()) <= set(again[["run", "message"]].tolist())
    assert np.all(measure(history)["recovery_s"] < LEASE_S * 2.1 + 0.3)


def test_a_pause_shorter_than_the_lease_loses_nothing_and_moves_nothing() -> None:
    history = run(0.35)
    assert {one.name: one.detail for one in check(history) if one.verdict != "true"} == {}
    assert set(rows_of(history, "started")["attempt"]) == {1}
    assert len(rows_of(history, "lost")) == 0
    assert measure(history)["duplicates"].tolist() == [0.0] * 10
    during = rows_of(history, "handled")
    during = during[(during["t_s"] > 1.02) & (during["t_s"] < 1.37)]
    assert set(during["consumer"]) == {1}
    assert np.sum(rows_of(history, "handled")["t_s"] == 1.02 + 0.35) >= 10  # what it had in hand ends when it goes on


def test_a_pause_that_outlasts_the_run() -> None:
    """What the only consumer held is left, not lost; the end is never noted."""
    declared = scenario(steady(20.0, 1.0), pause(0.52, 60.0), drain_s=2.0, desk=service(0.04, lease_s=0.3))
    history = simulate(declared, [0])
    left = history.runs[0].left["desk"]
    assert history.runs[0].ended_s == 3.0
    assert left.pending == 1 and left.waiting == 20 - 11
    assert len(rows_of(history, "paused")) == 1 and len(rows_of(history, "resumed")) == 0
    assert {one.name: one.verdict for one in check(history)}["lost"] == "true"


def test_both_consumers_may_be_paused_at_once() -> None:
    """Then nothing is taken over: when they go on, what they held is their own."""
    desk = service(0.05, consumers=2, concurrency=2, lease_s=0.3)
    declared = scenario(steady(20.0, 3.0), pause(1.02, 1.2), pause(1.02, 1.2, consumer=1), desk=desk)
    history = simulate(declared, [0])
    assert {one.name: one.detail for one in check(history) if one.verdict != "true"} == {}
    assert set(rows_of(history, "started")["attempt"]) == {1}


def test_a_pause_in_words_and_in_a_figure() -> None:
    fault = pause(1.5, 0.25, consumer=1)
    declared = scenario(steady(0.5, 2.0), fault, desk=service(consumers=2))
    assert fault.in_words(declared) == "At 1.5 s, consumer 1 of desk stands still for 0.25 s."
    assert fault.mark() == Mark("desk 1 paused", 1.5, 1.75)


PAUSE = {"kind": "pause", "service": "desk", "consumer": 0, "at_s": 1.0, "for_s": 1.0}
KILL = {"kind": "kill", "service": "desk", "consumer": 0, "at_s": 1.5, "back_after_s": 1.0}


def loaded(directory: Path, *faults: dict[str, Any]) -> Scenario:
    desk = {"consumes": "placed", "consumers": 2, "service_time": {"kind": "constant", "mean_s": 0.01}}
    load = {"kind": "constant", "event": "placed", "rate_per_s": 0.1, "duration_s": 10}
    file = directory / "pause.yaml"
    file.write_text(yaml.safe_dump({"name": "p", "load": load, "services": {"desk": desk}, "faults": list(faults)}))
    return Scenario.load(file)


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        ([PAUSE | {"for_s": 0}], "faults.0.for_s: Input should be greater than 0, not 0"),
        ([PAUSE | {"for_s": -1}], "faults.0.for_s: Input should be greater than 0, not -1"),
        ([{"kind": "pause", "service": "desk", "at_s": 1}], "faults.0.for_s: is missing; add it"),
        ([PAUSE | {"at_s": -1}], "faults.0.at_s: Input should be greater than or equal to 0, not -1"),
        ([PAUSE | {"consumer": 2}], "faults: 'desk' has consumers 0 to 1, no 2"),
        ([PAUSE | {"service": "dsk"}], "faults: there is no service 'dsk'; services are 'desk'"),
        ([PAUSE | {"back_after_s": 1}], "unknown field; there are: kind, at_s, service, consumer, for_s"),
        ([PAUSE, PAUSE | {"at_s": 1.5}], "faults: 'desk' consumer 0 is paused while it is down"),
        ([PAUSE, PAUSE | {"at_s": 2.0}], "faults: 'desk' consumer 0 is paused while it is down"),
        ([PAUSE, KILL], "faults: 'desk' consumer 0 is paused while it is down"),
        ([KILL, PAUSE | {"at_s": 2.0}], "faults: 'desk' consumer 0 is killed while it is down"),
        ([KILL | {"back_after_s": None}, PAUSE | {"at_s": 9.0}], "is killed while it is down"),
    ],
)
def test_a_pause_that_cannot_be_run(tmp_path: Path, faults: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(InvalidScenario) as refused:
        loaded(tmp_path, *faults)
    assert said in refused.value.problem


def test_pauses_and_kills_may_take_turns(tmp_path: Path) -> None:
    faults = [PAUSE, KILL | {"at_s": 2.1}, PAUSE | {"at_s": 3.2}, PAUSE | {"consumer": 1}]
    assert len(loaded(tmp_path, *faults).faults) == 4


def test_a_consumer_is_killed_after_its_pause() -> None:
    desk = service(0.05, consumers=2, concurrency=2, lease_s=0.4)
    declared = scenario(steady(20.0, 4.0), pause(0.52, 0.8), kill("desk", 1.62, 0.3), pause(2.52, 0.2), desk=desk)
    history = simulate(declared, range(5))
    assert {one.name: one.detail for one in check(history) if one.verdict != "true"} == {}
