"""What one would expect without a simulation: a formula, and the last run. A prediction is of use if it beats them.

- M/M/c: each service is a queue with Poisson arrivals and exponential service times, of which only the measured rate
  and the measured mean are known. Retries, faults and leases are no part of it. Services that follow each other are
  taken as independent: their queues are (Jackson, "Networks of Waiting Lines", Operations Research 5(4), 1957), and
  what a message waits in them nearly is.
- The last run: a live run of the seed before, which had other arrivals at the same rates.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from sim.declare.declared import Floats
from sim.declare.scenario import Scenario
from sim.errors import InvalidScenario
from sim.evidence.capacity import work_of
from sim.evidence.history import History
from sim.evidence.lags import QUANTILES, last_services
from sim.evidence.metrics import count
from sim.infer.theory import waiting_probability

_DRAWS = 100_000  # the quantiles of their sums are exact to about 1 % at p99


@dataclass(frozen=True, slots=True)
class Queue:
    """An M/M/c queue: arrivals a second, the mean service time in seconds, and how many are served at once."""

    rate_per_s: float
    mean_s: float
    servers: int

    @property
    def utilisation(self) -> float:
        return self.rate_per_s * self.mean_s / self.servers

    def sojourns_s(self, n: int, rng: np.random.Generator) -> Floats:
        """Draw the time from arrival to the end of service, n times.

        The wait is 0, or exponential with the rate at which the servers get ahead of the arrivals
        (Cooper, "Introduction to Queueing Theory", 2nd ed., 1981, chapter 3).

        Raises:
            InvalidScenario: work arrives faster than it is done.
        """
        waits = rng.random(n) < waiting_probability(self.rate_per_s, self.mean_s, self.servers)
        ahead_per_s = self.servers / self.mean_s - self.rate_per_s
        return np.asarray(rng.exponential(self.mean_s, n) + waits * rng.exponential(1.0 / ahead_per_s, n))


def formula(live: History) -> dict[str, float]:
    """What M/M/c says of the metrics that it knows. Nothing, where a service is a task queue, runs sagas or is full."""
    scenario = live.scenario
    if scenario.callers or any(service.queue or service.saga for service in scenario.services.values()):
        return {}
    queues = {name: _queue(live, code) for code, name in enumerate(live.services)}
    rng, drawn = np.random.default_rng(0), {}
    for name, queue in queues.items():
        try:
            drawn[name] = queue.sojourns_s(_DRAWS, rng)
        except InvalidScenario:  # no steady state
            return {}
    until = {name: sum((drawn[one] for one in _way_to(scenario, name)), np.zeros(_DRAWS)) for name in queues}
    last = last_services(scenario)
    found = _of_lags("", [until[name] for name in last])
    found["throughput_per_s"] = sum(queues[name].rate_per_s for name in last)
    for name, queue in queues.items():
        prefix = f"{name}." if len(queues) > 1 else ""
        own = {f"{prefix}utilisation": queue.utilisation, f"{prefix}throughput_per_s": queue.rate_per_s}
        found |= _of_lags(prefix, [until[name]]) | own
    return found


def last_run(live: History, values: Floats) -> Floats:
    """What each seed's runs would be, were they as the first run of the seed before: shape (seeds,). NaN for the first.

    `values` are a metric's values of all runs, shape (runs,).
    """
    first = [values[[run.seed for run in live.runs].index(seed)] for seed in np.unique([run.seed for run in live.runs])]
    return np.array([np.nan, *first[:-1]])


def _queue(live: History, code: int) -> Queue:
    """A service as M/M/c knows it, from the means over its runs."""
    service = list(live.scenario.services.values())[code]
    works = [work_of(live.scenario, run, rows[rows["service"] == code], code) for run, rows in live.each_run()]
    attempts, busy_s = sum(work.attempts for work in works), sum(work.busy_s for work in works)
    event = live.events.index(service.consumes)
    arrived = [count(rows[rows["event"] == event], "published") for _, rows in live.each_run()]
    load_s = live.scenario.offered_load.duration_s or 1.0  # a trace may have a single moment
    mean_s = busy_s / attempts if attempts else 0.0
    return Queue(float(np.mean(arrived)) / load_s, max(mean_s, 1e-9), service.consumers_most * service.concurrency)


def _way_to(scenario: Scenario, service: str) -> Iterable[str]:
    """The services that a message passes to the end of this one: the first way where several lead there."""
    consumes = scenario.services[service].consumes
    emitted_by = scenario.flow.emitted_by
    before = next((name for name in scenario.services if consumes in [one.event for one in emitted_by[name]]), None)
    return [*(_way_to(scenario, before) if before is not None else ()), service]


def _of_lags(prefix: str, lags_s: list[Floats]) -> dict[str, float]:
    together = np.concatenate(lags_s)
    return {f"{prefix}lag_s_{name}": float(np.quantile(together, q)) for name, q in QUANTILES.items()}
