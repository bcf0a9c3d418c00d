"""A load of several event types: as many of each as their weights say, and the same ones in both worlds."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy import stats

from sim.declare.callers import Callers
from sim.declare.loads.poisson import PoissonLoad
from sim.declare.loads.stages import StagesLoad
from sim.declare.scenario import Scenario
from sim.errors import InvalidScenario
from sim.evidence.checks import check
from sim.evidence.history import History
from sim.evidence.metrics import measure
from sim.worlds.live import run_live
from sim.worlds.simulated import simulate
from tests.live.live_runs import problems
from tests.model.small import rows_of, scenario, service, with_callers

MIX = {"placed": 6, "changed": 3, "dropped": 1}


def mixed(duration_s: float, **fields: Any) -> PoissonLoad:
    declared = {"kind": "poisson", "event": MIX, "rate_per_s": 200, "duration_s": duration_s} | fields
    return PoissonLoad.model_validate(declared)


def shop(duration_s: float = 1.0, **fields: Any) -> Scenario:
    """A desk for each of two types; the third one is nobody's."""
    return scenario(
        mixed(duration_s, **fields),
        desk=service(0.001, emits=("paid",)),
        changes=service(0.001, consumes="changed"),
        till=service(0.001, consumes="paid"),
    )


def sent_of(history: History, event: str) -> list[int]:
    sent = rows_of(history, "sent")
    return sorted(sent[sent["event"] == history.events.index(event)]["message"].tolist())


def test_the_weights_are_kept_and_arrivals_do_not_depend_on_them() -> None:
    declared = shop(25.0)
    plan = declared.plan(2)
    assert plan.sent_events is not None
    counts = np.bincount(plan.sent_events, minlength=3)
    assert stats.chisquare(counts, counts.sum() * np.array([0.6, 0.3, 0.1])).pvalue > 0.001
    history = simulate(declared, [2])
    assert [len(sent_of(history, event)) for event in MIX] == counts.tolist()
    assert sent_of(history, "paid") == sent_of(history, "placed")
    assert declared.flow.means == pytest.approx({"placed": 0.6, "changed": 0.3, "dropped": 0.1, "paid": 0.6})
    assert {one.verdict for one in check(history)} == {"true"}
    assert not any(measure(history)[f"{name}.unhandled"].any() for name in history.services)
    assert plan.arrivals_s.tolist() == mixed(25.0, event="x").arrivals_s(_rng(2)).tolist()
    with pytest.raises(ValueError, match="nothing sends 'changed'"):
        shop(25.0, event="placed")


def _rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))


async def test_both_worlds_send_the_same(url: str) -> None:
    declared = shop(0.5)
    live, simulated = await run_live(declared, [1], repeats=1, url=url), simulate(declared, [1])
    for event in (*MIX, "paid"):
        assert sent_of(live, event) == sent_of(simulated, event) != [], event
    assert problems(live) == {}


def test_stages_hand_their_mix_down() -> None:
    stage = {"kind": "poisson", "rate_per_s": 5, "duration_s": 1}
    load = StagesLoad.model_validate({"kind": "stages", "event": MIX, "stages": [stage, stage | {"event": MIX}]})
    assert load.stages[0].events == load.events == {"placed": 0.6, "changed": 0.3, "dropped": 0.1}
    assert StagesLoad.model_validate(load.model_dump()) == load
    with pytest.raises(ValueError, match="leave the inner event out"):
        StagesLoad.model_validate({"kind": "stages", "event": MIX, "stages": [stage | {"event": "placed"}]})
    assert load.events_in_words == "placed (60 %) and changed (30 %) and dropped (10 %)"


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ({"placed": 1, "changed": 0}, "load: event: the weight of changed is 0 or negative; leave that event out"),
        ({"placed": 1, "changed": "few"}, "load.mix.changed: Input should be a valid number"),
        ({}, "load.event: Input should be a valid string"),
        ({"placed": 1, "Changed": 1}, "'Changed'"),
    ],
)
def test_a_mix_that_cannot_be_sent(tmp_path: Path, event: Any, said: str) -> None:
    load = {"kind": "constant", "event": event, "rate_per_s": 1, "duration_s": 1}
    desk = {"consumes": "placed", "service_time": {"kind": "constant", "mean_s": 0.01}}
    file = tmp_path / "mix.yaml"
    file.write_text(yaml.safe_dump({"name": "mix", "load": load, "services": {"desk": desk}}, sort_keys=False))
    with pytest.raises(InvalidScenario) as refused:
        Scenario.load(file)
    assert said in refused.value.problem


def test_callers_make_requests_of_one_type() -> None:
    with pytest.raises(ValueError, match=r"load\.event: callers make requests of one type"):
        with_callers(Callers(reply="done"), mixed(1.0), desk=service(emits=("done",)))
