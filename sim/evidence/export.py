"""What a history says, for machines: nested dictionaries that JSON can hold. NaN stands where there is no number."""

from collections.abc import Container, Iterable, Mapping
from dataclasses import asdict
from typing import Any, TypeVar

from sim.declare.scenario import Scenario
from sim.evidence.capacity import overloads
from sim.evidence.checks import Check
from sim.evidence.history import History
from sim.evidence.instrument import INSTRUMENT
from sim.evidence.metrics import Interval, unit_of
from sim.evidence.warm_up import warm_up_s

T = TypeVar("T")


def history_json(history: History, summaries: Mapping[str, Interval], checks: Iterable[Check]) -> dict[str, Any]:
    """The runs of a history, the summary of each metric, and the verdicts."""
    metrics = under_all_names({name: interval_json(name, found) for name, found in summaries.items()}, history.scenario)
    return runs_json(history) | {"metrics": metrics, "checks": checks_json(checks)}


def interval_json(metric: str, found: Interval) -> dict[str, Any]:
    """A metric's mean and interval."""
    about = {"mean": found.mean, "low": found.low, "high": found.high, "runs": found.runs, "unit": unit_of(metric)}
    return about | lower_bound_json(found)


def lower_bound_json(found: Interval) -> dict[str, Any]:
    """What marks a quantile of lag as a lower bound: the share of the messages that were never handled."""
    return {"at_least": True, "unhandled": found.unhandled} if found.unhandled else {}


def under_all_names(metrics: Mapping[str, T], scenario: Scenario) -> dict[str, T]:
    """The metrics of a scenario, with those of its only service under the names that they have beside others, too."""
    if len(scenario.services) > 1:
        return dict(metrics)
    [service] = scenario.services
    own = {name: found for name, found in metrics.items() if not name.startswith(INSTRUMENT) and "." not in name}
    return {**metrics, **{f"{service}.{name}": found for name, found in own.items()}}


def own_name(metric: str, names: Container[str]) -> str:
    """A metric under one of its two names, as it is in `names`: a scenario's only service has no prefix there."""
    return metric if metric in names else metric.partition(".")[2]


def runs_json(history: History) -> dict[str, Any]:
    """What ran: the scenario, the world, the server and the seeds; and what was offered more than it can do."""
    product, _, version = history.server.partition(" ")
    return {
        "scenario": history.scenario.name,
        "world": history.world,
        "server": {"product": product, "version": version},
        "seeds": sorted({run.seed for run in history.runs}),
        "overloads": [asdict(overload) for overload in overloads(history)],
        "runs": len(history.runs),
        "calibration": history.calibration,
        "warm_up_s": warm_up_s(history),
    }


def checks_json(checks: Iterable[Check]) -> dict[str, dict[str, str]]:
    """The verdict and the detail of each check, by its name."""
    return {check.name: {"verdict": check.verdict, "detail": check.detail} for check in checks}
