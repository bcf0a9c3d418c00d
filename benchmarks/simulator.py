"""The simulator beside a bare SimPy model: a store and worker processes, no retries, no history."""

import random
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import simpy

from sim import Scenario, simulate
from sim.evidence.history import KIND

SEEDS = range(10)
QUICKSTART = Path(__file__).parent.parent / "data" / "scenarios" / "quickstart.yaml"


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
