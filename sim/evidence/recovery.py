"""How long the backlog of a service took to be back where it was before faults."""

import numpy as np

from sim.declare.declared import Floats
from sim.declare.scenario import Scenario
from sim.evidence.history import Left, Rows, Run, of_kind

FAULTS_MAX = 10  # of one service: with more of them, as a random plan has, each alone says little


def backlog(rows: Rows, service: int) -> tuple[Floats, Floats]:
    """The sampled backlog of a service over time: times in seconds and entries, both of shape (samples,)."""
    sampled = of_kind(rows[rows["service"] == service], "sampled")
    return sampled["t_s"], sampled["value"]


def left_over(left: Left) -> int:
    """Entries that a service still had to settle when its run ended. Dead letters are settled."""
    return left.waiting + left.pending + left.retrying + left.delayed


def recovery_s(scenario: Scenario, run: Run, rows: Rows, service: int) -> float:
    """Seconds from the start of a service's first fault until its backlog was back at its level before the fault.

    The backlog is back when for one second (or from one sample to the next, if that is longer) no sample exceeds the
    largest sample before the fault, or when a run ends that left nothing. 0.0 where the backlog never rose above that
    level. NaN without a fault, or without samples before it. Infinite where the backlog never came back.
    """
    name = list(scenario.services)[service]
    start_s = min((fault.at_s for fault in scenario.faults if fault.hits(name, scenario)), default=np.nan)
    return _back_after_s(scenario, run, rows, service, start_s, start_s)


def recoveries_s(scenario: Scenario, run: Run, rows: Rows, service: int) -> dict[str, float]:
    """For each of several faults of a service the seconds from its end until the backlog was back.

    The level is that before the first fault; what is back, and which values there are beside numbers, is said by
    `recovery_s`. The name of each is that of a metric: `recovery_s_kill_0` is of the fault at place 0 of the scenario,
    a kill. A fault that never ends counts from its begin. Where the next fault comes before the backlog is back, its
    part is in the number too.
    """
    name = list(scenario.services)[service]
    faults = [(place, fault) for place, fault in enumerate(scenario.faults) if fault.hits(name, scenario)]
    if not 1 < len(faults) <= FAULTS_MAX:
        return {}
    first_s, found = min(fault.at_s for _, fault in faults), {}
    for place, fault in faults:
        over_s = fault.until_s if np.isfinite(fault.until_s) else fault.at_s
        back_s = _back_after_s(scenario, run, rows, service, first_s, over_s, at_once=True)
        found[f"recovery_s_{fault.kind}_{place}"] = back_s
    return found


def _back_after_s(
    scenario: Scenario, run: Run, rows: Rows, service: int, calm_until_s: float, from_s: float, *, at_once: bool = False
) -> float:
    """From `from_s` on, how long the backlog was above its level before `calm_until_s`.

    `at_once`: a backlog that is not above it at first was back already, whatever follows.
    """
    at_s, entries = backlog(rows, service)
    if np.isnan(from_s) or not np.any(at_s < calm_until_s):
        return np.nan
    above_s = at_s[(at_s >= from_s) & (entries > entries[at_s < calm_until_s].max())]
    quiet_s = max(1.0, 1.5 * scenario.sample_every_s)
    if not above_s.size or (at_once and above_s[0] - from_s > quiet_s):
        return 0.0
    quiet = np.flatnonzero(np.diff(above_s) > quiet_s)
    last_s = above_s[quiet[0]] if quiet.size else above_s[-1]
    later_s = at_s[at_s > last_s]
    if later_s.size:
        return float(later_s[0] - from_s)
    left = run.left[list(scenario.services)[service]]
    return np.inf if left_over(left) else run.ended_s - from_s
