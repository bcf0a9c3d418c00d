"""A load of a schedule is due when the library's schedules are, in both worlds."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from eventlib.slots import Cron
from sim.declare.loads.schedule import ScheduleLoad
from sim.declare.scenario import Scenario
from sim.errors import InvalidScenario
from sim.evidence.checks import check
from sim.worlds.simulated import simulate
from tests.model.small import rows_of, scenario, service

RNG = np.random.default_rng(0)
DAY_S = 86_400.0


def schedule(**fields: Any) -> ScheduleLoad:
    return ScheduleLoad.model_validate({"kind": "schedule", "event": "placed", "for_s": DAY_S} | fields)


def test_an_interval_counts_the_start_and_not_the_end() -> None:
    assert schedule(every_s=600, for_s=3600).arrivals_s(RNG).tolist() == [0, 600, 1200, 1800, 2400, 3000]


def test_slots_are_those_of_the_library() -> None:
    """On the day of 25 hours in Berlin, the hour that comes twice has both its quarters."""
    load = schedule(cron="*/15 2 * * *", tz="Europe/Berlin", starts_at="2026-10-25T00:00+02:00", for_s=25 * 3600)
    start_s, wanted = load.starts_at.timestamp(), []
    slot_s = Cron("*/15 2 * * *", "Europe/Berlin").after(start_s - 1)
    while slot_s is not None and slot_s < start_s + load.for_s:
        wanted.append(slot_s - start_s)
        slot_s = Cron("*/15 2 * * *", "Europe/Berlin").after(slot_s)
    assert load.arrivals_s(RNG).tolist() == wanted
    assert len(wanted) == 8


def test_each_slot_sends_its_events_and_time_is_scaled() -> None:
    load = schedule(cron="0 * * * *", per_slot=3, time_scale=0.001)
    assert load.arrivals_s(RNG)[:4].tolist() == pytest.approx([0, 0, 0, 3.6])
    assert load.expected_events() == 72
    assert load.duration_s == pytest.approx(86.4)
    assert load.in_words() == (
        "3 at each slot, by the cron line 0 * * * * (UTC), for 86400 s from 2026-01-01T00:00:00+00:00 on, "
        "at 1000 times the clock's speed"
    )


def test_a_nightly_batch_is_simulated() -> None:
    """All of it comes at once, so the last one waits for the others."""
    declared = scenario(schedule(cron="0 3 * * *", per_slot=50, time_scale=1e-4), desk=service(0.1))
    history = simulate(declared, [0])
    handled_s = float(rows_of(history, "handled")["t_s"].max())
    assert handled_s - 3 * 3600 * 1e-4 == pytest.approx(50 * 0.1)
    assert {one.verdict for one in check(history)} == {"true"}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "load: give either cron= or every_s="),
        ({"cron": "61 * * * *"}, "load: cron '61 * * * *': the minute '61' is wrong"),
        ({"cron": "0 3 * * *", "tz": "Mars/Base"}, "load: tz='Mars/Base' is no time zone"),
        ({"cron": "0 3 * * *", "for_s": 60}, "load: cron '0 3 * * *' has no slot in the 60 s from 2026-01-01T00:00:00"),
        ({"every_s": 0.01, "for_s": 1e6}, "load: for_s=1e+06 holds over 100,000 slots; lower it"),
        ({"every_s": 60, "starts_at": "2026-01-01T00:00"}, "load.starts_at: Input should have timezone info"),
        ({"every_s": 60, "per_slot": 0}, "load.per_slot: Input should be greater than or equal to 1, not 0"),
    ],
)
def test_a_schedule_that_cannot_be_run(tmp_path: Path, fields: dict[str, Any], said: str) -> None:
    desk = {"consumes": "placed", "service_time": {"kind": "constant", "mean_s": 0.01}}
    load = {"kind": "schedule", "event": "placed", "for_s": DAY_S} | fields
    file = tmp_path / "schedule.yaml"
    file.write_text(yaml.safe_dump({"name": "schedule", "load": load, "services": {"desk": desk}}))
    with pytest.raises(InvalidScenario) as refused:
        Scenario.load(file)
    assert said in refused.value.problem
