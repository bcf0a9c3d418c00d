"""Metrics of a run whose rows are not kept: each batch of rows is counted as it comes, and may be thrown away.

They are those of `measure`, by the same names: counts, sums and means are the same but for the last digits, quantiles
are known to `sketch.ERROR`. This is for runs in which each message is handled once, or given up: where nothing makes
the library deliver a message again, no message has to be remembered.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sim.declare.declared import Floats
from sim.declare.scenario import Scenario
from sim.evidence.capacity import Overload, Rates, Work, overloads_of, rates_between
from sim.evidence.checks import BALANCED, Check, drained, on_time
from sim.evidence.history import KIND, ROW, History, Rows, Run
from sim.evidence.instrument import LATE_S
from sim.evidence.lags import QUANTILES, last_services
from sim.evidence.metrics import Metrics
from sim.evidence.recovery import Recovery, left_over, questions
from sim.evidence.sketch import Sketch

Found = dict[str, float]


class _Load:
    """What the load did."""

    def __init__(self, from_s: float) -> None:
        self.sent = self.skipped = self.late = 0
        self.sent_warm = 0  # after the warm-up
        self.lateness_s = Sketch()
        self._from_s = from_s

    def add(self, rows: Rows) -> None:
        sent = rows[rows["kind"] == KIND["sent"]]
        late_s = sent["t_s"] - sent["intended_s"] - np.nan_to_num(sent["value"])
        self.lateness_s.add(late_s)
        self.late += int(np.count_nonzero(late_s >= LATE_S))
        self.sent += sent.size
        self.sent_warm += int(np.count_nonzero(sent["intended_s"] >= self._from_s))
        self.skipped += int(np.count_nonzero(rows["kind"] == KIND["skipped"]))

    def metrics(self) -> Found:
        late_s = {f"lateness_s_{name}": self.lateness_s.quantile(QUANTILES[name]) for name in ("p50", "p99")}
        slept_s = dict.fromkeys(("oversleep_s_p50", "oversleep_s_p99"), np.nan)  # a simulated handler does not
        return late_s | slept_s | {"sent_late": float(self.late), "skipped": float(self.skipped)}


class _Backlog:
    """The looks at a service's backlog."""

    def __init__(self, from_s: float) -> None:
        self.most = self.first_s = np.nan
        self.total = self.area = 0.0
        self.looks = 0
        self.last: tuple[float, float] | None = None
        self._from_s = from_s

    def add(self, at_s: Floats, entries: Floats) -> None:
        if not at_s.size:
            return
        if self.last is None:
            self.first_s = float(at_s[0])
        else:
            at_s, entries = np.append(self.last[0], at_s), np.append(self.last[1], entries)
        self.area += float(np.trapezoid(entries, at_s))
        new = slice(None) if self.last is None else slice(1, None)
        self.last = float(at_s[-1]), float(entries[-1])
        warm = entries[new][at_s[new] >= self._from_s]
        if warm.size:
            self.looks += warm.size
            self.total += float(warm.sum())
            self.most = float(np.fmax(self.most, warm.max()))

    @property
    def length_s(self) -> float:
        return self.last[0] - self.first_s if self.last is not None else 0.0


class _Attempts:
    """The attempts from a time on: when they began and ended, as sums."""

    def __init__(self, from_s: float) -> None:
        self.begun = self.ended = 0
        self._busy_s = 0.0
        self._from_s = from_s

    def add(self, begun_s: Floats, ended_s: Floats) -> None:
        self.begun += begun_s.size
        self.ended += ended_s.size
        ends_s, begins_s = np.maximum(ended_s, self._from_s), np.maximum(begun_s, self._from_s)
        self._busy_s += float(ends_s.sum() - begins_s.sum())  # of one batch: the sums of all would lose digits

    def work(self, ended_s: float, handlers: int) -> Work:
        """What was done. Attempts that are not over lasted until the run was."""
        running = self.begun - self.ended
        busy_s = self._busy_s + running * max(ended_s, self._from_s)
        return Work(busy_s, self.begun, float(handlers), ended_s - self._from_s)


class _OfService:
    """What one service did, and what came for it."""

    def __init__(self, scenario: Scenario, name: str) -> None:
        from_s, service = scenario.warm_up_s, scenario.services[name]
        self.name = name
        self.handlers = service.consumers * service.concurrency
        self.lag_s = Sketch()
        asked = questions(scenario, name)
        self.recoveries = {metric: Recovery(one, scenario.sample_every_s) for metric, one in asked.items()}
        self.backlog, self.attempts, self.all_attempts = _Backlog(from_s), _Attempts(from_s), _Attempts(0.0)
        self.last_handled_s = -np.inf
        self.dead = self.settled = self.attempts_used = 0  # after the warm-up
        self.arrived = self.gone = self.settled_ever = 0
        self.first_arrived_s, self.last_arrived_s = np.inf, -np.inf
        self._stays_s = 0.0  # of all messages, from arrival to acknowledgement, as far as both are known
        self._from_s = from_s

    def add(self, own: Rows, arrived_s: Floats) -> None:
        """Count the rows of the service, and the times when messages for it came."""
        kind, at_s = own["kind"], own["t_s"]
        started, handled, dead = (kind == KIND[one] for one in ("started", "handled", "dead"))
        for attempts in (self.attempts, self.all_attempts):
            attempts.add(at_s[started], at_s[handled | (kind == KIND["failed"])])
        sampled = kind == KIND["sampled"]
        self.backlog.add(at_s[sampled], own["value"][sampled])
        for recovery in self.recoveries.values():
            recovery.add(at_s[sampled], own["value"][sampled])
        gone = dead | (kind == KIND["acked"])
        self.gone += int(np.count_nonzero(gone))
        self.settled_ever += int(np.count_nonzero(handled | dead))
        self._stays_s += float(at_s[gone].sum() - arrived_s.sum())
        if arrived_s.size:
            self.arrived += arrived_s.size
            self.first_arrived_s = min(self.first_arrived_s, float(arrived_s.min()))
            self.last_arrived_s = max(self.last_arrived_s, float(arrived_s.max()))
        self._add_settled(own[(handled | dead) & (own["intended_s"] >= self._from_s)])

    def _add_settled(self, settled: Rows) -> None:
        handled = settled[settled["kind"] == KIND["handled"]]
        self.lag_s.add(handled["t_s"] - handled["intended_s"])
        self.last_handled_s = max(self.last_handled_s, float(handled["t_s"].max(initial=-np.inf)))
        self.settled += settled.size
        self.dead += settled.size - handled.size
        self.attempts_used += int(settled["attempt"].sum())

    def metrics(self, prefix: str, run: Run) -> Found:
        backlog, left = self.backlog, left_over(run.left[self.name])
        return {
            f"{prefix}attempts_mean": self.attempts_used / self.settled if self.settled else np.nan,
            f"{prefix}dead_letters": float(self.dead),
            f"{prefix}duplicates": 0.0,
            f"{prefix}utilisation": self.attempts.work(run.ended_s, self.handlers).utilisation,
            f"{prefix}backlog_mean": backlog.total / backlog.looks if backlog.looks else np.nan,
            f"{prefix}backlog_max": backlog.most,
            **{f"{prefix}{metric}": one.took_s(run.ended_s, left) for metric, one in self.recoveries.items()},
            f"{prefix}little_residual": self._little_residual(),
        }

    def _little_residual(self) -> float:
        """See `sim.evidence.metrics.little_residual`."""
        length_s = self.backlog.length_s
        if not self.arrived or self.arrived != self.gone or length_s <= 0 or self._stays_s <= 0:
            return np.nan
        expected = self._stays_s / length_s
        return abs(self.backlog.area / length_s - expected) / expected

    def rates(self, ended_s: float) -> list[tuple[float, float]]:
        over_s, work = self.last_arrived_s - self.first_arrived_s, self.all_attempts.work(ended_s, self.handlers)
        found = rates_between(self.arrived, over_s, self.settled_ever, work)
        return [found] if found else []


class Tally:
    """One run, as it is counted."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._load = _Load(scenario.warm_up_s)
        self._services = [_OfService(scenario, name) for name in scenario.services]
        events = list(scenario.flow.paths)
        self._consumes = [events.index(service.consumes) for service in scenario.services.values()]

    def add(self, rows: Rows) -> None:
        """Count rows, in the order in which they were recorded."""
        self._load.add(rows[rows["service"] == -1])
        published = rows[rows["kind"] == KIND["published"]]
        for code, (service, event) in enumerate(zip(self._services, self._consumes, strict=True)):
            service.add(rows[rows["service"] == code], published["t_s"][published["event"] == event])

    def metrics(self, run: Run) -> tuple[Found, Found]:
        """What `measure` tells of a run, and what `Metrics.unhandled` has of it."""
        last = last_services(self._scenario)
        found, unhandled = self._rates("", [one for one in self._services if one.name in last], run.ended_s)
        for service in self._services:
            prefix = f"{service.name}." if len(self._services) > 1 else ""
            if prefix:
                of_service, unhandled_there = self._rates(prefix, [service], run.ended_s)
                found |= of_service
                unhandled |= unhandled_there
            found |= service.metrics(prefix, run)
        return found | self._load.metrics(), unhandled

    def rates(self, ended_s: float) -> Rates:
        """What each service was offered and can do, if that is known."""
        return {service.name: service.rates(ended_s) for service in self._services}

    def lost(self, run: Run) -> int:
        """How many messages that came for a service were neither settled nor left."""
        left = {name: left_over(one) for name, one in run.left.items()}
        return sum(max(0, one.arrived - one.settled_ever - left[one.name]) for one in self._services)

    @property
    def arrived(self) -> int:
        """How many messages came for all services."""
        return sum(one.arrived for one in self._services)

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

    def _rates(self, prefix: str, services: list[_OfService], ended_s: float) -> tuple[Found, Found]:
        lags = Sketch.joined(one.lag_s for one in services)
        missing = sum(self._unhandled(one) for one in services)
        last_s = max((one.last_handled_s for one in services), default=-np.inf)
        span_s = last_s - self._scenario.warm_up_s if lags.size else np.nan
        found = {f"{prefix}throughput_per_s": lags.size / span_s if span_s else np.nan}
        n, beyond_s = lags.size + missing, max(ended_s, lags.most)
        share, bounds = missing / n if n else np.nan, dict[str, float]()
        for name, q in QUANTILES.items():
            found[f"{prefix}lag_s_{name}"] = lags.quantile(q, beyond=missing, beyond_s=beyond_s)
            bounds[f"{prefix}lag_s_{name}"] = share if missing and np.ceil(q * (n - 1)) >= lags.size else 0.0
        return found | {f"{prefix}unhandled": share}, bounds

    def _unhandled(self, service: _OfService) -> int:
        """How many messages are due at a service, and neither handled nor given up, there or on the way to it."""
        consumed = self._scenario.services[service.name].consumes
        due = self._load.sent_warm * self._scenario.flow.paths[consumed]
        return due - service.settled - self._given_up()[consumed]

    def _given_up(self) -> dict[str, int]:
        """For each event type, how many messages were never sent, because what leads to them was given up."""
        found, by_name = dict.fromkeys(self._scenario.flow.paths, 0), {one.name: one for one in self._services}
        for name, emits in self._scenario.flow.emitted_by.items():  # in the order of the flow
            for emitted in emits:
                found[emitted.event] += by_name[name].dead + found[self._scenario.services[name].consumes]
        return found


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
        overloads = tuple(
            overloads_of(scenario, [one.rates(run.ended_s) for run, one in zip(runs, tallies, strict=True)])
        )
        checks = (_balanced(runs, tallies), drained(runs, overloads), _on_time(tallies))
        return cls(scenario, tuple(runs), Metrics(values, unhandled), overloads, checks)

    def without_rows(self) -> History:
        """A history of these runs that has no rows: what it says of the scenario and the runs is right."""
        return History("simulated", self.scenario, "none", self.runs, np.zeros(0, ROW))


def _balanced(runs: Sequence[Run], tallies: Sequence[Tally]) -> Check:
    lost, arrived = sum(map(Tally.lost, tallies, runs)), sum(one.arrived for one in tallies)
    if not arrived:
        return Check(*BALANCED, "unknown", "no case: nothing was published")
    return Check(*BALANCED, "false" if lost else "true", f"{lost:,} of {arrived:,}", lost)


def _on_time(tallies: Sequence[Tally]) -> Check:
    late, skipped = sum(one.sent_late for one in tallies), sum(one.skipped for one in tallies)
    late_s = [p99 for one in tallies if not np.isnan(p99 := one.lateness_s_p99)]
    return on_time(late_s, late, skipped, np.empty(0))
