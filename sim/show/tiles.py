"""The three tiles of a report: was anything lost, how far is the simulated lag off, how soon does a service recover?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sim.evidence.checks import verdict_of_all
from sim.evidence.metrics import totals
from sim.infer.compare import Comparison, Row
from sim.show.verdict import State, invalid_run
from sim.show.wording import counted, error_bar, judged, percent
from sim.wording import at_least, quantity

_STATES: dict[str, State] = {"within": "true", "outside": "false"}


@dataclass(frozen=True, slots=True)
class Tile:
    """A question's answer: one number, its state, and in a line or more what it is the number of."""

    title: str
    value: str
    details: list[str]
    state: State


def tiles(comparisons: Sequence[Comparison]) -> list[Tile]:
    """Lost, lag and recovery over all comparisons; each number is the worst that was found."""
    return [_lost(comparisons), _lag(comparisons), _recovery(comparisons)] if comparisons else []


def _lost(comparisons: Sequence[Comparison]) -> Tile:
    found = [check for one in comparisons for check in one.checks if check.name == "lost"]
    total = totals(comparison.live for comparison in comparisons)
    number = sum(check.violations for check in found)
    state = verdict_of_all(check.verdict for check in found)
    of = f"{total.published:,} acknowledged publish{'' if total.published == 1 else 'es'}"
    details = [f"of {of} in {counted(total.runs, 'live run')}."]
    if total.killed:
        details.append(f"{counted(total.killed, 'consumer').capitalize()} killed with SIGKILL.")
    return Tile("Lost", f"{number:,}" if state != "unknown" else "unknown", details, state)


def _lag(comparisons: Sequence[Comparison]) -> Tile:
    title = "Error of the simulated p95 lag"
    if reason := invalid_run(comparisons):
        return _invalid(title, reason)
    worst = max(comparisons, key=_badness)
    row = worst.headline
    details = [f"{judged(row).capitalize()}{_of(worst, comparisons)}."]
    details += [f"{error_bar(one.headline)}: {_worlds(one.headline)}{_of(one, comparisons)}." for one in comparisons]
    return Tile(title, percent(row.relative_error, signed=True), details, _STATES.get(row.verdict, "unknown"))


def _invalid(title: str, reason: str) -> Tile:
    return Tile(title, "invalid", [f"{reason[0].upper()}{reason[1:]}."], "invalid")


def _badness(comparison: Comparison) -> tuple[int, float]:
    """What is outside comes before what cannot be told, and a larger error before a smaller one."""
    row = comparison.headline
    error = abs(row.relative_error)
    return ["within", "unknown", "too noisy", "outside"].index(row.verdict), 0.0 if np.isnan(error) else error


def _worlds(row: Row) -> str:
    simulated, live = (
        at_least(quantity(value, row.unit), interval.unhandled)
        for value, interval in ((row.simulated, row.simulated_interval), (row.live, row.live_interval))
    )
    return f"{simulated} simulated, {live} live"


def _recovery(comparisons: Sequence[Comparison]) -> Tile:
    found = [(comparison, row) for comparison in comparisons for row in _recoveries(comparison)]
    if not found:
        return Tile("Recovery", "no fault", ["Nothing was made to go wrong."], "unknown")
    if reason := invalid_run(comparisons):
        return _invalid("Recovery", reason)
    known = [pair for pair in found if not np.isnan(pair[1].live)]
    comparison, row = max(known or found, key=lambda pair: pair[1].live)
    service = row.metric.rpartition(".")[0] or next(iter(comparison.live.services))
    details = [
        f"until the backlog of {service} was back, live{_of(comparison, comparisons)}.",
        f"{quantity(row.simulated, row.unit)} simulated.",
    ]
    state: State = "unknown" if np.isnan(row.live) else "false" if np.isinf(row.live) else "true"
    return Tile("Recovery", quantity(row.live, row.unit), details, state)


def _recoveries(comparison: Comparison) -> Iterator[Row]:
    """The recoveries of the services that a fault hit."""
    scenario = comparison.live.scenario
    hit = {name for name in scenario.services if any(fault.hits(name, scenario) for fault in scenario.faults)}
    for row in comparison.rows:
        service, _, name = row.metric.rpartition(".")
        if name == "recovery_s" and (service or next(iter(scenario.services))) in hit:
            yield row


def _of(comparison: Comparison, comparisons: Sequence[Comparison]) -> str:
    return f" in {comparison.live.scenario.name}" if len(comparisons) > 1 else ""
