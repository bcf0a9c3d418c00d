"""The simulator beside a bare SimPy model (a store and worker processes, no retries, no history); sweeps and plans."""

import random
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import simpy

from sim import Scenario, check, measure, plan, simulate, simulate_metrics, sweep
from sim.evidence.capacity import overloads
from sim.evidence.history import KIND

SEEDS = range(10)
SCENARIOS = Path(__file__).parent.parent / "data" / "scenarios"
QUICKSTART = SCENARIOS / "quickstart.yaml"
PLANNED = SCENARIOS / "how-many-consumers.yaml"
# One service with all that a message may meet: attempts that fail, retries, leases, dead letters.
FULL = {
    "name": "full",
    "load": {"kind": "poisson", "event": "order.placed", "rate_per_s": 1000, "duration_s": 20},
    "services": {
        "billing": {
            "consumes": "order.placed",
            "consumers": 4,
            "concurrency": 8,
            "service_time": {"kind": "exponential", "mean_s": 0.02},
            "error_rate": 0.05,
            "retry": {"attempts": 3, "wait_s": 0.5},
            "lease_s": 1.0,
        }
    },
}
VARIED = {"services.billing.consumers": range(2, 10), "load.rate_per_s": range(300, 1100, 100)}  # 64 points


def full() -> float:
    """Messages for each second of wall time, of a service with retries, leases and dead letters, rows and all."""
    return _per_s(lambda scenario: simulate(scenario, [0]))


def full_measured() -> float:
    """The same, and what `workbench simulate` tells of the rows: metrics, checks and overloads."""
    return _per_s(_measured)


def _measured(scenario: Scenario) -> object:
    history = simulate(scenario, [0])
    return measure(history), check(history), list(overloads(history))


def full_without_rows() -> float:
    """The same where rows are counted and thrown away."""
    return _per_s(lambda scenario: simulate_metrics(scenario, [0]))


def _per_s(run: Callable[[Scenario], object]) -> float:
    scenario = Scenario.model_validate(FULL)
    start = time.perf_counter()
    run(scenario)
    return scenario.offered_load.expected_events() / (time.perf_counter() - start)


def swept(workers: int) -> float:
    """Points for each second of wall time, of a sweep of 64 points of three runs on so many processes."""
    scenario = Scenario.model_validate(FULL)
    start = time.perf_counter()
    points = sweep(scenario, VARIED, seeds=range(3), workers=workers).points
    return len(points) / (time.perf_counter() - start)


def planned_s(workers: int) -> float:
    """Seconds until it is known how many consumers the newcomer's question needs, with one of them down."""
    scenario = Scenario.load(PLANNED)
    start = time.perf_counter()
    plan(scenario, {"services.drafter.consumers": range(1, 33)}, down=1, workers=workers)
    return time.perf_counter() - start


def quickstart() -> float:
    """Handler runs, retries included, for each second of wall time."""
    scenario = Scenario.load(QUICKSTART)
    start = time.perf_counter()
    history = simulate(scenario, SEEDS)
    seconds = time.perf_counter() - start
    return float((history.rows["kind"] == KIND["started"]).sum()) / seconds


def bare(customers: int = 30_000) -> float:
    """Customers a second of an M/M/8 queue at the load of quickstart's billing."""
    env = simpy.Environment()
    store: simpy.Store = simpy.Store(env)
    rng = random.Random(1)

    def arrive() -> Generator[simpy.Event, Any, None]:
        for _ in range(customers):
            yield env.timeout(rng.expovariate(200.0))
            store.put(env.now)

    def work() -> Generator[simpy.Event, Any, None]:
        while True:
            yield store.get()
            yield env.timeout(rng.expovariate(50.0))

    env.process(arrive())
    for _ in range(8):
        env.process(work())
    start = time.perf_counter()
    env.run()
    return customers / (time.perf_counter() - start)
