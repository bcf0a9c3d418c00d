"""How long the backlog of a service took to be back where it was before faults."""

from dataclasses import dataclass

import numpy as np

from sim.declare.declared import Floats
from sim.declare.scenario import Scenario
from sim.evidence.history import Left, Rows, Run, of_kind

LEVEL_S = 5.0  # for so long before a fault its level is looked at: a spike of the load long before is none
FAULTS_MAX = 10  # of one service: with more of them, as a random plan has, each alone says little


def backlog(rows: Rows, service: int) -> tuple[Floats, Floats]:
    """The sampled backlog of a service over time: times in seconds and entries, both of shape (samples,)."""
    sampled = of_kind(rows[rows["service"] == service], "sampled")
    return sampled["t_s"], sampled["value"]


def left_over(left: Left) -> int:
    """Entries that a service still had to settle when its run ended. Dead letters are settled."""
    return left.waiting + left.pending + left.retrying + left.delayed


@dataclass(frozen=True, slots=True)
class Question:
    """From `from_s` on, for how long was the backlog above its level just before `calm_until_s`?

    `at_once`: a backlog that is not above it at first was back already, whatever follows.
    """

    calm_until_s: float
    from_s: float
    at_once: bool = False


def questions(scenario: Scenario, name: str) -> dict[str, Question]:
    """What is asked of a service's recovery, by the name of the metric: of its first fault, and of each of several.

    `recovery_s_kill_0` is of the fault at place 0 of the scenario, a kill.
    """
    faults = [(place, fault) for place, fault in enumerate(scenario.faults) if fault.hits(name, scenario)]
    first_s = min((fault.at_s for _, fault in faults), default=np.nan)
    found = {"recovery_s": Question(first_s, first_s)}
    if not 1 < len(faults) <= FAULTS_MAX:
        return found
    for place, fault in faults:
        over_s = fault.until_s if np.isfinite(fault.until_s) else fault.at_s
        found[f"recovery_s_{fault.kind}_{place}"] = Question(first_s, over_s, at_once=True)
    return found


def recovery_s(scenario: Scenario, run: Run, rows: Rows, service: int) -> float:
    """Seconds from the start of a service's first fault until its backlog was back at its level before the fault.

    The backlog is back when for one second (or from one sample to the next, if that is longer) no sample exceeds the
    largest one of the five seconds (or ten samples) before the fault, or when a run ends that left nothing. 0.0 where
    the backlog never rose above that level. NaN without a fault, or without samples before it. Infinite where the
    backlog never came back.
    """
    name = list(scenario.services)[service]
    return _answered(scenario, run, rows, service, questions(scenario, name)["recovery_s"])


def recoveries_s(scenario: Scenario, run: Run, rows: Rows, service: int) -> dict[str, float]:
    """For each of several faults of a service the seconds from its end until the backlog was back.

    The level is that before the first fault; what is back, and which values there are beside numbers, is said by
    `recovery_s`. A fault that never ends counts from its begin. Where the next fault comes before the backlog is back,
    its part is in the number too.
    """
    asked = questions(scenario, list(scenario.services)[service])
    return {
        metric: _answered(scenario, run, rows, service, question)
        for metric, question in asked.items()
        if metric != "recovery_s"
    }


def _answered(scenario: Scenario, run: Run, rows: Rows, service: int, question: Question) -> float:
    found = Recovery(question, scenario.sample_every_s)
    found.add(*backlog(rows, service))
    return found.took_s(run.ended_s, left_over(run.left[list(scenario.services)[service]]))


class Recovery:
    """What is asked of a recovery, answered while looks at the backlog come."""

    def __init__(self, question: Question, every_s: float) -> None:
        self._asked = question
        self._quiet_s = max(1.0, 1.5 * every_s)
        self._level_from_s = question.calm_until_s - max(LEVEL_S, 10.0 * every_s)
        self._level = -np.inf  # before the fault; there is none without a look then
        self._first_above_s = self._last_above_s = self._back_s = np.nan

    def add(self, at_s: Floats, entries: Floats) -> None:
        """Looks that follow the last ones, both of shape (looks,)."""
        asked = self._asked
        before = (at_s >= self._level_from_s) & (at_s < asked.calm_until_s)
        self._level = float(np.maximum(self._level, entries[before].max(initial=-np.inf)))
        self._note(at_s[(at_s >= asked.from_s) & (entries > self._level)])
        later_s = at_s[at_s > self._last_above_s]
        if np.isnan(self._back_s) and later_s.size:
            self._back_s = float(later_s[0])

    def _note(self, above_s: Floats) -> None:
        """The times of looks at which the backlog was above its level."""
        if not above_s.size:
            return
        if np.isnan(self._first_above_s):
            self._first_above_s = float(above_s[0])
        else:
            above_s = np.append(self._last_above_s, above_s)
        quiet = np.flatnonzero(np.diff(above_s) > self._quiet_s)
        last_s = float(above_s[quiet[0]] if quiet.size else above_s[-1])
        if last_s != self._last_above_s:
            self._last_above_s, self._back_s = last_s, np.nan

    def took_s(self, ended_s: float, left: int) -> float:
        """The answer, for a run that ended then and left so many entries. See `recovery_s`."""
        asked = self._asked
        if np.isnan(asked.from_s) or np.isneginf(self._level):
            return np.nan
        late = asked.at_once and self._first_above_s - asked.from_s > self._quiet_s
        if np.isnan(self._first_above_s) or late:
            return 0.0
        if not np.isnan(self._back_s):
            return self._back_s - asked.from_s
        return np.inf if left else ended_s - asked.from_s
