"""One scenario, two worlds: simulate an event-driven system, run it for real on Redis, and measure the difference.

Declare
    Scenario
Run
    simulate, simulate_metrics, run_live, Calibration
Evidence
    History, measure, summarize, check
Infer
    calibrate, calibration_at, learn_services, predict, Prediction, compare, compare_kept, fidelity
Ask
    sweep, Sweep, plan, CapacityPlan, explore
All errors
    SimError
One by one
    InvalidScenario, InvalidTrace, InvalidHistory, InvalidCalibration, InvalidPrediction, CalibrationFailed,
    LiveRunFailed, SweepFailed
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # for type checkers and editors; at run time `__getattr__` imports these
    __version__: str
    from sim.calibration import Calibration
    from sim.declare.scenario import Scenario
    from sim.errors import (
        CalibrationFailed,
        InvalidCalibration,
        InvalidHistory,
        InvalidPrediction,
        InvalidScenario,
        InvalidTrace,
        LiveRunFailed,
        SimError,
        SweepFailed,
    )
    from sim.evidence.checks import check
    from sim.evidence.history import History
    from sim.evidence.metrics import measure, summarize
    from sim.infer.calibrate import calibrate, calibration_at
    from sim.infer.compare import compare
    from sim.infer.fidelity import fidelity
    from sim.infer.kept import compare_kept
    from sim.infer.own_services import learn_services
    from sim.infer.planned import CapacityPlan
    from sim.infer.planning import plan
    from sim.infer.predict import predict
    from sim.infer.prediction import Prediction
    from sim.infer.sweep import sweep
    from sim.infer.swept import Sweep
    from sim.show.explore import explore
    from sim.worlds.live import run_live
    from sim.worlds.simulated import simulate, simulate_metrics

__all__ = [
    "Calibration",
    "CalibrationFailed",
    "CapacityPlan",
    "History",
    "InvalidCalibration",
    "InvalidHistory",
    "InvalidPrediction",
    "InvalidScenario",
    "InvalidTrace",
    "LiveRunFailed",
    "Prediction",
    "Scenario",
    "SimError",
    "Sweep",
    "SweepFailed",
    "calibrate",
    "calibration_at",
    "check",
    "compare",
    "compare_kept",
    "explore",
    "fidelity",
    "learn_services",
    "measure",
    "plan",
    "predict",
    "run_live",
    "simulate",
    "simulate_metrics",
    "summarize",
    "sweep",
]

_MODULES = {
    "sim.calibration": ["Calibration"],
    "sim.declare.scenario": ["Scenario"],
    "sim.errors": [
        "CalibrationFailed",
        "InvalidCalibration",
        "InvalidHistory",
        "InvalidPrediction",
        "InvalidScenario",
        "InvalidTrace",
        "LiveRunFailed",
        "SimError",
        "SweepFailed",
    ],
    "sim.evidence.checks": ["check"],
    "sim.evidence.history": ["History"],
    "sim.evidence.metrics": ["measure", "summarize"],
    "sim.infer.calibrate": ["calibrate", "calibration_at"],
    "sim.infer.compare": ["compare"],
    "sim.infer.fidelity": ["fidelity"],
    "sim.infer.kept": ["compare_kept"],
    "sim.infer.own_services": ["learn_services"],
    "sim.infer.planned": ["CapacityPlan"],
    "sim.infer.planning": ["plan"],
    "sim.infer.predict": ["predict"],
    "sim.infer.prediction": ["Prediction"],
    "sim.infer.sweep": ["sweep"],
    "sim.infer.swept": ["Sweep"],
    "sim.show.explore": ["explore"],
    "sim.worlds.live": ["run_live"],
    "sim.worlds.simulated": ["simulate", "simulate_metrics"],
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: importing NumPy, pandas, SciPy and SimPy takes seconds."""
    if name == "__version__":
        from importlib.metadata import version

        return version("event-workbench")
    for module, names in _MODULES.items():
        if name in names:
            from eventlib.extras import needs_extra

            with needs_extra("workbench", "sim"):
                found: object = getattr(import_module(module), name)
            globals()[name] = found
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
