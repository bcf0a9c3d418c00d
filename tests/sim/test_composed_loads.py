"""Loads that are made of others: stages follow each other, and a batching client never shifts what it holds."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from sim.calibration import Calibration
from sim.declare.callers import Callers
from sim.declare.loads.batching import BatchingLoad
from sim.declare.loads.stages import StagesLoad
from sim.declare.scenario import Scenario
from sim.errors import InvalidScenario
from sim.evidence.checks import check
from sim.evidence.instrument import lateness_s
from sim.evidence.metrics import measure
from sim.timings import Block
from sim.worlds.simulated import simulate
from tests.model.small import poisson, rows_of, scenario, service, steady, with_callers

STAGES: list[dict[str, Any]] = [
    {"kind": "constant", "rate_per_s": 10, "duration_s": 1},
    {"kind": "poisson", "rate_per_s": 50, "duration_s": 2},
    {"kind": "stages", "stages": [{"kind": "constant", "rate_per_s": 20, "duration_s": 0.5}]},
]


def stages(*of: Any) -> StagesLoad:
    return StagesLoad.model_validate({"kind": "stages", "event": "placed", "stages": of or STAGES})


def batching(of: Any, size: int, wait_s: float) -> BatchingLoad:
    return BatchingLoad.model_validate(
        {"kind": "batching", "event": "placed", "of": of, "size": size, "wait_s": wait_s}
    )


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# Stages


def test_stages_follow_each_other() -> None:
    load = stages()
    assert load.duration_s == 3.5
    assert load.expected_events() == 10 + 100 + 10
    arrivals_s = load.arrivals_s(rng())
    assert np.all(np.diff(arrivals_s) >= 0)
    assert arrivals_s[arrivals_s < 1].tolist() == pytest.approx([number / 10 for number in range(10)])
    assert arrivals_s[arrivals_s >= 3].tolist() == pytest.approx([3 + number / 20 for number in range(10)])
    assert 60 < np.count_nonzero((arrivals_s >= 1) & (arrivals_s < 3)) < 140


def test_trap_53_a_stage_that_changes_moves_no_other_stage() -> None:
    before = stages(*STAGES[:2], STAGES[1]).arrivals_s(rng())
    after = stages(STAGES[1] | {"duration_s": 1, "rate_per_s": 500}, STAGES[1], STAGES[1]).arrivals_s(rng())
    assert after[after >= 1].tolist() == before[before >= 1].tolist()
    own = before[(before >= 1) & (before < 3)] - 1
    other = before[before >= 3] - 3
    assert own.tolist() != other.tolist()[: own.size]


def test_the_event_is_said_once(tmp_path: Path) -> None:
    assert {stage.event for stage in stages().stages} == {"placed"}
    file = tmp_path / "stages.yaml"
    file.write_text(yaml.safe_dump(declared(stages().model_dump(mode="json"))))
    assert Scenario.load(file).offered_load == stages()


def test_stages_in_words() -> None:
    assert stages(*STAGES[:2]).in_words() == (
        "10 a second for 1 s, evenly spaced; then 50 a second for 2 s, at random (Poisson)"
    )


# Batches


def test_a_batch_goes_when_it_is_full_or_old_or_at_the_end() -> None:
    arrivals_s = [0.0, 0.1, 0.2, 0.3, 1.0, 1.45, 1.5, 1.9]
    load = batching(steady(1.0, 2.0), size=3, wait_s=0.5)
    due_s = load._sent_s(np.array(arrivals_s))
    assert due_s.tolist() == pytest.approx([0.2, 0.2, 0.2, 0.8, 1.5, 1.5, 1.5, 2.0])


@pytest.mark.parametrize(("size", "wait_s"), [(1, 5.0), (7, 0.05), (1000, 0.2), (3, 100.0)])
def test_no_batch_is_too_large_or_waits_too_long(size: int, wait_s: float) -> None:
    """And none is sent before its last message is there, or while it could still grow without waiting."""
    load = batching(poisson(100.0, 20.0), size, wait_s)
    found = load.draw(rng(1))
    assert np.all(np.diff(found.due_s) >= 0)
    assert found.due_s[-1] <= load.duration_s
    held_s = found.due_s - found.intended_s
    assert held_s.min() >= 0 and held_s.max() <= wait_s + 1e-9
    sizes = np.unique(found.due_s, return_counts=True)[1]
    assert sizes.max() <= size
    if size == 1:
        assert not held_s.any()
    elif wait_s == 100.0:
        assert set(sizes[:-1]) == {3}
    else:
        assert held_s.max() > 0.99 * wait_s


def test_the_length_is_asked_once_however_many_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trace opens its file for it."""
    asked: list[BatchingLoad] = []

    def duration_s(load: BatchingLoad) -> float:
        asked.append(load)
        return load.of.duration_s

    monkeypatch.setattr(BatchingLoad, "duration_s", property(duration_s))
    assert batching(steady(100.0, 1.0), size=1, wait_s=1.0).draw(rng()).due_s.size == 100
    assert len(asked) == 1


def test_batches_in_stages_are_not_torn() -> None:
    load = stages({"kind": "batching", "of": STAGES[0], "size": 4, "wait_s": 9}, STAGES[0])
    found = load.draw(rng())
    assert found.due_s[:10].tolist() == pytest.approx([0.3] * 4 + [0.7] * 4 + [1.0] * 2)
    assert found.due_s[10:].tolist() == found.intended_s[10:].tolist()
    assert load.collects


def test_trap_48_lag_counts_from_when_a_message_was_there() -> None:
    """The time for which the client holds a message is lag, and no lateness of the generator."""
    load = batching(steady(10.0, 1.0), size=5, wait_s=9.0)
    history = simulate(scenario(load, desk=service(0.0)), [0])
    sent = rows_of(history, "sent")
    assert sent["t_s"].tolist() == pytest.approx([0.4] * 5 + [0.9] * 5)
    assert sent["intended_s"].tolist() == pytest.approx([number / 10 for number in range(10)])
    assert lateness_s(history.rows).tolist() == pytest.approx([0.0] * 10, abs=1e-12)
    assert measure(history)["lag_s_p50"].tolist() == pytest.approx([0.2])
    assert {one.verdict for one in check(history)} == {"true"}


def test_a_late_generator_of_batches_is_seen() -> None:
    late = Calibration((Block(0, {"lateness_s": [[0.02] * 100]}),))
    load = batching(steady(10.0, 1.0), size=5, wait_s=9.0)
    history = simulate(scenario(load, desk=service(0.0)), [0], calibration=late)
    assert lateness_s(history.rows).min() == pytest.approx(0.02)


def test_batches_in_words() -> None:
    assert batching(steady(10.0, 1.0), 100, 0.05).in_words() == (
        "10 a second for 1 s, evenly spaced; sent in batches of 100 or after 50 ms, whichever is first"
    )


# What cannot be run


def declared(load: Any) -> dict[str, Any]:
    desk = {"consumes": "placed", "service_time": {"kind": "constant", "mean_s": 0.01}}
    return {"name": "composed", "load": load, "services": {"desk": desk}}


ONE_ROW = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46,1,1\n"
BATCHED = {"kind": "batching", "event": "placed", "size": 5, "wait_s": 1}


@pytest.mark.parametrize(
    ("load", "said"),
    [
        ({"stages": []}, "load.stages: is empty; give at least one"),
        (
            {"stages": [STAGES[0] | {"duration_s": 0}]},
            "load.stages.0.duration_s: Input should be greater than 0, not 0",
        ),
        ({"stages": [STAGES[0], {"kind": "trace", "file": "one.csv"}]}, "load: stages.1: lasts 0 s; give it a length"),
        ({"stages": [STAGES[0] | {"event": "paid"}]}, "sends 'paid', and the load 'placed'; leave the inner event out"),
        ({"stages": [{"kind": "sinus"}]}, "load.stages.0: there is no kind 'sinus'; use one of"),
        (
            {"stages": [STAGES[0] | {"rate": 5}]},
            "load.stages.0.rate: unknown field; there are: kind, event, size_bytes, fields, rate_per_s",
        ),
        ({"stages": 5}, "load.stages: Input should be a list"),
        ({"stages": [STAGES[0] | {"rate_per_s": 1e9}]}, "lower the load's stages, or retry.attempts"),
        (BATCHED, "load.of: is missing; add it"),
        (BATCHED | {"of": STAGES[0], "size": 0}, "load.size: Input should be greater than or equal to 1, not 0"),
        (BATCHED | {"of": STAGES[0], "wait_s": 0}, "load.wait_s: Input should be greater than 0, not 0"),
        (BATCHED | {"of": STAGES[0] | {"rate_per_s": 0}}, "load.of.rate_per_s: Input should be greater than 0, not 0"),
    ],
)
def test_one_that_cannot_be_run(tmp_path: Path, load: dict[str, Any], said: str) -> None:
    (tmp_path / "one.csv").write_text(ONE_ROW)
    file = tmp_path / "load.yaml"
    file.write_text(yaml.safe_dump(declared({"kind": "stages", "event": "placed"} | load)))
    with pytest.raises(InvalidScenario) as refused:
        Scenario.load(file).plan(0)
    assert said in refused.value.problem


def test_callers_send_no_batches() -> None:
    load = batching(steady(1.0, 1.0), 5, 1.0)
    with pytest.raises(ValueError, match="load: callers send each request by itself; leave batching out"):
        with_callers(Callers(reply="done"), load, desk=service(emits=("done",)))
