"""The verdict of a report: one sentence that can be quoted, and how many claims, checks and predictions hold."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sim.evidence.checks import Check, broken, generator_late, verdict_of_all
from sim.infer.claims import Claim
from sim.infer.compare import Comparison
from sim.show.wording import counted, percent

State = Literal["true", "false", "unknown", "invalid"]


@dataclass(frozen=True, slots=True)
class Sentence:
    """The verdict: `mark` says it in a few words, `text` is the sentence to quote."""

    state: State
    mark: str
    text: str


def verdict(comparisons: Sequence[Comparison], claims: Sequence[Claim]) -> Sentence:
    """What the comparisons and claims come to. A late generator makes the whole report invalid."""
    if not comparisons:
        return Sentence("unknown", "Not known", "Nothing was compared.")
    delivery = _delivery(comparisons)
    if late := [one.live.scenario.name for one in comparisons if generator_late(one.checks)]:
        times = f"but the times do not count, because the load was sent too late in {' and '.join(late)}"
        return Sentence("invalid", "Invalid run", f"{delivery}, {times}.")
    state, mark = _state(comparisons, claims)
    return Sentence(state, mark, f"{delivery}, {_lag(comparisons)}.")


def tallies(comparisons: Sequence[Comparison], claims: Sequence[Claim]) -> list[tuple[str, str]]:
    """How many claims, checks and predictions hold, such as ("7 of 7", "checks hold")."""
    checks = _checks(comparisons)
    valid = not any(generator_late(comparison.checks) for comparison in comparisons)
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


def _state(comparisons: Sequence[Comparison], claims: Sequence[Claim]) -> tuple[State, str]:
    checks = _checks(comparisons)
    found = {"check": [check.verdict for check in checks], "claim": [claim.verdict for claim in claims]}
    for what, verdicts in found.items():
        if number := verdicts.count("false"):
            return "false", f"{counted(number, what).capitalize()} found false"
    lags = [comparison.headline.verdict for comparison in comparisons]
    if "outside" in lags:
        return "false", "The simulated lag is outside the tolerance"
    if "too noisy" in lags:
        return "unknown", "Too noisy to tell whether the simulated lag is right"
    if number := sum(verdicts.count("unknown") for verdicts in found.values()):
        return "unknown", f"Nothing found false, {number} unknown"
    return "true", "Every check and claim holds" if claims else "Every check holds"


def _delivery(comparisons: Sequence[Comparison]) -> str:
    """Half a sentence on what became of the messages."""
    lost = verdict_of_all(check.verdict for check in _checks(comparisons) if check.name == "lost")
    if lost == "false":
        return "Not every publish was handled or dead-lettered by the end"
    if lost == "unknown":
        return "Whether anything was lost is unknown"
    if failed := [check.name for check in broken(_checks(comparisons))]:
        return f"Nothing was lost, but not every check holds ({', '.join(dict.fromkeys(failed))})"
    return "Nothing was lost"


def _lag(comparisons: Sequence[Comparison]) -> str:
    """Half a sentence on how close the simulated lag is."""
    tolerance = percent(comparisons[0].tolerance)
    found: dict[str, list[str]] = {}
    for comparison in comparisons:
        found.setdefault(comparison.headline.verdict, []).append(comparison.live.scenario.name)

    def where(verdict: str) -> str:
        return f" in {' and '.join(found[verdict])}" if len(comparisons) > 1 else ""

    if "outside" in found:
        return f"but the simulated p95 lag is off by more than {tolerance}{where('outside')}"
    if "too noisy" in found:
        reason = "the live runs are too noisy to tell whether the simulated p95 lag is right"
        return f"but {reason}{where('too noisy')}"
    if "unknown" in found:
        return f"and there is no p95 lag to compare{where('unknown')}"
    return f"and the simulated p95 lag is within {tolerance} of the live one"
