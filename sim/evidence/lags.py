"""How long messages took: the lag of each, at a service or at the end of the system, and the quantiles of it."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sim.declare.callers import CALLERS
from sim.declare.declared import Floats
from sim.declare.scenario import Scenario
from sim.evidence.history import History, Rows, Run, of_kind
from sim.evidence.requests import requests_of
from sim.evidence.unhandled import unhandled
from sim.evidence.warm_up import after, warm_up_s

QUANTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True, slots=True)
class Lags:
    """Messages in the order of runs: when each was meant to be sent, and the seconds until it was first handled.

    What was not handled (and not given up) stands behind what was, with the time at which its run ended: its lag is at
    least as long. All arrays have shape (messages,).
    """

    run: npt.NDArray[np.int32]
    intended_s: Floats
    lag_s: Floats
    handled: npt.NDArray[np.bool_]

    @property
    def unhandled_share(self) -> float:
        """The share of the messages that were neither handled nor given up."""
        return float(1.0 - self.handled.mean()) if self.handled.size else np.nan

    def by_run(self) -> list[Floats]:
        """The lags of each run that had messages."""
        return [self.lag_s[self.run == run] for run in np.unique(self.run)]


def last_services(scenario: Scenario) -> list[str]:
    """The services that emit nothing that a service consumes: there every message comes to its end."""
    consumed = scenario.flow.consumers
    return [
        name
        for name in scenario.services
        if not any(emitted.event in consumed for emitted in scenario.flow.emitted_by[name])
    ]


def lags(history: History, service: str | None = None, *, warming_up: bool = False) -> Lags:
    """The lag of every message of all runs: of one service, or of the system's last services.

    That of `callers` is the round trip of their requests. Messages of the warm-up are left out unless they are asked
    for.
    """
    from_s = 0.0 if warming_up else warm_up_s(history)
    each_run = [(run, after(rows, from_s)) for run, rows in history.each_run()]
    if service == CALLERS and history.scenario.callers is not None:
        found = [round_trips(history.scenario, run, rows) for run, rows in each_run]
    else:
        names = [service] if service else last_services(history.scenario)
        codes = [history.services.index(name) for name in names]
        found = [lags_of_run(history.scenario, run, rows, codes) for run, rows in each_run]
    run = [np.full(of_run.lag_s.size, index, np.int32) for index, of_run in enumerate(found)]
    return Lags(
        np.concatenate(run),
        np.concatenate([of_run.intended_s for of_run in found]),
        np.concatenate([of_run.lag_s for of_run in found]),
        np.concatenate([of_run.handled for of_run in found]),
    )


def lags_of_run(
    scenario: Scenario, run: Run, rows: Rows, services: list[int], of: npt.NDArray[np.bool_] | None = None
) -> Lags:
    """The lags of one run at some services. `of` chooses among the messages of a single service, by their numbers."""
    handled = first_handled(rows, services)
    if of is not None:
        handled = handled[of[handled["message"]]]
    lag_s = handled["t_s"] - handled["intended_s"]
    missing = [unhandled(scenario, rows, code) for code in services]
    missing_s = np.concatenate([np.empty(0), *(at_s if of is None else at_s[of[numbers]] for numbers, at_s in missing)])
    ended_s = max(run.ended_s, float(lag_s.max(initial=0.0)))
    return Lags(
        np.zeros(lag_s.size + missing_s.size, np.int32),
        np.concatenate((handled["intended_s"], missing_s)),
        np.concatenate((lag_s, np.full(missing_s.size, ended_s))),
        np.arange(lag_s.size + missing_s.size) < lag_s.size,
    )


def round_trips(scenario: Scenario, run: Run, rows: Rows) -> Lags:
    """How long callers waited for each request of one run, from when it was meant to be sent.

    A request that timed out counts with the time that its caller waited; one whose caller never came back is left out.
    """
    requests = requests_of(scenario, run, rows)
    ended = ~requests.abandoned
    waited_s = (requests.until_s - requests.intended_s)[ended]
    size = waited_s.size
    return Lags(np.zeros(size, np.int32), requests.intended_s[ended], waited_s, np.ones(size, np.bool_))


def lag_metrics(
    prefix: str, of_run: Lags, names: Iterable[str] = QUANTILES
) -> tuple[dict[str, float], dict[str, float]]:
    """Quantiles of lag, and for each the share of unhandled messages if it falls among them, else 0."""
    share = of_run.unhandled_share
    found, bounds = {}, {}
    for name in names:
        metric, q = f"{prefix}lag_s_{name}", QUANTILES[name]
        found[metric] = quantile(of_run.lag_s, q)
        # What is not handled sorts last. From the first of it on, a quantile is known to be as large and no more.
        bound = share > 0 and np.ceil(q * (of_run.lag_s.size - 1)) >= np.count_nonzero(of_run.handled)
        bounds[metric] = share if bound else 0.0
    return found, bounds


def first_handled(rows: Rows, services: list[int]) -> Rows:
    """One row for each run, service and message: when the service handled the message for the first time."""
    handled = of_kind(rows[np.isin(rows["service"], services)], "handled")
    # Rows are in the order of time, so the first row of a key is the first time. A service consumes one event type.
    most = [int(handled[name].max(initial=0)) + 1 for name in ("service", "message")]
    key = (handled["run"].astype(np.int64) * most[0] + handled["service"]) * most[1] + handled["message"]
    return np.asarray(handled[np.unique(key, return_index=True)[1]])


def quantile(values: Floats, q: float) -> float:
    """A quantile of values; NaN where there are none."""
    return float(np.quantile(values, q)) if values.size else np.nan
