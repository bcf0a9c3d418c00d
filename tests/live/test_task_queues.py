"""Both worlds hand out the tasks of a queue in the same order."""

import asyncio

import numpy as np
import numpy.typing as npt
import pytest

from eventlib.policy import Retry
from sim.declare.loads.spike import SpikeLoad
from sim.declare.scenario import Scenario
from sim.declare.task_queue import PriorityShares, PriorityWeights, StartRate, TaskQueue
from sim.evidence.history import History
from sim.worlds.live import run_live
from sim.worlds.simulated import simulate
from tests.live.live_runs import in_time, problems
from tests.model.small import kill, rows_of, scenario, service, steady

SHARES = PriorityShares(critical=0.2, high=0.2, normal=0.3, low=0.3)
TENANTS = {"acme": 0.7, "mid": 0.2, "tiny": 0.1}
QUEUES = {
    "priorities": TaskQueue(priorities=SHARES),
    "tenants": TaskQueue(tenants=TENANTS, fair_weights={"mid": 2.5}),
    "both": TaskQueue(priorities=SHARES, tenants=TENANTS, weights=PriorityWeights(critical=3, high=3)),
    "unfair": TaskQueue(priorities=SHARES, tenants=TENANTS, fair=False),
}


RATE = StartRate(starts=30, per_s=0.1)


def at_once(history: History, of: npt.NDArray[np.bool_] | None = None) -> int:
    """The most tasks of the desk that ran at a time: of all, or of those that `of` chooses."""
    begun, *ended = (rows_of(history, kind, "desk") for kind in ("started", "handled", "failed"))
    rows, steps = np.concatenate((begun, *ended)), np.repeat((1, -1), (begun.size, sum(map(len, ended))))
    chosen = np.ones(rows.size, bool) if of is None else of[rows["message"]]
    order = np.argsort(rows["t_s"][chosen], kind="stable")
    return int(np.cumsum(steps[chosen][order]).max())


def all_enqueued_before() -> Scenario:
    """Each queue has one worker with one slot, killed before the first task comes, and back when all are there.

    A busy machine has two seconds for each: what is killed is long dead, and what is sent has come.
    """
    times = {"rate_per_s": 0, "peak_rate_per_s": 100, "at_s": 2.0, "for_s": 1.0, "duration_s": 3.0}
    load = SpikeLoad.model_validate({"kind": "spike", "event": "placed"} | times)
    kills = [kill(name, 0.0, 5.0) for name in QUEUES]
    services = {name: service(0.0, queue=queue) for name, queue in QUEUES.items()}
    return scenario(load, *kills, drain_s=30.0, dependencies=None, **services)


def started(history: History, name: str) -> list[tuple[int, float]]:
    """The messages in the order of their starts, each with the number of its dispatch."""
    rows = rows_of(history, "started", name)
    return list(zip(rows["message"].tolist(), rows["value"].tolist(), strict=True))


@pytest.fixture(scope="module")
def worlds(url: str) -> tuple[History, History]:
    """The same plan in both worlds."""
    declared = all_enqueued_before()
    live = asyncio.run(in_time(run_live(declared, [0], repeats=1, url=url)))
    return live, simulate(declared, [0])


@pytest.mark.parametrize("name", QUEUES)
def test_both_worlds_start_tasks_in_the_same_order(worlds: tuple[History, History], name: str) -> None:
    live, simulated = (started(world, name) for world in worlds)
    assert len(live) > 60
    assert live == simulated
    assert [number for _, number in live] == list(range(len(live)))
    assert [message for message, _ in live] != sorted(message for message, _ in live)


async def test_a_live_queue_works_as_any_service_does(url: str) -> None:
    """It is fed by a service, fails and tries again, shares its event with a service that is no queue, and emits."""
    declared = scenario(
        steady(80.0, 1.0),
        front=service(0.001, emits=("paid",)),
        desk=service(
            *(0.02, "paid"),
            consumers=2,
            concurrency=4,
            error_rate=0.3,
            retry=Retry(attempts=2, wait_s=0.01),
            queue=TaskQueue(priorities=SHARES, tenants=TENANTS, limit=3, limit_per_tenant=2, rate=RATE),
            emits=("mailed",),
        ),
        audit=service(0.001, "paid"),
        last=service(0.001, "mailed"),
    )
    live, simulated = await in_time(run_live(declared, [0], repeats=1, url=url)), simulate(declared, [0])
    assert problems(live) == {}
    for kind in ("handled", "failed", "dead"):
        for name in declared.services:
            here, there = (np.sort(rows_of(one, kind, name)["message"]).tolist() for one in (live, simulated))
            assert here == there, f"{kind} {name}"
    assert len(rows_of(live, "dead", "desk")) > 0
    assert at_once(live) <= 3
    tenant = declared.labels("desk", 0, 80).tenant
    assert all(at_once(live, tenant == place) <= 2 for place in range(3))
