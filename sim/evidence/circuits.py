"""How often the circuit breakers of a service opened, and for how long its consumers paused. Pure."""

import numpy as np

from sim.declare.scenario import Scenario
from sim.evidence.history import Rows, Run, of_kind
from sim.evidence.scaling import consumer_seconds


def circuit_metrics(
    prefix: str, scenario: Scenario, run: Run, rows: Rows, service: int, from_s: float
) -> dict[str, float]:
    """What circuit breakers did from a time of the run on. Nothing for a service without them.

    A consumer pauses from when its breaker opens until it closes; or until it dies, or the run ends.
    """
    if list(scenario.services.values())[service].circuit_breaker is None:
        return {}
    own = rows[rows["service"] == service]
    opened, ends = of_kind(own, "circuit_opened"), of_kind(own, "circuit_closed", "killed", "left")
    paused_s = 0.0
    for consumer in np.unique(opened["consumer"]):
        until_s = -np.inf
        for start_s in opened["t_s"][opened["consumer"] == consumer]:
            if start_s < until_s:  # it opened again without having closed
                continue
            later_s = ends["t_s"][(ends["consumer"] == consumer) & (ends["t_s"] > start_s)]
            until_s = float(later_s.min(initial=run.ended_s))
            paused_s += max(0.0, until_s - max(start_s, from_s))
    spent_s = consumer_seconds(scenario, run, rows, service, from_s)
    return {
        f"{prefix}circuit_opened": float(np.count_nonzero(opened["t_s"] >= from_s)),
        f"{prefix}paused": paused_s / spent_s if spent_s > 0 else np.nan,
    }
