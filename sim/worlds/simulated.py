"""simulate(): the scenario in virtual time, as a SimPy model of what eventlib and Redis do.

Every decision is made by `eventlib.policy`, the functions that the live delivery loop calls; only how long things take
is modelled. What one read, one sweep and one retry do mirrors `eventlib.consume.consumer` and the scripts step by step.

One message costs three SimPy events (arrival, delivery, completion). They carry callbacks instead of processes,
because a process for each message doubles the time; what lives long (load, faults, sweeps, samples) is a process.
"""

import random
from collections import deque
from collections.abc import Generator, Iterable
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
import simpy

from eventlib import policy
from eventlib.policy import Ack, GiveUp, RetryIn, TokenBucket
from sim.declare.plan import Plan
from sim.declare.scenario import Progress, Scenario
from sim.declare.service import Service
from sim.errors import InvalidScenario
from sim.evidence.history import KIND, ROW, SAMPLE_EVERY_S, History, Left, Rows, Run, sorted_rows

Process = Generator[simpy.Event, Any, None]
_Row = tuple[float, int, int, int, int, int, int, float, float]


@dataclass(frozen=True, slots=True)
class Overheads:
    """What a real machine adds to a scenario's own times, in seconds; zero is an infinitely fast one."""

    publish_s: float = 0.0  # from handing an event to the bus until its reply; the server has it half-way
    dispatch_s: float = 0.0  # from the server to the start of the handler, where a reader waits for it
    read_s: float = 0.0  # from asking to the start of the handler, where the entry waits for a reader
    handle_s: float = 0.0  # what a handler takes longer than its service time
    settle_s: float = 0.0  # from its end until the server knows
    retry_s: float = 0.0  # what a retry comes later than its delay, beside the dispatch
    start_s: float = 0.0  # from starting a consumer until it reads


def simulate(
    scenario: Scenario,
    seeds: Iterable[int],
    *,
    overheads: Overheads | None = None,
    progress: Progress | None = None,
) -> History:
    """Run the scenario once for each seed in virtual time.

    The same scenario, seeds and overheads give the same rows on every machine. `progress` is called
    after each run.

    Raises:
        InvalidTrace: the load's trace is missing or broken.
        InvalidScenario: no seeds.
    """
    seeds = list(seeds)
    if not seeds:
        raise InvalidScenario("seeds", "there are none; give at least one, such as range(30)")
    overheads = overheads or Overheads()
    runs: list[Run] = []
    rows: list[Rows] = []
    for index, seed in enumerate(seeds):
        world = _World(scenario, scenario.plan(seed), overheads, _rng(seed))
        ended_s = world.run()
        runs.append(Run(seed, 0, ended_s, {name: group.left() for name, group in world.groups.items()}))
        rows.append(world.sorted_rows(index))
        if progress:
            progress((index + 1) / len(seeds))
    return History("simulated", scenario, "none", tuple(runs), np.concatenate(rows), asdict(overheads))


def _rng(seed: int) -> random.Random:
    """The model's own stream: jitter of retries and sweeps. Python's generator draws single numbers fastest."""
    return random.Random(int.from_bytes(np.random.SeedSequence((seed, 1)).generate_state(4).tobytes(), "little"))


class _World:
    """One run."""

    def __init__(self, scenario: Scenario, plan: Plan, overheads: Overheads, rng: random.Random) -> None:
        self.scenario = scenario
        self.plan = plan
        self.overheads = overheads
        self.rng = rng
        self.env = simpy.Environment()
        self.rows: list[_Row] = []  # without the run's index, which all of them share
        self.sending = True
        self.open_messages = 0
        self.finished = self.env.event()
        self.event_codes = {event: code for code, event in enumerate(scenario.flow.paths)}
        self.groups = {
            name: _Group(self, code, name, service) for code, (name, service) in enumerate(scenario.services.items())
        }
        self.subscribed = {
            event: [self.groups[name] for name in scenario.flow.consumers.get(event, ())]
            for event in scenario.flow.paths
        }

    def run(self) -> float:
        """Until all is settled or the drain is over; returns when that was."""
        env = self.env
        env.process(self._load())
        env.process(self._sample())
        for fault in self.scenario.faults:
            if (strike := fault.strike_simulated(self)) is not None:
                env.process(strike)
        env.run(until=self.finished | env.timeout(self.scenario.offered_load.duration_s + self.scenario.drain_s))
        return float(env.now)

    def sorted_rows(self, run: int) -> Rows:
        array = np.empty(len(self.rows), ROW)
        array["run"] = run
        array[_SHARED] = np.array(self.rows, ROW[_SHARED])
        return sorted_rows(array)

    def _load(self) -> Process:
        env, event, append_s = self.env, self.scenario.offered_load.event, self.overheads.publish_s / 2.0
        for index, at_s in enumerate(self.plan.arrivals_s.tolist()):
            yield env.timeout(max(0.0, at_s + append_s - env.now))
            self.publish(event, index, at_s, at_s, -1, -1)
        yield env.timeout(max(0.0, self.scenario.offered_load.duration_s - env.now))
        self.sending = False
        self.end_if_settled()

    def publish(self, event: str, index: int, intended_s: float, sent_s: float, service: int, consumer: int) -> None:
        """The server has a message: every service that consumes it will get it."""
        code, done_s = self.event_codes[event], sent_s + self.overheads.publish_s
        self.rows.append((sent_s, _SENT, service, consumer, code, index, 0, intended_s, _NAN))
        self.rows.append((done_s, _PUBLISHED, service, consumer, code, index, 0, intended_s, _NAN))
        for group in self.subscribed[event]:
            self.open_messages += 1
            group.push(_Message(index, intended_s))

    def end_if_settled(self) -> None:
        """The run ends with the last message, once the load is sent."""
        if not self.open_messages and not self.sending and not self.finished.triggered:
            self.finished.succeed()

    def _sample(self) -> Process:
        while True:
            for group in self.groups.values():
                backlog = float(group.backlog)
                self.rows.append((self.env.now, _SAMPLED, group.code, -1, -1, -1, 0, _NAN, backlog))
            yield self.env.timeout(SAMPLE_EVERY_S)

    # What a fault may do: `sim.declare.faults.worlds.SimulatedWorld`

    def wait_until(self, at_s: float) -> simpy.Event:
        return self.env.timeout(max(0.0, at_s - self.env.now))

    def kill(self, service: str, consumer: int) -> None:
        self.groups[service].kill(consumer)

    def start(self, service: str, consumer: int, *, after_s: float = 0.0) -> simpy.Event:
        started = self.env.timeout(after_s + self.overheads.start_s)
        started.callbacks.append(lambda _: self.groups[service].start(consumer))
        return started

    def note(self, kind: str, service: str, consumer: int) -> None:
        code = self.groups[service].code
        self.rows.append((self.env.now, KIND[kind], code, consumer, -1, -1, 0, _NAN, _NAN))


class _Message:
    """One message at one service. An attempt's number is `used + deliveries`, as in the library."""

    __slots__ = ("deliveries", "index", "intended_s", "read_at", "retried", "used")

    def __init__(self, index: int, intended_s: float) -> None:
        self.index = index
        self.intended_s = intended_s
        self.retried = False
        self.used = 0
        self.deliveries = 1
        self.read_at = 0.0


class _Group:
    """What Redis knows of a service: its streams, its delayed retries, and what dead consumers left pending."""

    def __init__(self, world: _World, code: int, name: str, service: Service) -> None:
        self.world = world
        self.code = code
        self.name = name
        self.service = service
        self.event_code = world.event_codes[service.consumes]
        self.service_s: list[float] = world.plan.service_s[name].tolist()  # a list is read faster than an array
        self.stream: deque[_Message] = deque()
        self.retry: deque[_Message] = deque()
        self.blocked: deque[_Consumer] = deque()  # readers that wait, longest first
        self.orphans: list[tuple[float, _Message]] = []  # with the time their lease ends
        self.delayed = 0
        self.dead = 0
        self.backlog = 0
        self.sweep_due = 0.0
        self.consumers: dict[int, _Consumer] = {}
        for index in range(service.consumers):
            self.start(index)

    def left(self) -> Left:
        waiting, retrying = len(self.stream), len(self.retry)
        return Left(waiting, self.backlog - waiting - retrying - self.delayed, retrying, self.delayed, self.dead)

    def push(self, message: _Message) -> None:
        self.backlog += 1
        self.stream.append(message)
        self.wake()

    def put_aside(self, message: _Message, delay_s: float) -> None:
        """Delayed outside the stream, and back for this group alone."""
        self.delayed += 1
        wait = self.world.env.timeout(delay_s, message)
        wait.callbacks.append(self._promote)

    def _promote(self, wait: simpy.Event) -> None:
        self.delayed -= 1
        message = cast(_Message, wait.value)
        message.retried = True
        message.deliveries = 1
        self.retry.append(message)
        self.wake()

    def wake(self) -> None:
        """New entries go to the reader that has waited longest, and all that it asked for at once."""
        while self.blocked and (self.stream or self.retry):
            reader = self.blocked.popleft()
            reader.receive(reader.asked, self.world.overheads.dispatch_s)

    def take(self, count: int) -> list[_Message]:
        """COUNT is for each stream: a read may bring that many new and as many retried entries."""
        taken: list[_Message] = []
        for source in (self.retry, self.stream):
            if len(source) <= count:
                taken.extend(source)
                source.clear()
            else:
                taken.extend([source.popleft() for _ in range(count)])
        return taken

    def sweep(self, count: int) -> list[_Message]:
        """Up to `count` entries of each stream whose lease has ended, one sweep of the group at a time."""
        now = self.world.env.now
        if now < self.sweep_due:
            return []
        taken: list[_Message] = []
        more = False
        for retried in (False, True):
            expired = [orphan for orphan in self.orphans if orphan[0] <= now and orphan[1].retried == retried]
            more = more or len(expired) > count
            for orphan in expired[:count]:
                self.orphans.remove(orphan)
                orphan[1].deliveries += 1
                taken.append(orphan[1])
        self.sweep_due = now if more else now + self.service.lease.sweep_every_s
        return taken

    def start(self, index: int) -> None:
        self.consumers[index] = consumer = _Consumer(self, index)
        consumer.read()
        self.world.env.process(consumer.sweeping())

    def kill(self, index: int) -> None:
        """The consumer dies silently; what it held waits for the end of its lease."""
        consumer = self.consumers[index]
        consumer.killed = True
        if consumer in self.blocked:
            self.blocked.remove(consumer)
        lease, now = self.service.lease, self.world.env.now
        renewed_at = consumer.born_at + (now - consumer.born_at) // lease.renew_every_s * lease.renew_every_s
        # Redis hands out expired entries in stream order, and a consumer holds them in the order it read them.
        self.orphans.extend((max(m.read_at, renewed_at) + lease.duration_s, m) for m in consumer.held)


class _Consumer:
    """One consumer: the delivery loop in virtual time."""

    def __init__(self, group: _Group, index: int) -> None:
        # What every message needs is looked up once: the attribute chains were a fifth of the run time.
        self.group = group
        self.world = group.world
        self.service = group.service
        self.code = group.code
        self.event_code = group.event_code
        self.rows = group.world.rows
        self.service_s = group.service_s
        self.concurrency = group.service.concurrency
        self.prefetch = group.service.prefetch
        self.retry = group.service.retry
        self.timeout = group.world.env.timeout
        self.index = index
        self.born_at = self.world.env.now
        budget = group.service.retry_budget
        self.bucket = TokenBucket(budget, self.born_at) if budget else None
        self.killed = False
        self.reading = False
        self.asked = 0  # COUNT of the read it is blocked in
        self.sweeps_on = False  # the last sweep found something: try again as soon as there is room
        self.running = 0
        self.waiting: deque[_Message] = deque()
        self.held: dict[_Message, None] = {}  # a set that keeps its order

    def room(self) -> int:
        return policy.room(self.concurrency, self.prefetch, self.running + len(self.waiting))

    def read(self) -> None:
        """Ask for as much as there is room for; wait where there is nothing."""
        if self.reading:
            return
        count = policy.room(self.concurrency, self.prefetch, self.running + len(self.waiting))
        if not count:
            return
        self.reading = True
        if self.group.stream or self.group.retry:
            self.receive(count, self.world.overheads.read_s)
        else:
            self.asked = count
            self.group.blocked.append(self)

    def receive(self, count: int, after_s: float) -> None:
        """The server answers: what it hands out is this consumer's from now on, and here after `after_s`."""
        messages = self.group.take(count)
        self._hold(messages)
        reply = self.timeout(after_s, messages)
        reply.callbacks.append(self._delivered)

    def _hold(self, messages: list[_Message]) -> None:
        for message in messages:
            message.read_at = self.world.env.now
            self.held[message] = None

    def _delivered(self, reply: simpy.Event) -> None:
        if self.killed:
            return
        self.waiting.extend(cast(list[_Message], reply.value))
        self.start_handlers()
        self.reading = False
        self.read()

    def start_handlers(self) -> None:
        while self.waiting and self.running < self.concurrency:
            self._handle(self.waiting.popleft())

    def _handle(self, message: _Message) -> None:
        world = self.world
        attempt = message.used + message.deliveries
        now = world.env.now
        match policy.admit(self.retry, self.bucket, attempt, message.used, now, world.rng):
            case GiveUp():
                self._bury(message, attempt)
                return
            case RetryIn(delay_s):
                message.used = attempt - 1
                self._put_aside(message, attempt, delay_s)
                return
        self._record(_STARTED, now, message, attempt)
        fails = world.plan.fails(self.group.name, message.index, attempt, now)
        takes_s = self.service_s[message.index] + world.overheads.handle_s
        if not fails:
            takes_s += len(self.service.emits) * world.overheads.publish_s
        self.running += 1
        end = self.timeout(takes_s, (message, attempt, fails))
        end.callbacks.append(self._handled)

    def _handled(self, end: simpy.Event) -> None:
        if self.killed:
            return
        message, attempt, fails = cast(tuple[_Message, int, bool], end.value)
        self.running -= 1
        if not fails and self.service.emits:
            self._emit(message)
        now = self.world.env.now
        self._record(_FAILED if fails else _HANDLED, now, message, attempt)
        match policy.decide(self.retry, attempt, _FAILURE if fails else None, self.world.rng):
            case Ack():
                if self.bucket is not None:
                    self.bucket.earn()
                self._record(_ACKED, now + self.world.overheads.settle_s, message, attempt)
                self._settle(message)
            case RetryIn(delay_s, counts):
                message.used = attempt if counts else attempt - 1
                self._put_aside(message, attempt, delay_s)
            case GiveUp():
                self._bury(message, attempt)
        if self.waiting:
            self.start_handlers()
        if self.sweeps_on:
            self._sweep()
        self.read()

    def _emit(self, message: _Message) -> None:
        world = self.world
        for event, index in world.scenario.flow.emitted(self.group.name, self.service.consumes, message.index):
            sent_s = world.env.now - world.overheads.publish_s
            world.publish(event, index, message.intended_s, sent_s, self.code, self.index)

    def _put_aside(self, message: _Message, attempt: int, delay_s: float) -> None:
        del self.held[message]
        overheads = self.world.overheads
        self._record(_RETRIED, self.world.env.now + overheads.settle_s, message, attempt)
        self.group.put_aside(message, delay_s + overheads.settle_s + overheads.retry_s)

    def _bury(self, message: _Message, attempt: int) -> None:
        self.group.dead += 1
        self._record(_DEAD, self.world.env.now + self.world.overheads.settle_s, message, attempt)
        self._settle(message)

    def _settle(self, message: _Message) -> None:
        del self.held[message]
        self.group.backlog -= 1
        world = self.world
        world.open_messages -= 1
        if not world.open_messages:
            world.end_if_settled()

    def sweeping(self) -> Process:
        lease = self.group.service.lease
        while True:
            yield self.world.env.timeout(lease.sweep_wait_s(self.world.rng))
            if self.killed:
                return
            self._sweep()

    def _sweep(self) -> None:
        self.sweeps_on = True
        while self.sweeps_on and (count := self.room()):
            taken = self.group.sweep(count)
            self._hold(taken)
            self.waiting.extend(taken)
            self.start_handlers()
            self.sweeps_on = bool(taken)

    def _record(self, kind: int, at_s: float, message: _Message, attempt: int) -> None:
        self.rows.append(
            (at_s, kind, self.code, self.index, self.event_code, message.index, attempt, message.intended_s, _NAN)
        )


_SHARED = [name for name in ROW.names or () if name != "run"]
_NAN = float("nan")
_FAILURE = RuntimeError("the scenario lets this attempt fail")
_SENT, _PUBLISHED, _STARTED, _HANDLED, _FAILED, _RETRIED, _DEAD, _ACKED, _SAMPLED = (
    KIND[name] for name in ("sent", "published", "started", "handled", "failed", "retried", "dead", "acked", "sampled")
)
