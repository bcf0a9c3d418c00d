"""Metrics of a run whose rows are not kept: each batch of rows is counted as it comes, and may be thrown away.

They are those of `measure`, by the same names: counts, sums and means are the same but for the last digits, quantiles
are known to `sketch.ERROR`. So are the checks. Of a message a few bits are remembered, as long as it differs from those
that came with it: see `Marks`.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sim.declare.declared import Floats
from sim.declare.scenario import Scenario
from sim.evidence.capacity import Overload, Rates, overloads_of
from sim.evidence.checks import Check, Counts, drained, judge_rules, on_time, place_of
from sim.evidence.dependencies import Looks
from sim.evidence.history import KIND, ROW, History, Rows, Run, of_kind
from sim.evidence.instrument import LATE_S
from sim.evidence.lags import QUANTILES, last_services
from sim.evidence.marks import BLOCK, Marks
from sim.evidence.metrics import Metrics
from sim.evidence.seen import Seen
from sim.evidence.service_tally import Found, ServiceTally
from sim.evidence.sketch import Sketch


class _Load:
    """What the load did."""

    def __init__(self, from_s: float) -> None:
        self.skipped = self.late = 0
        self.sent_warm = Marks()  # what was meant to be sent after the warm-up
        self.lateness_s = Sketch()
        self._from_s = from_s

    def add(self, rows: Rows) -> None:
        sent = rows[rows["kind"] == KIND["sent"]]
        late_s = sent["t_s"] - sent["intended_s"] - np.nan_to_num(sent["value"])
        self.lateness_s.add(late_s)
        self.late += int(np.count_nonzero(late_s >= LATE_S))
        self.sent_warm.add(sent["message"][sent["intended_s"] >= self._from_s])
        self.skipped += int(np.count_nonzero(rows["kind"] == KIND["skipped"]))

    def metrics(self) -> Found:
        late_s = {f"lateness_s_{name}": self.lateness_s.quantile(QUANTILES[name]) for name in ("p50", "p99")}
        slept_s = dict.fromkeys(("oversleep_s_p50", "oversleep_s_p99"), np.nan)  # a simulated handler does not
        return late_s | slept_s | {"sent_late": float(self.late), "skipped": float(self.skipped)}


class _Sent:
    """The messages of one event type: which were sent, and which of them the server has acknowledged."""

    def __init__(self, from_s: float) -> None:
        self.sent, self.published = Marks(), Marks()
        self.sent_warm = Marks() if from_s else self.sent  # what was meant to be sent after the warm-up
        self._from_s = from_s
        self.again = Counter[int]()  # how often each was sent that was sent before

    def add(self, rows: Rows) -> None:
        sent = of_kind(rows, "sent")
        self.again.update(sent["message"][~self.sent.add(sent["message"])].tolist())
        if self._from_s:
            self.sent_warm.add(sent["message"][sent["intended_s"] >= self._from_s])
        self.published.add(of_kind(rows, "published")["message"])

    def times(self, number: int) -> int:
        """How often a message was sent."""
        return int(number in self.sent) + self.again[number]


class Tally:
    """One run, as it is counted."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._load = _Load(scenario.warm_up_s)
        self._services = [ServiceTally(scenario, code, name) for code, name in enumerate(scenario.services)]
        self._events = {event: _Sent(scenario.warm_up_s) for event in scenario.flow.paths}
        self._looks = Looks(scenario, scenario.warm_up_s)

    def add(self, rows: Rows) -> None:
        """Count rows, in the order in which they were recorded."""
        self._load.add(rows[rows["service"] == -1])
        self._looks.add(rows[rows["service"] == -1])
        arrived_s, came_s, seen = dict[str, Floats](), dict[str, Floats](), self._scenario.flow.seen
        for code, (event, sent) in enumerate(self._events.items()):
            of_event = of_kind(rows[rows["event"] == code], "sent", "published")
            sent.add(of_event)
            arrived_s[event] = of_kind(of_event, "published")["t_s"]
            came_s[event] = of_kind(of_event, "sent")["t_s"] if event in seen else arrived_s[event]
        for code, service in enumerate(self._services):
            consumes = self._consumes(service)
            service.add(rows[rows["service"] == code], arrived_s[consumes], came_s[consumes])

    def metrics(self, run: Run) -> tuple[Found, Found]:
        """What `measure` tells of a run, and what `Metrics.unhandled` has of it."""
        last, missing = last_services(self._scenario), self._unhandled()
        of_last = [one for one in self._services if one.name in last]
        found, unhandled = self._rates("", of_last, missing, run.ended_s)
        for service in self._services:
            prefix = f"{service.name}." if len(self._services) > 1 else ""
            if prefix:
                of_service, unhandled_there = self._rates(prefix, [service], missing, run.ended_s)
                found |= of_service
                unhandled |= unhandled_there
            found |= service.metrics(prefix, run)
        return found | self._looks.metrics() | self._load.metrics(), unhandled

    def rates(self, run: Run) -> Rates:
        """What each service was offered and can do, if that is known."""
        return {service.name: service.rates(run) for service in self._services}

    def counts(self, run: Run) -> Iterator[tuple[str, Counts]]:
        """By service, what the rules of `checks` count of it."""
        for service in self._services:
            there, counts = service.there(run.left[service.name]), self._settled(service)
            lost = max(0, counts["missing"] - there), counts["published"]
            yield (
                service.name,
                {
                    "lost": lost,
                    "unexpected": (counts["unexpected"], counts["settled"]),
                    "duplicates_explained": self._unexplained(service),
                    "attempts_within_policy": (service.beyond, service.begun),
                    "balanced": lost,
                },
            )

    @property
    def lateness_s_p99(self) -> float:
        """The lateness that one message in a hundred of the load exceeds."""
        return self._load.lateness_s.quantile(0.99)

    @property
    def sent_late(self) -> int:
        """How many messages the load sent so late that they count against it."""
        return self._load.late

    @property
    def skipped(self) -> int:
        """How many messages the load did not send before the run was over."""
        return self._load.skipped

    def _consumes(self, service: ServiceTally) -> str:
        return self._scenario.services[service.name].consumes

    def _rates(
        self, prefix: str, services: list[ServiceTally], unhandled: Mapping[str, int], ended_s: float
    ) -> tuple[Found, Found]:
        lags = Sketch.joined(one.lag_s for one in services)
        missing = sum(unhandled[one.name] for one in services)
        last_s = max((one.last_handled_s for one in services), default=-np.inf)
        span_s = last_s - self._scenario.warm_up_s if lags.size else np.nan
        found = {f"{prefix}throughput_per_s": lags.size / span_s if span_s else np.nan}
        n, beyond_s = lags.size + missing, max(ended_s, lags.most)
        share, bounds = missing / n if n else np.nan, dict[str, float]()
        for name, q in QUANTILES.items():
            found[f"{prefix}lag_s_{name}"] = lags.quantile(q, beyond=missing, beyond_s=beyond_s)
            bounds[f"{prefix}lag_s_{name}"] = share if missing and np.ceil(q * (n - 1)) >= lags.size else 0.0
        return found | {f"{prefix}unhandled": share}, bounds

    def _unhandled(self) -> dict[str, int]:
        """By service, how many messages are due there, and neither handled nor given up, there or on the way to it."""
        services = {one.name: one for one in self._services}
        seen = Seen(
            self._scenario,
            self._load.sent_warm,
            {event: one.sent_warm for event, one in self._events.items()},
            {name: one.messages.handled for name, one in services.items()},
            {name: one.messages.dead for name, one in services.items()},
            {name: one.times_handled for name, one in services.items()},
        )
        return {name: numbers.size for name, numbers in seen.unhandled().items()}

    def _settled(self, service: ServiceTally) -> Counter[str]:
        """How many messages were settled, and whether that agrees with what was sent and published."""
        event, own, found = self._events[self._consumes(service)], service.messages, Counter[str]()
        marks = (event.sent, event.published, own.handled, own.dead)
        until = max(one.until for one in marks)
        for first in range(0, until, BLOCK):
            sent, published, handled, dead = (one.between(first, min(first + BLOCK, until)) for one in marks)
            settled = handled | dead
            found["published"] += int(np.count_nonzero(published))
            found["missing"] += int(np.count_nonzero(published & ~settled))
            found["settled"] += int(np.count_nonzero(settled))
            found["unexpected"] += int(np.count_nonzero(settled & ~sent))
        return found

    def _unexplained(self, service: ServiceTally) -> tuple[int, int]:
        event, again = self._events[self._consumes(service)], service.messages.again
        unexplained = sum(
            times > service.messages.redelivered(number) + event.times(number) - 1 for number, times in again.items()
        )
        return unexplained, len(again)


@dataclass(frozen=True, slots=True)
class Tallied:
    """What runs came to whose rows were not kept: their metrics, a value for each run, and what is known beside."""

    scenario: Scenario
    runs: tuple[Run, ...]
    metrics: Metrics
    overloads: tuple[Overload, ...]
    checks: tuple[Check, ...]

    @classmethod
    def of(cls, scenario: Scenario, runs: Sequence[Run], tallies: Sequence[Tally]) -> "Tallied":
        """What the tallies of these runs come to."""
        each = [one.metrics(run) for run, one in zip(runs, tallies, strict=True)]
        values, unhandled = ({name: np.array([one[of][name] for one in each]) for name in each[0][of]} for of in (0, 1))
        overloads = tuple(overloads_of(scenario, [one.rates(run) for run, one in zip(runs, tallies, strict=True)]))
        counts = (
            (place_of(service, index, run), of_service)
            for index, (run, one) in enumerate(zip(runs, tallies, strict=True))
            for service, of_service in one.counts(run)
        )
        checks = (*judge_rules(counts), drained(runs, overloads), _on_time(tallies))
        return cls(scenario, tuple(runs), Metrics(values, unhandled), overloads, checks)

    def without_rows(self) -> History:
        """A history of these runs that has no rows: what it says of the scenario and the runs is right."""
        return History("simulated", self.scenario, "none", self.runs, np.zeros(0, ROW))


def _on_time(tallies: Sequence[Tally]) -> Check:
    late, skipped = sum(one.sent_late for one in tallies), sum(one.skipped for one in tallies)
    late_s = [p99 for one in tallies if not np.isnan(p99 := one.lateness_s_p99)]
    return on_time(late_s, late, skipped, np.empty(0))
