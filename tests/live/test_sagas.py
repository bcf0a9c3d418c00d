"""Sagas for real, beside the same ones in virtual time: with and without a worker that is killed."""

import asyncio
from typing import Any

import numpy as np
import pytest

from sim.declare.scenario import Scenario
from sim.evidence.history import History
from sim.evidence.metrics import measure
from sim.worlds.live import run_live
from sim.worlds.simulated import simulate
from tests.live.live_runs import no_process_left, problems
from tests.model.small import kill, rows_of, saga_service, saga_step, scenario, steady

ENDS = ("completed", "compensated", "parked")
SLOTS = 20
STEPS = (
    saga_step("reserve", 0.01, undo=0.005, error_rate=0.1),
    saga_step("charge", 0.02, undo=0.005, error_rate=0.3, reject_rate=0.1),
    saga_step("note", 0.005, error_rate=0.3),  # it cannot be undone
    saga_step("ship", 0.01, error_rate=0.2, reject_rate=0.1, nothing_to_undo=True),
)


def ends(history: History) -> dict[str, list[int]]:
    """The numbers of the sagas that have ended in each way."""
    return {end: sorted(rows_of(history, end)["message"].tolist()) for end in ENDS}


def acts(history: History) -> dict[Any, int]:
    """How often each act was begun, by saga, kind of act and step."""
    rows = history.frame()
    begun = rows[rows["kind"].isin(["step_started", "undo_started"])]
    return begun.groupby(["message", "kind", "value"], observed=True).size().to_dict()


async def test_both_worlds_run_the_same_sagas(url: str) -> None:
    """Nothing here depends on time: each act is begun as often, and each saga ends alike."""
    declared = scenario(steady(80.0, 1.0), order=saga_service(*STEPS, consumers=2, concurrency=4))
    with no_process_left():
        measured = await run_live(declared, [0], repeats=1, url=url)
    simulated = simulate(declared, [0])
    assert ends(measured) == ends(simulated)
    assert all(ends(measured).values()), "each end has a case"
    assert acts(measured) == acts(simulated)
    assert measured.runs[0].left == simulated.runs[0].left
    assert problems(measured) == {}


def killed() -> Scenario:
    """Two busy workers, one of which dies in the middle of its steps. It has begun some, wherever a machine stalls."""
    steps = (saga_step("reserve", 0.05, undo=0.01), saga_step("charge", 0.6, undo=0.01), saga_step("ship", 0.05))
    order = saga_service(*steps, consumers=2, concurrency=SLOTS, lease_s=2.0)
    return scenario(steady(40.0, 1.2), kill("order", 0.6, 0.2), order=order)


@pytest.fixture(scope="module")
def measured(url: str) -> History:
    with no_process_left():
        return asyncio.run(run_live(killed(), [0], repeats=1, url=url))


def test_another_worker_finishes_the_sagas_of_a_killed_one(measured: History) -> None:
    assert problems(measured) == {}
    assert measure(measured)["completed"].tolist() == [48.0]
    begun, ended = rows_of(measured, "step_started"), rows_of(measured, "step_done")
    key = ["message", "value", "attempt"]
    cut = begun[~np.isin(begun[key], ended[key])]
    assert 1 <= cut.size <= SLOTS
    assert set(cut["consumer"]) == {0}
    again = begun[np.isin(begun[["message", "value"]], cut[["message", "value"]]) & (begun["attempt"] == 2)]
    assert again.size == cut.size


def test_a_saga_ends_when_the_server_says_so(measured: History) -> None:
    """The end of each is read from Redis: it comes soon after its last act, on the clock of the run."""
    ended, last = rows_of(measured, "completed"), rows_of(measured, "step_done")
    last = last[last["value"] == 2]
    last = last[np.unique(last["message"], return_index=True)[1]]  # an act whose lease ended is done twice
    later_s = ended[np.argsort(ended["message"])]["t_s"] - last["t_s"]
    assert np.all(later_s > -0.01)
    assert np.median(later_s) < 0.5
