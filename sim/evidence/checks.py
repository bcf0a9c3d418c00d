"""Verdicts on a history: each claim about what must never happen is true, false, or unknown, with its reason.

Pure functions of the rows, in the manner of Jepsen: they know nothing of how the history came about.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from sim.declare.scenario import Scenario
from sim.evidence.history import KIND, History, Rows, Run
from sim.evidence.metrics import LATE_S, lateness_s

Verdict = Literal["true", "false", "unknown"]


@dataclass(frozen=True, slots=True)
class Check:
    """One claim, its verdict and the numbers behind it."""

    name: str
    claim: str
    verdict: Verdict
    detail: str


@dataclass(frozen=True, slots=True)
class Claim:
    """Something said of the library, what was measured of it, and how."""

    claim: str
    measured: str
    verdict: Verdict
    how: str


def check(history: History) -> list[Check]:
    """Judge a history; a claim holds if it holds for every run and service."""
    done = [_judge(history, name, claim, count) for name, (claim, count) in _COUNTS.items()]
    return [*done, _pending(history), _generator_on_time(history)]


def passed(checks: Iterable[Check]) -> bool:
    """Nothing that must never happen did. A late generator makes a run invalid, but is no fault of the system's."""
    return all(check.verdict != "false" for check in checks if check.name != "generator_on_time")


# Each counts violations among the rows of one service in one run, of so many cases.


@dataclass(frozen=True, slots=True)
class _Case:
    """What one service was given and what it did, in one run. Keys are message numbers, one for each row."""

    scenario: Scenario
    service: str
    rows: Rows  # of the service
    published: npt.NDArray[np.int64]
    attempted: npt.NDArray[np.int64]  # sent, whether or not the server said so
    handled: npt.NDArray[np.int64]
    dead: npt.NDArray[np.int64]
    left: int  # entries that the server still had at the end


def _lost(case: _Case) -> tuple[int, int]:
    published = np.unique(case.published)
    missing = int((~np.isin(published, np.concatenate((case.handled, case.dead)))).sum())
    return max(0, missing - case.left), published.size


def _unexpected(case: _Case) -> tuple[int, int]:
    settled = np.unique(np.concatenate((case.handled, case.dead)))
    return int((~np.isin(settled, case.attempted)).sum()), settled.size


def _unexplained(case: _Case) -> tuple[int, int]:
    """A message handled more often than it was sent needs that many redeliveries: later attempts than its first.

    A consumer that died, or lost its claim, after the handler returned and before the server knew, is the rule.
    """
    numbers, times = np.unique(case.handled, return_counts=True)
    extra = numbers[times > 1]
    unexplained = 0
    for number in extra:
        own = case.rows[case.rows["message"] == number]
        redelivered = np.unique(own["attempt"][own["kind"] == KIND["started"]]).size - 1
        copies = int((case.attempted == number).sum()) - 1
        unexplained += int((case.handled == number).sum()) - 1 > redelivered + copies
    return unexplained, extra.size


def _beyond_policy(case: _Case) -> tuple[int, int]:
    started = case.rows["attempt"][case.rows["kind"] == KIND["started"]]
    allowed = case.scenario.services[case.service].retry.attempts
    return int(((started < 1) | (started > allowed)).sum()), started.size


def _unbalanced(case: _Case) -> tuple[int, int]:
    published = np.unique(case.published)
    settled = np.unique(np.concatenate((case.handled, case.dead)))
    return published.size - int(np.isin(published, settled).sum()), published.size


_COUNTS: dict[str, tuple[str, Callable[[_Case], tuple[int, int]]]] = {
    "lost": ("Every acknowledged publish was handled, dead-lettered or is still there", _lost),
    "unexpected": ("Nothing was handled that was never sent", _unexpected),
    "duplicates_explained": ("Every message handled twice had been delivered again", _unexplained),
    "attempts_within_policy": ("No message was tried more often than its retry policy allows", _beyond_policy),
    "balanced": ("As many messages were settled as acknowledged publishes", _unbalanced),
}


def _judge(history: History, name: str, claim: str, count: Callable[[_Case], tuple[int, int]]) -> Check:
    violations, cases, places = 0, 0, []
    for index, (run, rows) in enumerate(history.each_run()):
        for service in history.services:
            found, of = count(_case(history, run, rows, service))
            violations += found
            cases += of
            if found:
                places.append(f"{service} in run {index} (seed {run.seed}): {found}")
    if not cases and name not in ("duplicates_explained",):
        return Check(name, claim, "unknown", "no case: nothing was published")
    detail = f"{violations:,} of {cases:,}" + (f"; {'; '.join(places[:5])}" if places else "")
    return Check(name, claim, "false" if violations else "true", detail)


def _case(history: History, run: Run, rows: Rows, service: str) -> _Case:
    left = run.left[service]
    code = history.services.index(service)
    event = history.events.index(history.scenario.services[service].consumes)
    own = rows[rows["service"] == code]
    of_event = rows[rows["event"] == event]
    return _Case(
        history.scenario,
        service,
        own[own["event"] == event],
        of_event["message"][of_event["kind"] == KIND["published"]],
        of_event["message"][of_event["kind"] == KIND["sent"]],
        own["message"][own["kind"] == KIND["handled"]],
        own["message"][own["kind"] == KIND["dead"]],
        # A consumer killed between burying and noting so leaves a dead letter that nobody noted.
        left.waiting
        + left.pending
        + left.retrying
        + left.delayed
        + max(0, left.dead - int(np.sum(own["kind"] == KIND["dead"]))),
    )


def _pending(history: History) -> Check:
    claim = "Nothing was left waiting, pending or delayed at the end"
    left = [
        f"{service} in run {index} (seed {run.seed}): {counts}"
        for index, run in enumerate(history.runs)
        for service, counts in run.left.items()
        if counts.waiting or counts.pending or counts.retrying or counts.delayed
    ]
    detail = "; ".join(left[:5]) if left else f"0 in {len(history.runs)} runs"
    return Check("pending", claim, "false" if left else "true", detail)


def _generator_on_time(history: History) -> Check:
    claim = f"The load was sent when it was meant to be (p99 lateness under {LATE_S * 1000:.0f} ms)"
    late = [float(np.quantile(lateness_s(rows), 0.99)) for _, rows in history.each_run() if lateness_s(rows).size]
    if not late:
        return Check("generator_on_time", claim, "unknown", "nothing was sent")
    worst = max(late)
    detail = f"p99 {worst * 1000:.2f} ms in the worst of {len(late)} runs"
    if worst >= LATE_S:
        return Check("generator_on_time", claim, "false", detail + "; such a run is invalid: lower the rate")
    return Check("generator_on_time", claim, "true", detail)
