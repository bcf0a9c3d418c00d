"""A small scenario with faults and its histories. The live history is a simulated one that says it is live."""

from dataclasses import replace

import pytest

import sim
from sim.declare.scenario import Scenario
from sim.evidence.history import History, Run
from sim.infer.compare import Comparison

DECLARED = {
    "name": "shop",
    "description": "Orders are billed, then shipped.",
    "load": {"kind": "poisson", "event": "order.placed", "rate_per_s": 60, "duration_s": 3},
    "services": {
        "billing": {
            "consumes": "order.placed",
            "consumers": 2,
            "service_time": {"kind": "lognormal", "mean_s": 0.02, "cv": 0.5},
            "error_rate": 0.1,
            "retry": {"attempts": 3, "wait_s": 0.05, "wait_s_max": 0.2},
            "lease_s": 0.5,
            "emits": ["order.paid"],
        },
        "shipping": {
            "consumes": "order.paid",
            "concurrency": 4,
            "service_time": {"kind": "exponential", "mean_s": 0.01},
            "lease_s": 0.5,
        },
    },
    "faults": [
        {"kind": "kill", "service": "billing", "consumer": 0, "at_s": 1.0, "back_after_s": 0.5},
        {"kind": "errors", "service": "shipping", "at_s": 2.0, "for_s": 0.5, "error_rate": 0.6},
    ],
    "drain_s": 10,
}


@pytest.fixture(scope="session")
def scenario() -> Scenario:
    return Scenario.model_validate(DECLARED)


@pytest.fixture(scope="session")
def simulated(scenario: Scenario) -> History:
    return sim.simulate(scenario, range(6))


@pytest.fixture(scope="session")
def live(scenario: Scenario) -> History:
    """Slower than the simulated history. The runs of seeds 2 and 3 stand for repeats of 0 and 1, so there is noise."""
    slow = sim.simulate(scenario, range(4), calibration=sim.Calibration.constant(handle_s=0.004, settle_s=0.001))
    runs = tuple(Run(run.seed % 2, run.seed // 2, run.ended_s, run.left) for run in slow.runs)
    return replace(slow, world="live", server="Redis 8.2.3", runs=runs)


@pytest.fixture(scope="session")
def comparison(simulated: History, live: History) -> Comparison:
    return sim.compare(simulated, live)
