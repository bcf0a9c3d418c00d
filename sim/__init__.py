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

from eventlib.extras import needs_extra

with needs_extra("workbench", "sim"):
    from sim.declare.scenario import Scenario
    from sim.errors import InvalidHistory, InvalidScenario, InvalidTrace, LiveRunFailed, SimError
    from sim.evidence.checks import check
    from sim.evidence.history import History
    from sim.evidence.metrics import measure, summarize
    from sim.infer.calibrate import calibrate
    from sim.infer.compare import compare
    from sim.worlds.live import run_live
    from sim.worlds.simulated import Overheads, simulate

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
