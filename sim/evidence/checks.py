"""Verdicts on a history: each claim about what must never happen is true, false or unknown, with its reason.

Pure functions of the rows, in the manner of Jepsen: they do not know which world wrote the history.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from eventlib.policy import Retry
from sim.declare.declared import Floats
from sim.declare.scenario import Scenario
from sim.evidence.capacity import Overload, overloads
from sim.evidence.history import BLOCKED_S, History, Left, Rows, Run, of_kind
from sim.evidence.instrument import LATE_S, lateness_s_p99, oversleep_s, sent_late
from sim.evidence.metrics import count, dead_letters
from sim.evidence.recovery import left_over
from sim.evidence.requests import HEARD_S, requests_of
from sim.evidence.sagas import half_done, services_with_sagas
from sim.evidence.turns import passed_by, queues_of
from sim.wording import runs_in_words

Verdict = Literal["true", "false", "unknown"]
Counts = Mapping[str, tuple[int, int]]  # by rule: how many messages break it, and how many could
Messages = npt.NDArray[np.int64]  # numbers of messages, one for each row

_TURNS = "turns"
_ON_TIME, _DRAINED = "generator_on_time", "pending"  # false, these make a run invalid; they break no promise
_PLACES_MAX = 5  # more are not listed


@dataclass(frozen=True, slots=True)
class Check:
    """One claim, its verdict and the numbers behind it. `violations` counts the messages (of turns: the
    priorities and tenants) that break the claim."""

    name: str
    claim: str
    verdict: Verdict
    detail: str
    violations: int = 0


def check(history: History) -> list[Check]:
    """Judge a history. A claim is true if it is true of every run and service."""
    judged = [*judge_rules(_counted(history)), *_nothing_starves(history)]
    judged += _sagas_whole(history)
    if history.world == "live" and any(service.app for service in history.scenario.services.values()):
        judged += [_loop_free(history), _stays_alive(history), _nothing_left_running(history)]
    if history.scenario.callers is not None:
        judged.append(_replies_heard(history))
    return [*judged, drained(history.runs, overloads(history)), _generator_on_time(history)]


def broken(checks: Iterable[Check]) -> list[Check]:
    """The promises that the system did not keep."""
    return [check for check in checks if check.verdict == "false" and check.name not in (_ON_TIME, _DRAINED)]


def invalid(checks: Iterable[Check]) -> list[Check]:
    """The checks that make a run invalid: its load was late, or its backlog was not worked off in time."""
    return [check for check in checks if check.verdict == "false" and check.name in (_ON_TIME, _DRAINED)]


def generator_late(checks: Iterable[Check]) -> Check | None:
    """The check that found the generator late: then the times of the run do not count. None where it was on time."""
    return next((check for check in invalid(checks) if check.name == _ON_TIME), None)


def not_drained(checks: Iterable[Check]) -> Check | None:
    """The check that found something left to do at the end: then the run was too short for its load."""
    return next((check for check in invalid(checks) if check.name == _DRAINED), None)


def verdict_of_all(verdicts: Iterable[Verdict]) -> Verdict:
    """False if one is false, true if all are true, otherwise unknown."""
    found = set(verdicts)
    if "false" in found:
        return "false"
    return "true" if found == {"true"} else "unknown"


# Each rule counts its violations among the messages of one service in one run


@dataclass(frozen=True, slots=True)
class _Case:
    """What one service was given and what it did, in one run."""

    scenario: Scenario
    service: str
    rows: Rows  # of the service
    sent: Messages  # whether or not the server acknowledged it
    published: Messages  # acknowledged by the server
    handled: Messages
    dead: Messages
    left: int  # entries that the server still had at the end


@dataclass(frozen=True, slots=True)
class _Rule:
    """A claim, and the function that counts violations of it, and the messages that could have violated it."""

    name: str
    claim: str
    violations: Callable[[_Case], tuple[int, int]]
    without_messages: Verdict = "unknown"


def _lost(case: _Case) -> tuple[int, int]:
    published = np.unique(case.published)
    missing = int((~np.isin(published, np.concatenate((case.handled, case.dead)))).sum())
    return max(0, missing - case.left), published.size


def _unexpected(case: _Case) -> tuple[int, int]:
    settled = np.unique(np.concatenate((case.handled, case.dead)))
    return int((~np.isin(settled, case.sent)).sum()), settled.size


def _unexplained(case: _Case) -> tuple[int, int]:
    """A message that was handled twice must have been sent twice, or delivered again: then its attempt is a later one.

    A second delivery is expected when a consumer dies, or loses its lease, after the handler returned and before the
    server knew.
    """
    numbers, times = np.unique(case.handled, return_counts=True)
    unexplained = 0
    for number, handled in zip(numbers[times > 1], times[times > 1], strict=True):
        started = of_kind(case.rows[case.rows["message"] == number], "started")
        redelivered = np.unique(started["attempt"]).size - 1
        sent_again = int((case.sent == number).sum()) - 1
        unexplained += int(handled) - 1 > redelivered + sent_again
    return unexplained, int((times > 1).sum())


def _beyond_policy(case: _Case) -> tuple[int, int]:
    service = case.scenario.services[case.service]
    if service.saga is None:
        return _beyond(of_kind(case.rows, "started"), service.retry)
    beyond, tried = 0, 0
    for (at, act), retry in service.saga.retries(service.retry).items():
        begun = of_kind(case.rows, "step_started" if act == "do" else "undo_started")
        of_act = _beyond(begun[begun["value"] == at], retry)
        beyond, tried = beyond + of_act[0], tried + of_act[1]
    return beyond, tried


def _beyond(started: Rows, retry: Retry) -> tuple[int, int]:
    attempt = started["attempt"]
    return int(((attempt < 1) | (attempt > retry.attempts)).sum()), attempt.size


def _unbalanced(case: _Case) -> tuple[int, int]:
    published = np.unique(case.published)
    settled = np.unique(np.concatenate((case.handled, case.dead)))
    return max(0, published.size - int(np.isin(published, settled).sum()) - case.left), published.size


_RULES = (
    _Rule("lost", "Every acknowledged publish was handled, dead-lettered or is still there", _lost),
    _Rule("unexpected", "Nothing was handled that was never sent", _unexpected),
    _Rule("duplicates_explained", "Every message handled twice had been delivered again", _unexplained, "true"),
    _Rule("attempts_within_policy", "No message was tried more often than its retry policy allows", _beyond_policy),
    _Rule("balanced", "As many messages were settled, or are still there, as acknowledged publishes", _unbalanced),
)


def judge_rules(found: Iterable[tuple[str, Counts]]) -> list[Check]:
    """Judge what was counted of each service in each run, with the place that it has in words."""
    violations, messages, places = [0 for _ in _RULES], [0 for _ in _RULES], [list[str]() for _ in _RULES]
    for place, counts in found:
        for number, rule in enumerate(_RULES):
            broken, of = counts[rule.name]
            violations[number] += broken
            messages[number] += of
            if broken:
                places[number].append(f"{place}: {broken}")
    return list(map(_verdict, _RULES, violations, messages, places))


def _counted(history: History) -> Iterator[tuple[str, Counts]]:
    for index, (run, rows) in enumerate(history.each_run()):
        for service in history.services:
            case = _case(history, run, rows, service)
            yield place_of(service, index, run), {rule.name: rule.violations(case) for rule in _RULES}


def _verdict(rule: _Rule, violations: int, messages: int, places: Sequence[str]) -> Check:
    if not messages and rule.without_messages == "unknown":
        return Check(rule.name, rule.claim, "unknown", "no case: nothing was published")
    detail = f"{violations:,} of {messages:,}" + (f"; {_listed(places)}" if places else "")
    return Check(rule.name, rule.claim, "false" if violations else "true", detail, violations)


def _case(history: History, run: Run, rows: Rows, service: str) -> _Case:
    event = history.events.index(history.scenario.services[service].consumes)
    of_event = rows[rows["event"] == event]
    own = rows[rows["service"] == history.services.index(service)]
    left = run.left[service]
    return _Case(
        history.scenario,
        service,
        own[own["event"] == event],
        sent=of_kind(of_event, "sent")["message"],
        published=of_kind(of_event, "published")["message"],
        handled=of_kind(own, "handled")["message"],
        dead=of_kind(own, "dead")["message"],
        left=left_over(left) + dead_letters(own, [left]).unrecorded,
    )


def drained(runs: Sequence[Run], overloaded: Iterable[Overload]) -> Check:
    """Whether runs left nothing to do. Where they did, `overloaded` says why."""
    claim = "Nothing was left waiting, pending or delayed at the end"
    places = [
        f"{place_of(service, index, run)}: {_in_words(left)}"
        for index, run in enumerate(runs)
        for service, left in run.left.items()
        if left_over(left)
    ]
    if places:
        places = [*places[:_PLACES_MAX], *(overload.in_words() for overload in overloaded)]
    detail = "; ".join(places) if places else f"0 in {runs_in_words(len(runs))}"
    return Check(_DRAINED, claim, "false" if places else "true", detail)


def _in_words(left: Left) -> str:
    """What is left, such as "12 left (10 waiting, 2 pending)"."""
    states = [(number, state) for state, number in asdict(left).items() if number and state != "dead"]
    return f"{left_over(left):,} left ({', '.join(f'{number:,} {state}' for number, state in states)})"


def _nothing_starves(history: History) -> list[Check]:
    """The check of the turns that priorities and tenants take. None where no queue promises any."""
    claim = "No waiting task of a queue was passed by more dispatches than its weight allows"
    bounds = {
        (name, part): allowed
        for name, queue in queues_of(history).items()
        for part, allowed in queue.bounds().items()
        if allowed is not None
    }
    most: dict[tuple[str, str], float] = {}
    for name in dict.fromkeys(name for name, _ in bounds):
        for run, rows in history.each_run():
            for part, by in passed_by(history.scenario, run, rows, history.services.index(name)).items():
                if (name, part) in bounds and not np.isnan(by):
                    most[name, part] = max(by, most.get((name, part), 0.0))
    if not most:
        return [Check(_TURNS, claim, "unknown", "no case: no task was dispatched")] if bounds else []
    detail = ", ".join(f"{'.'.join(of)} by {by:.0f} of {bounds[of]} allowed" for of, by in most.items())
    beyond = sum(by > bounds[of] for of, by in most.items())
    return [Check(_TURNS, claim, "false" if beyond else "true", detail, beyond)]


def _sagas_whole(history: History) -> list[Check]:
    """The check of sagas. None where there are no sagas."""
    claim = "Every saga did all its steps, or undid what was done in reverse order, or is parked: none is half done"
    scenario, broken, total, places = history.scenario, 0, 0, []
    for code, name in services_with_sagas(scenario):
        for index, (run, rows) in enumerate(history.each_run()):
            found, of = half_done(scenario, run, rows, code)
            broken, total = broken + found, total + of
            if found:
                places.append(f"{place_of(name, index, run)}: {found}")
    if not total:
        detail = "no case: no saga was started"
        return [Check("sagas_whole", claim, "unknown", detail)] if any(services_with_sagas(scenario)) else []
    detail = "; ".join((f"{broken:,} of {total:,}", *places[:_PLACES_MAX]))
    return [Check("sagas_whole", claim, "false" if broken else "true", detail, broken)]


def _loop_free(history: History) -> Check:
    claim = "No own handler held the event loop for so long that a lease could not be renewed in time"
    blocked = of_kind(history.rows, "blocked")
    if not blocked.size:
        return Check("loop_free", claim, "true", f"none held it for {BLOCKED_S * 1000:.0f} ms at a time")
    services = list(history.scenario.services.values())
    allowed_s = np.array([services[code].lease.renew_every_s for code in blocked["service"]])
    beyond = int(np.count_nonzero(blocked["value"] >= allowed_s))
    row = blocked[np.argmax(blocked["value"])]
    place = place_of(history.services[row["service"]], int(row["run"]), history.runs[row["run"]])
    detail = f"the longest time was {row['value']:.3g} s, {place}; all else of that consumer stood still"
    return Check("loop_free", claim, "false" if beyond else "true", detail, beyond)


def _stays_alive(history: History) -> Check:
    claim = "No own handler called sys.exit(), which fails its attempt"
    exited = of_kind(history.rows, "exited")
    found = [
        f"{name}: {n:,}" for code, name in enumerate(history.services) if (n := int((exited["service"] == code).sum()))
    ]
    detail = f"{exited.size:,} attempts did" + (f"; {_listed(found)}" if found else "")
    return Check("no_exit", claim, "false" if found else "true", detail, exited.size)


def _nothing_left_running(history: History) -> Check:
    claim = "No task that own handlers had started still ran when its consumer stopped"
    leaked = of_kind(history.rows, "leaked")
    found = [
        f"{place_of(history.services[row['service']], int(row['run']), history.runs[row['run']])}: {row['value']:.0f}"
        for row in leaked
    ]
    total = int(leaked["value"].sum())
    detail = f"{total:,} did" + (
        f"; {_listed(found)}; await them, or cancel them, before the handler returns" if found else ""
    )
    return Check("no_task_left", claim, "false" if found else "true", detail, total)


def _replies_heard(history: History) -> Check:
    claim = f"Every caller got each reply that was there {HEARD_S * 1000:.0f} ms before its time was over"
    found = [requests_of(history.scenario, run, rows) for run, rows in history.each_run()]
    answerable, lost, after_return = (
        sum(int(np.count_nonzero(of)) for of in every)
        for every in (
            [one.answerable for one in found],
            [one.lost for one in found],
            [one.replied & (one.asked > 1) for one in found],
        )
    )
    detail = f"{lost:,} missed of {answerable:,}; {after_return:,} were found by a caller that came back"
    if not answerable:
        return Check("replies_heard", claim, "unknown", "no case: no reply came in time")
    return Check("replies_heard", claim, "false" if lost else "true", detail, lost)


def _generator_on_time(history: History) -> Check:
    late_s = [p99 for _, rows in history.each_run() if not np.isnan(p99 := lateness_s_p99(rows))]
    late, skipped = sent_late(history.rows), count(history.rows, "skipped")
    return on_time(late_s, late, skipped, oversleep_s(history.scenario, history.rows))


def on_time(late_s: Sequence[float], late: int, skipped: int, slept_s: Floats) -> Check:
    """Whether the load was sent in time: `late_s` has the p99 lateness of each run that sent something."""
    claim = f"The load was sent when it was meant to be (p99 lateness under {LATE_S * 1000:.0f} ms)"
    if not late_s and not skipped:
        return Check(_ON_TIME, claim, "unknown", "nothing was sent")
    worst_s = max(late_s, default=np.inf)
    detail = (
        f"p99 {worst_s * 1000:.2f} ms in the worst of {runs_in_words(len(late_s))}" if late_s else "nothing was sent"
    )
    if late:
        detail += f"; {late:,} messages were sent that late or later"
    if skipped:
        detail += f"; {skipped:,} were not sent at all before the run was over"
    if slept_s.size:
        median_ms, p99_ms = np.quantile(slept_s, (0.5, 0.99)) * 1000
        detail += f"; handlers slept {median_ms:.2f} ms (p99 {p99_ms:.2f} ms) longer than asked"
    if worst_s >= LATE_S or skipped:
        detail += "; such a run is invalid: lower the rate, or end other programs"
        return Check(_ON_TIME, claim, "false", detail, late + skipped)
    return Check(_ON_TIME, claim, "true", detail)


def place_of(service: str, index: int, run: Run) -> str:
    """A service in the run of this number, in words."""
    return f"{service} in run {index} (seed {run.seed})"


def _listed(places: Sequence[str]) -> str:
    return "; ".join(places[:_PLACES_MAX])
