"""The verdict of a report: one sentence that can be quoted, and how many claims, checks and predictions hold."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sim.evidence.checks import Check, broken, generator_late
from sim.evidence.metrics import totals
from sim.infer.claims import Claim
from sim.infer.compare import Comparison
from sim.show.wording import counted, error_bar, judged
from sim.wording import at_least, quantity

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
    if late := [one.live.scenario.name for one in comparisons if generator_late(one.checks)]:
        times = f"but the times do not count, because the load was sent too late in {' and '.join(late)}"
        return Sentence("invalid", "Invalid run", f"{_delivery(comparisons)}; {times}.")
    state, mark = _state(comparisons, claims)
    return Sentence(state, mark, "; ".join(filter(None, (_delivery(comparisons), _lags(comparisons)))) + ".")


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
    lost = [check for check in _checks(comparisons) if check.name == "lost"]
    publishes = _publishes(comparisons)
    if any(check.verdict == "false" for check in lost):
        details = "; ".join(check.detail for check in lost if check.verdict == "false")
        return f"Not every publish was handled or dead-lettered by the end ({details}): {publishes}"
    if any(check.verdict == "unknown" for check in lost):
        return f"Whether anything was lost is unknown: {publishes}"
    if failed := [check.name for check in broken(_checks(comparisons))]:
        return f"Nothing was lost, but not every check holds ({', '.join(failed)}): {publishes}"
    return f"Nothing was lost: {publishes}"


def _publishes(comparisons: Sequence[Comparison]) -> str:
    """How much was published and killed, over how many runs."""
    total = totals(comparison.live for comparison in comparisons)
    text = f"{total.published:,} publish{'' if total.published == 1 else 'es'} over {counted(total.runs, 'live run')}"
    return f"{text}, {counted(total.killed, 'consumer')} killed" if total.killed else text


def _lags(comparisons: Sequence[Comparison]) -> str:
    """Half a sentence on how close the simulated lag is: its relative error first, as it is judged."""
    found = []
    for comparison in comparisons:
        row = comparison.headline
        if np.isfinite(row.simulated) and np.isfinite(row.live):
            where = f" in {comparison.live.scenario.name}" if len(comparisons) > 1 else ""
            simulated, live = (
                at_least(quantity(value, "s"), interval.unhandled)
                for value, interval in ((row.simulated, row.simulated_interval), (row.live, row.live_interval))
            )
            numbers = f"{simulated} against {live} live"
            found.append(f"{error_bar(row)}{where} ({numbers}), {judged(row)}")
    return f"simulated lag p95 is off by {', and by '.join(found)}" if found else ""
