"""The verdict of a report: one sentence that can be quoted, and how many claims, checks and predictions hold."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sim.evidence.checks import Check, broken, generator_late, invalid, not_drained, verdict_of_all
from sim.evidence.claims import Row as ClaimRow
from sim.evidence.expectations import Judged, Outcome
from sim.infer.compare import Comparison
from sim.show.wording import counted, percent

State = Literal["true", "false", "unknown", "invalid"]


@dataclass(frozen=True, slots=True)
class Sentence:
    """The verdict: `mark` says it in a few words, `text` is the sentence to quote."""

    state: State
    mark: str
    text: str


def verdict(comparisons: Sequence[Comparison], claims: Sequence[ClaimRow]) -> Sentence:
    """What the comparisons and claims come to. A run that is invalid makes the whole report invalid."""
    if not comparisons:
        return Sentence("unknown", "Not known", "Nothing was compared.")
    state, mark = state_of(_checks(comparisons), comparisons, claims)
    delivered, delivery = _delivery(comparisons)
    reason = invalid_run(comparisons)
    good, rest = (False, reason) if reason else _lag(comparisons)
    return Sentence(state, mark, f"{delivery}, {'and' if good == delivered else 'but'} {rest}.")


def state_of(
    checks: Sequence[Check],
    comparisons: Sequence[Comparison] = (),
    claims: Sequence[ClaimRow] = (),
    judged: Sequence[Judged] = (),
) -> tuple[State, str]:
    """What checks, predictions, claims and expectations come to, and the reason in a few words.

    A broken promise of delivery counts whatever else there is. So does an expectation that fails, unless the load was
    late: then the numbers are those of the generator. In an invalid run nothing else counts.
    """
    if found := broken(checks):
        return "false", f"{counted(len(found), 'check').capitalize()} found false"
    if (failed := _outcomes(judged).count("fails")) and generator_late(checks) is None:
        return "false", f"{counted(failed, 'expectation').capitalize()} failed"
    if invalid(checks):
        return "invalid", "Invalid run"
    if number := sum(claim.verdict == "false" for claim in claims):
        return "false", f"{counted(number, 'claim').capitalize()} found false"
    lags = [comparison.headline.verdict for comparison in comparisons]
    if "outside" in lags:
        return "false", "The simulated lag is outside the tolerance"
    if "too noisy" in lags:
        return "unknown", "Too noisy to tell whether the simulated lag is right"
    verdicts = [*(check.verdict for check in checks), *(claim.verdict for claim in claims), *lags]
    if number := verdicts.count("unknown"):
        return "unknown", f"Nothing found false, {number} unknown"
    if number := sum(one.immeasurable for one in judged):
        return "unknown", f"{counted(number, 'expectation').capitalize()} cannot be told: no run has such a number"
    if number := _outcomes(judged).count("cannot tell"):
        return "unknown", f"{counted(number, 'expectation').capitalize()} cannot be told from so few runs"
    kinds = [word for word, among in (("check", checks), ("claim", claims), ("expectation", judged)) if among]
    holds = f"Every {' and '.join(kinds)} holds" if kinds else "Every check holds"
    not_built = sum(claim.verdict == "not built" for claim in claims)
    return "true", f"{holds}, {not_built} claims are about what is not built" if not_built else holds


def _outcomes(judged: Sequence[Judged]) -> list[Outcome]:
    return [one.outcome for one in judged]


def invalid_run(comparisons: Sequence[Comparison]) -> str | None:
    """Why the times of a run do not count; None where all count."""
    if late := [one.live.scenario.name for one in comparisons if generator_late(one.checks)]:
        return f"the times do not count, because the load was sent too late in {' and '.join(late)}"
    if undrained := [one.live.scenario.name for one in comparisons if not_drained(one.checks)]:
        return f"the run was too short: {' and '.join(undrained)} was not drained in time"
    return None


def tallies(comparisons: Sequence[Comparison], claims: Sequence[ClaimRow]) -> list[tuple[str, str]]:
    """How many claims, checks and predictions hold, such as ("7 of 7", "checks hold")."""
    checks = _checks(comparisons)
    valid = not invalid(checks)
    known = [row for one in comparisons for row in one.predictions if valid and row.verdict != "unknown"]
    found = [
        (claims, sum(claim.verdict == "true" for claim in claims), "claims hold"),
        (checks, sum(check.verdict == "true" for check in checks), "checks hold"),
        (known, sum(row.verdict == "within" for row in known), "predicted metrics within the tolerance"),
        (known, sum(row.verdict == "too noisy" for row in known), "too noisy to tell"),
    ]
    return [(f"{good} of {len(of)}", words) for of, good, words in found if len(of)]


def _checks(comparisons: Sequence[Comparison]) -> list[Check]:
    return [check for comparison in comparisons for check in comparison.checks]


# Half a sentence each, and whether it is good news


def _delivery(comparisons: Sequence[Comparison]) -> tuple[bool, str]:
    """What became of the messages."""
    lost = verdict_of_all(check.verdict for check in _checks(comparisons) if check.name == "lost")
    if lost == "false":
        return False, "Not every publish was handled or dead-lettered by the end"
    if lost == "unknown":
        return False, "Whether anything was lost is unknown"
    if failed := [check.name for check in broken(_checks(comparisons))]:
        return False, f"Nothing was lost, but not every check holds ({', '.join(dict.fromkeys(failed))})"
    return True, "Nothing was lost"


def _lag(comparisons: Sequence[Comparison]) -> tuple[bool, str]:
    """How close the simulated lag is."""
    tolerance = percent(comparisons[0].tolerance)
    found: dict[str, list[str]] = {}
    for comparison in comparisons:
        found.setdefault(comparison.headline.verdict, []).append(comparison.live.scenario.name)

    def where(verdict: str) -> str:
        return f" in {' and '.join(found[verdict])}" if len(comparisons) > 1 else ""

    if "outside" in found:
        return False, f"the simulated p95 lag is off by more than {tolerance}{where('outside')}"
    if "too noisy" in found:
        text = "the live runs are too noisy to tell whether the simulated p95 lag is right"
        return False, f"{text}{where('too noisy')}"
    if "unknown" in found:
        return False, f"the simulated p95 lag cannot be judged{where('unknown')}"
    return True, f"the simulated p95 lag is within {tolerance} of the live one"
