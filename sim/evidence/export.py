"""What a history says, for machines: nested dictionaries that JSON can hold. NaN stands where there is no number."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from sim.evidence.capacity import overloads
from sim.evidence.checks import Check
from sim.evidence.history import History
from sim.evidence.metrics import Interval, unit_of


def history_json(history: History, summaries: Mapping[str, Interval], checks: Iterable[Check]) -> dict[str, Any]:
    """The runs of a history, the summary of each metric, and the verdicts."""
    metrics = {
        name: {"mean": found.mean, "low": found.low, "high": found.high, "runs": found.runs, "unit": unit_of(name)}
        | at_least(found)
        for name, found in summaries.items()
    }
    return runs_json(history) | {"metrics": metrics, "checks": checks_json(checks)}


def at_least(found: Interval) -> dict[str, Any]:
    """What marks a quantile of lag as a lower bound: the share of the messages that were never handled."""
    return {"at_least": True, "unhandled": found.unhandled} if found.unhandled else {}


def runs_json(history: History) -> dict[str, Any]:
    """What ran: the scenario, the world, the server and the seeds; and what was offered more than it can do."""
    product, _, version = history.server.partition(" ")
    return {
        "scenario": history.scenario.name,
        "world": history.world,
        "server": {"product": product, "version": version},
        "seeds": sorted({run.seed for run in history.runs}),
        "overloads": [asdict(overload) for overload in overloads(history)],
    }


def checks_json(checks: Iterable[Check]) -> dict[str, dict[str, str]]:
    """The verdict and the detail of each check, by its name."""
    return {check.name: {"verdict": check.verdict, "detail": check.detail} for check in checks}
