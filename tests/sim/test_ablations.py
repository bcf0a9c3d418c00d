"""Ablations: leaving out a part of the calibration that made a history shows in the error."""

from dataclasses import replace

import pytest

from sim.calibration import PARTS, Calibration
from sim.errors import InvalidHistory
from sim.infer.ablations import METRICS, NOTHING, WHOLE, ablate, ablations_json, ablations_text
from sim.timings import STEPS, Block, CpuUse
from sim.worlds.simulated import simulate
from tests.model.small import exponential, poisson, scenario, service

CALIBRATION = Calibration(
    (Block(0, {step: [[0.0002 * (1 + rest), 0.001 * (1 + rest)] * 20 for rest in range(5)] for step in STEPS}),),
    cpu=(CpuUse(0, "consumer", 0.4, 900.0, 1000.0), CpuUse(1, "consumer", 0.6, 1000.0, 2000.0)),
    machine={"CPUs": "1"},
    scales={"handle_s": [0.5] * 5},
)
DESK = scenario(poisson(200.0, 1.0), desk=service(service_time=exponential(0.002), consumers=2, prefetch=2))


def test_each_part_has_its_error() -> None:
    """What ran "live" is a simulation with the whole calibration, so that alone predicts it without an error."""
    live = replace(simulate(DESK, [1], calibration=CALIBRATION), world="live")
    done: list[float] = []
    found = {one.left_out: one for one in ablate(CALIBRATION, [live], progress=done.append)}
    assert list(found) == [WHOLE, *PARTS, NOTHING] and done[-1] == 1.0
    assert [found[WHOLE].median(metric) for metric in METRICS] == [0.0] * 4
    for part in (*PARTS, NOTHING):
        assert found[part].median("lag_s_p95") > 0.0, part
    assert found[NOTHING].errors["lag_s_p50"][0] < -0.1, "an infinitely fast machine is too fast"
    told = ablations_json(list(found.values()))
    assert told["cpu"]["lag_s_p50"]["errors"] == {"small": found["cpu"].errors["lag_s_p50"][0]}
    assert len(ablations_text(list(found.values())).splitlines()) == 1 + len(found)


def test_runs_of_a_machine_that_was_not_as_timed_are_left_out() -> None:
    live = replace(simulate(DESK, [1], calibration=CALIBRATION), world="live")
    busy = replace(simulate(DESK, [1], calibration=replace(CALIBRATION, stretch=4.0)), world="live")
    found = ablate(CALIBRATION, [live, busy])
    assert found[0].scenarios == ("small",) and found[0].errors["lag_s_p50"].size == 1
    with pytest.raises(InvalidHistory, match="machine not as it was timed"):
        ablate(CALIBRATION, [busy])


def test_only_live_runs_judge() -> None:
    for histories in ([], [simulate(DESK, [1])]):
        with pytest.raises(InvalidHistory, match="need live histories"):
            ablate(CALIBRATION, histories)
