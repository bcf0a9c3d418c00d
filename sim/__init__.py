"""One scenario, two worlds: simulate an event-driven system, run it for real on Redis, and measure the difference.

Declare
    Scenario
Run
    simulate, run_live, Overheads
Evidence
    History, measure, summarize, check
Infer
    calibrate, compare
All errors
    SimError
One by one
    InvalidScenario, InvalidTrace, InvalidHistory, LiveRunFailed
"""

from sim.calibrate import calibrate
from sim.checks import check
from sim.compare import compare
from sim.errors import InvalidHistory, InvalidScenario, InvalidTrace, LiveRunFailed, SimError
from sim.history import History
from sim.live import run_live
from sim.metrics import measure, summarize
from sim.model import Overheads, simulate
from sim.scenario import Scenario

__all__ = [
    "History",
    "InvalidHistory",
    "InvalidScenario",
    "InvalidTrace",
    "LiveRunFailed",
    "Overheads",
    "Scenario",
    "SimError",
    "calibrate",
    "check",
    "compare",
    "measure",
    "run_live",
    "simulate",
    "summarize",
]
