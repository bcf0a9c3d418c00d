"""What one service did in a run, counted while rows come, which may be thrown away then.

What may happen to a message twice is remembered of each message (`Marks`); of all else there are sums.
"""

from collections import Counter

import numpy as np

from sim.declare.declared import Floats
from sim.declare.scenario import Scenario
from sim.evidence.capacity import Work, begins_work, cut_off_s, matched, rates_between
from sim.evidence.circuits import circuit_metrics
from sim.evidence.history import KIND, ROW, Left, Rows, Run, of_kind
from sim.evidence.marks import Flags, Marks
from sim.evidence.recovery import Recovery, left_over, questions
from sim.evidence.scaling import consumer_seconds, scaling_metrics
from sim.evidence.sketch import Sketch

Found = dict[str, float]

_FEW = ("killed", "left", "scaled", "circuit_opened", "circuit_closed")  # rows of these kinds are kept


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
    """The attempts of a service, as `capacity.work_of` counts them: what is summed, and those that are not over."""

    def __init__(self, scenario: Scenario, code: int) -> None:
        self._scenario = scenario
        self._code = code
        self._service = list(scenario.services.values())[code]
        self._begins = begins_work(self._service)
        self._attempts = 0
        self._busy_s = dict.fromkeys((0.0, scenario.warm_up_s), 0.0)  # from each of these times on
        self._open = np.zeros(0, ROW)  # the rows with which they began

    def add(self, own: Rows) -> None:
        self._attempts += int(np.count_nonzero(own["kind"] == KIND["started"]))
        calls = np.concatenate((self._open, of_kind(own, self._begins, "handled", "failed")))
        starts_s, ends_s, self._open = matched(calls, calls["kind"] == KIND[self._begins])
        starts_s = starts_s[: ends_s.size]  # those that are over
        for from_s in self._busy_s:
            self._busy_s[from_s] += float((np.maximum(ends_s, from_s) - np.maximum(starts_s, from_s)).sum())

    def work(self, run: Run, few: Rows, from_s: float) -> Work:
        """What was done from one of the times on. `few` has the rows of the service that are kept."""
        cut_s, starts_s = cut_off_s(few, self._open, run.ended_s), self._open["t_s"]
        busy_s = self._busy_s[from_s] + float((np.maximum(cut_s, from_s) - np.maximum(starts_s, from_s)).sum())
        length_s = run.ended_s - from_s
        consumers_s = consumer_seconds(self._scenario, run, few, self._code, from_s)
        handlers = consumers_s / length_s * self._service.concurrency if length_s > 0 else 0.0
        return Work(busy_s, self._attempts, handlers, length_s)


class _Messages:
    """What happened to each message at a service."""

    def __init__(self) -> None:
        self.handled, self.dead = Marks(), Marks()
        self.again = Counter[int]()  # how often each was handled that was handled before
        self._started: dict[int, Marks] = {}  # by attempt

    def add(self, own: Rows, handled: Rows) -> Flags:
        """Which of the rows of handled messages are the first ones."""
        started = of_kind(own, "started")
        for attempt in np.unique(started["attempt"]).tolist():
            self._started.setdefault(attempt, Marks()).add(started["message"][started["attempt"] == attempt])
        self.dead.add(of_kind(own, "dead")["message"])
        first = self.handled.add(handled["message"])
        self.again.update(handled["message"][~first].tolist())
        return first

    def redelivered(self, number: int) -> int:
        """How often a message was delivered again: each time, its attempt has a later number."""
        return sum(number in marks for marks in self._started.values()) - 1


class ServiceTally:
    """What one service did in a run, and what came for it."""

    def __init__(self, scenario: Scenario, code: int, name: str) -> None:
        from_s = scenario.warm_up_s
        self.name = name
        self.messages = _Messages()
        self.lag_s = Sketch()  # of what was meant to be sent after the warm-up
        self.last_handled_s = -np.inf  # of these, too
        self.recorded_dead = self._arrived = self.begun = self.beyond = 0
        self._scenario, self._code, self._from_s = scenario, code, from_s
        self._most_attempts = scenario.services[name].retry.attempts
        asked = questions(scenario, name)
        self._recoveries = {metric: Recovery(one, scenario.sample_every_s) for metric, one in asked.items()}
        self._backlog, self._attempts = _Backlog(from_s), _Attempts(scenario, code)
        self._few = [np.zeros(0, ROW)]
        self.times_handled = self._dead = self._attempts_used = self._calls = self._in_calls = 0  # after the warm-up
        self._came = self._gone = self._settled_ever = 0
        self._first_arrived_s, self._last_arrived_s = np.inf, -np.inf
        self._stays_s = 0.0  # of all messages, from arrival to acknowledgement, as far as both are known

    def add(self, own: Rows, arrived_s: Floats, came_s: Floats) -> None:
        """Count the rows of the service, and the times when messages for it were published.

        They came at those times too, or, as far as that is not known in time, when they were sent.
        """
        kind, at_s = own["kind"], own["t_s"]
        handled, dead, sampled = (kind == KIND[one] for one in ("handled", "dead", "sampled"))
        self._attempts.add(own)
        self._backlog.add(at_s[sampled], own["value"][sampled])
        for recovery in self._recoveries.values():
            recovery.add(at_s[sampled], own["value"][sampled])
        gone = dead | (kind == KIND["acked"])
        self._gone += int(np.count_nonzero(gone))
        self._settled_ever += int(np.count_nonzero(handled | dead))
        self.recorded_dead += int(np.count_nonzero(dead))
        self._stays_s += float(at_s[gone].sum() - came_s.sum())
        self._came += came_s.size
        if arrived_s.size:
            self._arrived += arrived_s.size
            self._first_arrived_s = min(self._first_arrived_s, float(arrived_s.min()))
            self._last_arrived_s = max(self._last_arrived_s, float(arrived_s.max()))
        attempt = own["attempt"][kind == KIND["started"]]
        self.begun += attempt.size
        self.beyond += int(np.count_nonzero((attempt < 1) | (attempt > self._most_attempts)))
        if (few := of_kind(own, *_FEW)).size:
            self._few.append(few)
        self._add_settled(own[handled], self.messages.add(own, own[handled]))
        warm = own[own["intended_s"] >= self._from_s]
        self._add_warm(of_kind(warm, "handled", "dead"), of_kind(warm, "batch"))

    def _add_settled(self, handled: Rows, first: Flags) -> None:
        counted = handled[first & (handled["intended_s"] >= self._from_s)]
        self.lag_s.add(counted["t_s"] - counted["intended_s"])
        self.last_handled_s = max(self.last_handled_s, float(counted["t_s"].max(initial=-np.inf)))

    def _add_warm(self, settled: Rows, calls: Rows) -> None:
        dead = int(np.count_nonzero(settled["kind"] == KIND["dead"]))
        self._dead += dead
        self.times_handled += settled.size - dead
        self._attempts_used += int(settled["attempt"].sum())
        self._calls += calls.size
        self._in_calls += int(calls["value"].sum())

    def metrics(self, prefix: str, run: Run) -> Found:
        """Its metrics, but those of lag and throughput."""
        backlog, left, settled = self._backlog, left_over(run.left[self.name]), self.times_handled + self._dead
        few, scenario, from_s = np.concatenate(self._few), self._scenario, self._from_s
        found = {
            f"{prefix}attempts_mean": self._attempts_used / settled if settled else np.nan,
            f"{prefix}dead_letters": float(self._dead),
            f"{prefix}duplicates": float(self.times_handled - self.lag_s.size),
            f"{prefix}utilisation": self._attempts.work(run, few, from_s).utilisation,
            f"{prefix}backlog_mean": backlog.total / backlog.looks if backlog.looks else np.nan,
            f"{prefix}backlog_max": backlog.most,
            **{f"{prefix}{metric}": one.took_s(run.ended_s, left) for metric, one in self._recoveries.items()},
        }
        if scenario.services[self.name].batch is not None:
            found[f"{prefix}batch_size_mean"] = self._in_calls / self._calls if self._calls else np.nan
        found[f"{prefix}little_residual"] = self._little_residual()
        found |= scaling_metrics(prefix, scenario, run, few, self._code, from_s)
        return found | circuit_metrics(prefix, scenario, run, few, self._code, from_s)

    def _little_residual(self) -> float:
        """See `sim.evidence.metrics.little_residual`."""
        length_s = self._backlog.length_s
        if not self._came or self._came != self._gone or length_s <= 0 or self._stays_s <= 0:
            return np.nan
        expected = self._stays_s / length_s
        return abs(self._backlog.area / length_s - expected) / expected

    def rates(self, run: Run) -> list[tuple[float, float]]:
        """What it was offered and can do, if that is known."""
        work = self._attempts.work(run, np.concatenate(self._few), 0.0)
        found = rates_between(self._arrived, self._last_arrived_s - self._first_arrived_s, self._settled_ever, work)
        return [found] if found else []

    def there(self, left: Left) -> int:
        """Entries that the server still had at the end, and dead letters that were not recorded."""
        return left_over(left) + max(0, left.dead - self.recorded_dead)
