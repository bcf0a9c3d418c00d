"""How far a calibrated simulation is from what the probes measured: what a prediction has to doubt of its own machine.

Resampling the calibration says how sure the samples are, and nothing of what the model of the machine gets wrong. That
is learned here, and becomes a part of every interval (Kennedy and O'Hagan, "Bayesian Calibration of Computer Models",
Journal of the Royal Statistical Society B 63(3), 2001).
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from sim.calibration import Calibration
from sim.evidence.history import History
from sim.evidence.metrics import Metrics, measure
from sim.worlds.simulated import simulate

_QUANTILES = ("p50", "p95")


def discrepancy(calibration: Calibration, histories: Sequence[History], idle: Sequence[str]) -> float:
    """The root mean square of ln(live / simulated) of the time that the machine adds, over what the probes show.

    What it adds is what is there beyond an infinitely fast machine. Services in `idle` show it in the quantiles of
    their lag. The others always have work: they show it in the time that a message takes them.
    """
    found = [
        ratio
        for history in histories
        for ratio in _ratios(
            measure(history),
            measure(simulate(history.scenario, [history.runs[0].seed], calibration=calibration)),
            measure(simulate(history.scenario, [history.runs[0].seed])),
            [name in idle for name in history.services],
            history.services,
        )
    ]
    return float(np.sqrt(np.mean(np.square(found)))) if found else 0.0


def _ratios(
    live: Metrics, simulated: Metrics, bare: Metrics, idle: Sequence[bool], services: Sequence[str]
) -> Iterator[float]:
    """The logarithms of what the machine adds live over what it adds in the simulation. `bare` is without a machine."""
    for name, is_idle in zip(services, idle, strict=True):
        for metric in [f"{name}.lag_s_{q}" for q in _QUANTILES] if is_idle else [f"{name}.throughput_per_s"]:
            seconds = [float(of[metric].mean()) for of in (live, simulated, bare)]
            if not is_idle:
                seconds = [1.0 / per_s for per_s in seconds]
            added, expected = seconds[0] - seconds[2], seconds[1] - seconds[2]
            if added > 0.0 and expected > 0.0:
                yield math.log(added / expected)
