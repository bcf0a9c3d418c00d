"""How many consumers a service was to have over time, and how long they were paid for. Pure."""

import numpy as np

from sim.declare.declared import Floats
from sim.declare.scenario import Scenario
from sim.evidence.history import Rows, Run, of_kind


def consumers_over_time(scenario: Scenario, rows: Rows, service: int) -> tuple[Floats, Floats]:
    """How many consumers a service was to have: from each of these times in seconds on, so many; shape (changes,) each.

    `rows` are those of one run. A consumer that a fault has taken out counts: it is paid for until it is back.
    """
    declared = list(scenario.services.values())[service]
    if declared.autoscale is None:
        return np.zeros(1), np.full(1, float(declared.consumers))
    scaled = of_kind(rows[rows["service"] == service], "scaled")
    if not scaled.size:  # a run without a record of it
        return np.zeros(1), np.full(1, float(declared.consumers_first))
    return np.asarray(scaled["t_s"]), np.asarray(scaled["value"])


def consumer_seconds(scenario: Scenario, run: Run, rows: Rows, service: int, from_s: float = 0.0) -> float:
    """The time of all consumers that a service was to have, from a time of the run to its end."""
    at_s, many = consumers_over_time(scenario, rows, service)
    ends_s = np.append(at_s[1:], run.ended_s)
    lengths_s = np.clip(ends_s, from_s, run.ended_s) - np.clip(at_s, from_s, run.ended_s)
    return float((lengths_s * many).sum())


def scaling_metrics(
    prefix: str, scenario: Scenario, run: Run, rows: Rows, service: int, from_s: float
) -> dict[str, float]:
    """What a service cost that is scaled by a rule, from a time of the run on. Nothing for others."""
    if list(scenario.services.values())[service].autoscale is None:
        return {}
    at_s, many = consumers_over_time(scenario, rows, service)
    spent_s, length_s = consumer_seconds(scenario, run, rows, service, from_s), run.ended_s - from_s
    later = many[np.append(at_s[1:], np.inf) > from_s]
    return {
        f"{prefix}consumers_mean": spent_s / length_s if length_s > 0 else np.nan,
        f"{prefix}consumers_max": float(later.max()) if later.size else np.nan,
        f"{prefix}consumer_hours": spent_s / 3600.0,
    }
