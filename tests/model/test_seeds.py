"""A simulated run is a function of scenario and seed: the same bytes in every process, alone or among others."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

from sim.declare.loads.schedule import ScheduleLoad
from sim.declare.scenario import Scenario
from sim.declare.service_times import ServiceTime
from sim.evidence.history import History, Rows
from sim.worlds.simulated import simulate
from tests.model.small import any_scenario, constant, exponential, lognormal, poisson, rows_of, scenario, service

# Every kind of fault, a diamond and jitter: what could depend on the order of a set or a dictionary is in there.
BUSY = [any_scenario(number) for number in (1, 2, 3)]

ELSEWHERE = """
import hashlib, sys
from sim.worlds.simulated import simulate
from sim.declare.scenario import Scenario
for line in sys.stdin:
    history = simulate(Scenario.model_validate_json(line), [3, 4])
    print(hashlib.sha256(history.rows.tobytes() + repr(history.runs).encode()).hexdigest())
"""


def fingerprint(history: History) -> str:
    return hashlib.sha256(history.rows.tobytes() + repr(history.runs).encode()).hexdigest()


def without_run(rows: Rows) -> bytes:
    """The bytes of the rows, the run's index set to nothing."""
    rows = rows.copy()
    rows["run"] = 0
    return rows.tobytes()


@pytest.mark.parametrize("declared", BUSY)
def test_the_same_seed_gives_the_same_bytes(declared: Scenario) -> None:
    assert fingerprint(simulate(declared, [3, 4])) == fingerprint(simulate(declared, [3, 4]))
    assert fingerprint(simulate(declared, [3, 4])) != fingerprint(simulate(declared, [3, 5]))


def test_another_process_gives_the_same_bytes() -> None:
    """Whatever order its sets have, and although the scenario went there as JSON, as it does to live processes."""
    hash_seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    command = [sys.executable, "-c", ELSEWHERE]
    declared = "\n".join(one.model_dump_json(by_alias=True) for one in BUSY)
    environment = os.environ | {"PYTHONHASHSEED": hash_seed}
    said = subprocess.run(command, input=declared, env=environment, capture_output=True, text=True, check=True).stdout
    assert said.split() == [fingerprint(simulate(one, [3, 4])) for one in BUSY]


def test_trap_52_ties_at_one_instant_have_one_order() -> None:
    """Fifty messages come at each instant, to three consumers that need no time: they are taken in their order."""
    load = ScheduleLoad(kind="schedule", event="placed", every_s=1.0, for_s=5.0, per_slot=50)
    declared = scenario(load, desk=service(0.0, consumers=3, emits=("told",)), post=service(0.0, consumes="told"))
    history = simulate(declared, [3])
    assert np.unique(rows_of(history, "sent")["t_s"]).size == 5
    for name in ("desk", "post"):
        assert rows_of(history, "started", name)["message"].tolist() == list(range(250)), name
    assert fingerprint(history) == fingerprint(simulate(declared, [3]))


@pytest.mark.parametrize("declared", BUSY)
def test_a_run_does_not_depend_on_the_other_runs(declared: Scenario) -> None:
    among = simulate(declared, [9, 7, 8])
    alone = simulate(declared, [7])
    assert without_run(among.run(1)) == without_run(alone.run(0))
    assert among.runs[1] == alone.runs[0]
    assert [run.seed for run in among.runs] == [9, 7, 8]


def test_a_new_service_downstream_changes_nothing_upstream() -> None:
    """Every source has a random stream of its own."""
    load = poisson(200.0, 2.0)
    billing = service(error_rate=0.3).model_copy(update={"service_time": lognormal(0.01, 1.0)})
    short = scenario(load, billing=billing)
    shipping = service(consumes="paid").model_copy(update={"service_time": exponential(0.02)})
    long = scenario(load, billing=billing.model_copy(update={"emits": ("paid",)}), shipping=shipping)
    before, after = short.plan(5), long.plan(5)
    assert before.arrivals_s.tobytes() == after.arrivals_s.tobytes()
    assert before.service_s["billing"].tobytes() == after.service_s["billing"].tobytes()
    assert before.failure_draws["billing"].tobytes() == after.failure_draws["billing"].tobytes()


def test_a_slower_service_gets_the_same_arrivals_and_failure_draws() -> None:
    """So two settings are compared under the same arrivals, not under two samples of them."""
    times: list[ServiceTime] = [constant(0.01), exponential(0.02), lognormal(0.03, 2.0)]
    desks = [service().model_copy(update={"service_time": one}) for one in times]
    plans = [scenario(poisson(200.0, 2.0), desk=desk).plan(5) for desk in desks]
    assert len({plan.arrivals_s.tobytes() for plan in plans}) == 1
    assert len({plan.failure_draws["desk"].tobytes() for plan in plans}) == 1


@pytest.mark.parametrize("declared", BUSY)
def test_the_live_processes_draw_the_same_plan(declared: Scenario) -> None:
    """They get the scenario as JSON and the seed as a number; nothing of the plan is lost on the way."""
    there = Scenario.model_validate_json(declared.model_dump_json(by_alias=True))
    here, elsewhere = declared.plan(11), there.plan(11)
    assert there == declared
    assert list(elsewhere.service_s) == list(here.service_s)
    assert elsewhere.arrivals_s.tobytes() == here.arrivals_s.tobytes()
    for name in here.service_s:
        assert elsewhere.service_s[name].tobytes() == here.service_s[name].tobytes()
        assert elsewhere.failure_draws[name].tobytes() == here.failure_draws[name].tobytes()
    assert (elsewhere.error_windows, elsewhere.error_rate) == (here.error_windows, here.error_rate)


def test_different_seeds_give_different_arrivals() -> None:
    declared = scenario(poisson(100.0, 2.0), desk=service())
    arrivals_s = [declared.plan(seed).arrivals_s for seed in range(20)]
    assert len({one.tobytes() for one in arrivals_s}) == 20
    # 20 x 200 uniform arrivals: their mean is within 4 standard errors of the middle, for these fixed seeds.
    assert abs(np.concatenate(arrivals_s).mean() - 1.0) < 4 * (2.0 / 12**0.5) / 4000**0.5


def test_services_draw_from_different_streams() -> None:
    """Two services alike in all but name do not take the same times or fail together."""
    plan = scenario(poisson(100.0, 2.0), a=service(error_rate=0.5), b=service(error_rate=0.5)).plan(0)
    correlation = np.corrcoef(plan.failure_draws["a"].ravel(), plan.failure_draws["b"].ravel())[0, 1]
    assert abs(correlation) < 0.15
