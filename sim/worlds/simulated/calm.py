"""A run in which nothing breaks: no process, no network and no server, on a machine that takes no time.

Then three things happen to a message: it comes, it is handled, and where an attempt failed it comes back. `World` would
ask at every step what else may have happened meanwhile, and each event of SimPy is an object with callbacks. Here, the
steps lie on a heap as they are. The rows are those of `World`, in the same order, and so are all random numbers.
"""

from collections import deque
from collections.abc import Callable, Mapping
from heapq import heappop, heappush
from itertools import chain, count
from math import inf
from typing import Any

import numpy as np

from eventlib import policy
from eventlib.policy import RetryIn, TokenBucket, Uniform
from sim.declare.declared import Declared
from sim.declare.plan import Plan
from sim.declare.scenario import Scenario
from sim.declare.service import Service
from sim.evidence.history import KIND, Left
from sim.worlds.simulated.handlers import FAILURE
from sim.worlds.simulated.noting import NAN, Noted, both, note_unsent

_SAMPLED = KIND["sampled"]
_STARTED, _HANDLED, _FAILED, _RETRIED, _DEAD = (
    KIND[name] for name in ("started", "handled", "failed", "retried", "dead")
)
_SENT = KIND["sent"]
_PUBLISHED = KIND["published"]
_SENT_AND_PUBLISHED = both(_SENT, _PUBLISHED)
_HANDLED_AND_ACKED = both(_HANDLED, KIND["acked"])
_FAILED_AND_RETRIED = both(_FAILED, _RETRIED)
_FAILED_AND_DEAD = both(_FAILED, _DEAD)

Task = tuple[int, float, int]  # the index of a message, when it was meant to be sent, and which attempt comes next
Step = tuple[float, int, Callable[[Any], None], Any]  # when; which of those at one moment; what to do, and with what


# What a calm run obeys, or what says nothing of a run. Where any other field says something, `World` is asked: so it is
# with what is declared one day and this module does not know.
_OF_SCENARIO = frozenset(
    {"name", "description", "offered_load", "services", "faults", "drain_s", "warm_up_s", "warm_up", "expect"}
)
_OF_SERVICE = frozenset(
    {"consumes", "consumers", "concurrency", "prefetch", "service_time", "error_rate", "lease_s"}
    | {"retry", "retry_budget", "emits", "emits_shares"}
)


def is_calm(scenario: Scenario) -> bool:
    """Whether nothing breaks in the runs of a scenario, and its services are plain ones."""
    plain = all(_says_only(_OF_SERVICE, service) for service in scenario.services.values())
    return plain and _says_only(_OF_SCENARIO, scenario) and all(fault.planned for fault in scenario.faults)


def _says_only(known: frozenset[str], declared: Declared) -> bool:
    """Whether all fields but the known ones have their defaults."""
    fields = type(declared).model_fields
    return all(
        getattr(declared, name) == field.get_default(call_default_factory=True)
        for name, field in fields.items()
        if name not in known
    )


class _Group:
    """A service: what waits in its streams, and who waits for it."""

    def __init__(self, code: int, name: str, service: Service, event_code: int, plan: Plan) -> None:
        self.code = code
        self.name = name
        self.service = service
        self.event_code = event_code
        self.consumes = service.consumes
        self.emits = bool(service.emits)
        self.retry = service.retry
        self.concurrency = service.concurrency
        self.capacity = policy.capacity_left(service.at_once, service.prefetch, 0)
        self.service_s: list[float] = plan.service_s[name].tolist()
        self.failing = _failing(plan, name)
        self.attempts = service.retry.attempts
        self.slows = name in plan.slow_windows
        self.new: deque[Task] = deque()
        self.retried: deque[Task] = deque()
        self.blocked: deque[_Consumer] = deque()  # readers that wait, longest first
        self.backlog = self.delayed = self.dead = 0

    def take(self, count: int) -> list[Task]:
        """What one read brings. COUNT is for each stream: that many retried and as many new entries."""
        taken: list[Task] = []
        for source in (self.retried, self.new):
            taken += [source.popleft() for _ in range(min(count, len(source)))]
        return taken

    def left(self) -> Left:
        """What there is to do."""
        waiting, retrying = len(self.new), len(self.retried)
        return Left(waiting, self.backlog - waiting - retrying - self.delayed, retrying, self.delayed, self.dead)


class _Consumer:
    """A consumer: what it handles, and whether it asks for more."""

    __slots__ = ("bucket", "group", "index", "reads", "running", "waiting")

    def __init__(self, group: _Group, index: int) -> None:
        self.group = group
        self.index = index
        self.waiting: deque[Task] = deque()
        self.running = 0
        self.reads = False
        budget = group.service.retry_budget
        self.bucket = TokenBucket(budget, 0.0) if budget else None


class _Load:
    """The messages of the load that are not sent yet, in their order.

    `turn` is the one that comes next: its number, when it was meant to come, and when it is due.
    """

    def __init__(self, scenario: Scenario, plan: Plan, codes: Mapping[str, int]) -> None:
        self.collects = scenario.offered_load.collects
        self.turn: tuple[int, float, float] | None = None
        self._unsent = zip(count(), plan.arrivals_s.tolist(), plan.due_s.tolist(), strict=False)
        self._sent_events = plan.sent_events
        self._events = [(event, codes[event]) for event in scenario.offered_load.events]

    def next(self) -> tuple[int, float, float] | None:
        """Let the next one have its turn."""
        self.turn = turn = next(self._unsent, None)
        return turn

    def event(self, index: int) -> tuple[str, int]:
        """The type of a message, and its code."""
        return self._events[0 if self._sent_events is None else self._sent_events.item(index)]

    def note_unsent(self, rows: Noted, now: float) -> None:
        """Note what the run did not send."""
        for index, at_s, due_s in chain(() if self.turn is None else (self.turn,), self._unsent):
            note_unsent(rows, now, self.event(index)[1], index, at_s, due_s, held=self.collects)


class CalmRun:
    """One run of a calm scenario in virtual time. `rows` has what was noted."""

    def __init__(self, scenario: Scenario, plan: Plan, rng: Uniform, rows: Noted) -> None:
        self.rows = rows
        self._note = rows.append
        self._scenario = scenario
        self._plan = plan
        self._rng = rng
        self._now = 0.0
        self._steps = list[Step]()
        self._number = 0  # of the step that was put there last
        # Replies of the server, with the number of the step that each is: they are there at the moment itself.
        self._replies = deque[tuple[int, _Consumer, list[Task]]]()
        self._comes_s, self._comes_number = inf, 0
        self._sending, self._to_settle, self._over = True, 0, False
        codes = {event: code for code, event in enumerate(scenario.flow.paths)}
        self._load = _Load(scenario, plan, codes)
        self._event_codes = codes
        self._groups = {
            name: _Group(code, name, service, codes[service.consumes], plan)
            for code, (name, service) in enumerate(scenario.services.items())
        }
        self._subscribers = {
            event: [group for group in self._groups.values() if group.consumes == event] for event in codes
        }

    def left(self) -> dict[str, Left]:
        """What each service has left to do."""
        return {name: group.left() for name, group in self._groups.items()}

    def run(self) -> float:
        """Run until all is settled or the drain is over; returns when that was."""
        self._after(self._scenario.offered_load.duration_s + self._scenario.drain_s, self._end_soon, None)
        for group in self._groups.values():
            for index in range(group.service.consumers_first):
                consumer = _Consumer(group, index)
                self._read(consumer)
                self._after(group.service.lease.sweep_wait_s(self._rng), self._sweep, group)
        self._await_next()
        self._sample(None)
        steps, replies = self._steps, self._replies
        while not self._over:
            first, comes_s = steps[0], self._comes_s
            if replies and self._is_first(replies[0][0], first):
                _, consumer, tasks = replies.popleft()
                self._deliver(consumer, tasks)
            elif comes_s < first[0] or (comes_s == first[0] and self._comes_number < first[1]):
                self._now = comes_s
                self._arrive()
            else:
                self._now, _, do, what = heappop(steps)
                do(what)
        self._load.note_unsent(self.rows, self._now)
        return self._now

    def _is_first(self, reply: int, step: Step) -> bool:
        """Whether this reply comes before the first step on the heap and the next message of the load."""
        now = self._now
        return (step[0] > now or step[1] > reply) and (self._comes_s > now or self._comes_number > reply)

    def _after(self, delay_s: float, do: Callable[[Any], None], what: object) -> None:
        self._number += 1
        heappush(self._steps, (self._now + delay_s, self._number, do, what))

    # The load

    def _await_next(self) -> None:
        """Let the next message of the load come when it is due, or the load end."""
        turn = self._load.next()
        if turn is None:
            self._comes_s = inf
            self._after(max(0.0, self._scenario.offered_load.duration_s - self._now), self._end_load, None)
        else:
            self._number = self._comes_number = self._number + 1
            wait_s = turn[2] - self._now  # SimPy adds this to its clock: that may miss a last digit of when it is due
            self._comes_s = self._now + (wait_s if wait_s > 0.0 else 0.0)

    def _arrive(self) -> None:
        """The next message of the load is sent."""
        load, turn = self._load, self._load.turn
        assert turn is not None, "it was due"
        index, at_s, due_s = turn
        event, code = load.event(index)
        if load.collects:
            self._note((due_s, _SENT, -1, -1, code, index, 0, at_s, due_s - at_s))
            self._note((due_s, _PUBLISHED, -1, -1, code, index, 0, at_s, NAN))
        else:
            self._note((due_s, _SENT_AND_PUBLISHED, -1, -1, code, index, 0, at_s, NAN))
        self._append(event, index, at_s)
        self._await_next()

    def _end_load(self, _: object) -> None:
        self._sending = False
        self._end_if_settled()

    # The server

    def _append(self, event: str, index: int, intended_s: float) -> None:
        """Every service that consumes the event gets a message."""
        for group in self._subscribers[event]:
            self._to_settle += 1
            group.backlog += 1
            self._let_in(group, (index, intended_s, 1), group.new)

    def _let_in(self, group: _Group, task: Task, stream: deque[Task]) -> None:
        """A message goes to the reader that has waited longest; where none waits, into the stream."""
        if group.blocked:
            self._number += 1
            self._replies.append((self._number, group.blocked.popleft(), [task]))
        else:
            stream.append(task)

    def _put_aside(self, group: _Group, task: Task, delay_s: float) -> None:
        group.delayed += 1
        self._after(delay_s, self._promote, (group, task))

    def _promote(self, what: tuple[_Group, Task]) -> None:
        group, task = what
        group.delayed -= 1
        self._let_in(group, task, group.retried)

    def _settle(self, group: _Group) -> None:
        """A message is done with at a service."""
        group.backlog -= 1
        self._to_settle -= 1
        if not self._to_settle:
            self._end_if_settled()

    # A consumer

    def _read(self, consumer: _Consumer) -> None:
        """Ask for as much as there is capacity for; wait where there is nothing."""
        group = consumer.group
        count = group.capacity - consumer.running - len(consumer.waiting)
        if consumer.reads or count <= 0:
            return
        consumer.reads = True
        if group.new or group.retried:
            self._number += 1
            self._replies.append((self._number, consumer, group.take(count)))
        else:
            group.blocked.append(consumer)

    def _deliver(self, consumer: _Consumer, tasks: list[Task]) -> None:
        consumer.waiting += tasks
        self._begin(consumer)
        consumer.reads = False
        self._read(consumer)

    def _begin(self, consumer: _Consumer) -> None:
        """Let attempts begin, as many as may run at once."""
        group, waiting = consumer.group, consumer.waiting
        while waiting and consumer.running < group.concurrency:
            task = waiting.popleft()
            if consumer.bucket is not None and self._is_held_back(consumer, consumer.bucket, task):
                continue
            self._note_attempt(_STARTED, consumer, task)
            consumer.running += 1
            index, _, attempt = task
            takes_s = group.service_s[index]
            if group.slows:
                takes_s *= self._plan.slowed(group.name, self._now)
            if group.failing is not None:
                fails = group.failing[index * group.attempts + attempt - 1] != 0
            else:
                fails = self._plan.fails(group.name, index, attempt, self._now)
            self._number += 1  # as in `_after`: a call for each attempt takes 3 % of a run
            heappush(self._steps, (self._now + takes_s, self._number, self._end, (consumer, task, fails)))

    def _is_held_back(self, consumer: _Consumer, bucket: TokenBucket, task: Task) -> bool:
        """Whether the retry budget lets this attempt wait."""
        group, (_, _, attempt) = consumer.group, task
        wait = policy.admit(group.retry, bucket, attempt, attempt - 1, self._now, self._rng)
        if not isinstance(wait, RetryIn):
            return False
        self._note_attempt(_RETRIED, consumer, task)
        self._put_aside(group, task, wait.delay_s)
        return True

    def _end(self, what: tuple[_Consumer, Task, bool]) -> None:
        """An attempt has ended."""
        consumer, task, fails = what
        if fails:
            self._settle_failed(consumer, task)
        else:
            if consumer.group.emits:
                self._emit(consumer, task)
            self._note_attempt(_HANDLED_AND_ACKED, consumer, task)
            if consumer.bucket is not None:
                consumer.bucket.earn()
            self._settle(consumer.group)
        consumer.running -= 1
        if consumer.waiting:
            self._begin(consumer)
        self._read(consumer)

    def _emit(self, consumer: _Consumer, task: Task) -> None:
        """Publish what handling a message sets off."""
        group, (index, intended_s, _) = consumer.group, task
        for event, number in self._plan.emitted(self._scenario.flow, group.name, group.consumes, index):
            code = self._event_codes[event]
            row = (self._now, _SENT_AND_PUBLISHED, group.code, consumer.index, code, number, 0, intended_s, NAN)
            self._note(row)
            self._append(event, number, intended_s)

    def _settle_failed(self, consumer: _Consumer, task: Task) -> None:
        group, (index, intended_s, attempt) = consumer.group, task
        decision = policy.decide(group.retry, attempt, FAILURE, self._rng)
        if isinstance(decision, RetryIn):
            self._note_attempt(_FAILED_AND_RETRIED, consumer, task)
            self._put_aside(group, (index, intended_s, attempt + 1), decision.delay_s)
        else:
            self._note_attempt(_FAILED_AND_DEAD, consumer, task)
            group.dead += 1
            self._settle(group)

    def _note_attempt(self, kind: int, consumer: _Consumer, task: Task) -> None:
        group, (index, intended_s, attempt) = consumer.group, task
        self._note((self._now, kind, group.code, consumer.index, group.event_code, index, attempt, intended_s, NAN))

    # What happens by itself

    def _sweep(self, group: _Group) -> None:
        """A consumer offers to sweep. All leases are renewed, so that nothing is found; what it draws counts."""
        self._after(group.service.lease.sweep_wait_s(self._rng), self._sweep, group)

    def _sample(self, _: object) -> None:
        self.rows.pack_if_many()
        for group in self._groups.values():
            self._note((self._now, _SAMPLED, group.code, -1, -1, -1, 0, NAN, float(group.backlog)))
        self._after(self._scenario.sample_every_s, self._sample, None)

    def _end_if_settled(self) -> None:
        if not self._to_settle and not self._sending:
            self._after(0.0, self._end_soon, None)

    def _end_soon(self, _: object) -> None:
        """What is due at the same moment comes before the end: so it is in `World`, where two events lie between."""
        self._after(0.0, self._stop, None)

    def _stop(self, _: object) -> None:
        self._over = True


def _failing(plan: Plan, name: str) -> bytes | None:
    """For each attempt at each message of a service, in their order, whether it fails. None: that depends on when."""
    draws = plan.failure_draws[name]
    if plan.error_windows[name] or name in plan.poison or not isinstance(draws, np.ndarray):
        return None
    return bytes((draws < plan.error_rate[name]).tobytes())
