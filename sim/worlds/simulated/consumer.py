"""One consumer of a service: the library's own loop in virtual time, which reads, runs, decides and settles."""

from collections import deque
from collections.abc import Generator
from typing import Any, cast

import simpy

from eventlib import policy
from eventlib.policy import Ack, GiveUp, RetryIn, TokenBucket
from sim.evidence.history import KIND
from sim.worlds.simulated.group import Group
from sim.worlds.simulated.run_state import NAN, Message

_FAILURE = RuntimeError("the scenario lets this attempt fail")
_STARTED, _HANDLED, _FAILED, _RETRIED, _DEAD, _ACKED = (
    KIND[name] for name in ("started", "handled", "failed", "retried", "dead", "acked")
)


class Consumer:
    """One consumer, from its start until it is killed or the run ends."""

    def __init__(self, group: Group, index: int) -> None:
        # What every message needs is looked up once: the attribute chains were a fifth of the run time.
        self.asked = 0  # COUNT of the read that it is blocked in
        self.killed = False
        self._group = group
        self._state = group.state
        self._service = group.service
        self._code = group.code
        self._event_code = group.event_code
        self._rows = group.state.rows
        self._service_s = group.service_s
        self._concurrency = group.service.concurrency
        self._prefetch = group.service.prefetch
        self._retry = group.service.retry
        self._timeout = group.state.env.timeout
        self._index = index
        self._born_at = self._state.env.now
        budget = group.service.retry_budget
        self._bucket = TokenBucket(budget, self._born_at) if budget else None
        self._reading = False
        self._sweeps_on = False  # the last sweep found something: try again as soon as there is room
        self._running = 0
        self._waiting: deque[Message] = deque()
        self._held: dict[Message, None] = {}  # a set that keeps its order

    def start(self) -> None:
        """Read and sweep from now on."""
        self._read()
        self._state.env.process(self._sweeping())

    def receive(self, count: int, after_s: float) -> None:
        """The server answers: what it hands out is this consumer's from now on, and here after `after_s`."""
        messages = self._group.take(count)
        self._hold(messages)
        reply = self._timeout(after_s, messages)
        reply.callbacks.append(self._delivered)

    def kill(self) -> None:
        """It dies without a word: what it held waits for the end of its lease."""
        if self.killed:
            return
        self.killed = True
        if self in self._group.blocked:
            self._group.blocked.remove(self)
        self._stop_renewing()

    # Reading

    def _room(self) -> int:
        return policy.room(self._concurrency, self._prefetch, self._running + len(self._waiting))

    def _read(self) -> None:
        """Ask for as much as there is room for; wait where there is nothing."""
        if self._reading:
            return
        count = policy.room(self._concurrency, self._prefetch, self._running + len(self._waiting))
        if not count:
            return
        self._reading = True
        if self._group.stream or self._group.retry:
            self.receive(count, self._state.overheads.read_s)
        else:
            self.asked = count
            self._group.blocked.append(self)

    def _hold(self, messages: list[Message]) -> None:
        for message in messages:
            message.read_at = self._state.env.now
            self._held[message] = None

    def _delivered(self, reply: simpy.Event) -> None:
        if self.killed:
            return
        self._waiting.extend(cast(list[Message], reply.value))
        self._start_handlers()
        self._reading = False
        self._read()

    # Handling

    def _start_handlers(self) -> None:
        while self._waiting and self._running < self._concurrency:
            self._handle(self._waiting.popleft())

    def _handle(self, message: Message) -> None:
        state = self._state
        attempt = message.used + message.deliveries
        now = state.env.now
        match policy.admit(self._retry, self._bucket, attempt, message.used, now, state.rng):
            case GiveUp():
                self._bury(message, attempt)
                return
            case RetryIn(delay_s):
                message.used = attempt - 1
                self._put_aside(message, attempt, delay_s)
                return
        self._record(_STARTED, now, message, attempt)
        fails = state.plan.fails(self._group.name, message.index, attempt, now)
        takes_s = self._service_s[message.index] + state.overheads.handle_s
        if not fails:
            takes_s += len(self._service.emits) * state.overheads.publish_s
        self._running += 1
        end = self._timeout(takes_s, (message, attempt, fails))
        end.callbacks.append(self._handled)

    def _handled(self, end: simpy.Event) -> None:
        if self.killed:
            return
        message, attempt, fails = cast(tuple[Message, int, bool], end.value)
        self._running -= 1
        if not fails and self._service.emits:
            self._emit(message)
        now = self._state.env.now
        self._record(_FAILED if fails else _HANDLED, now, message, attempt)
        match policy.decide(self._retry, attempt, _FAILURE if fails else None, self._state.rng):
            case Ack():
                if self._bucket is not None:
                    self._bucket.earn()
                self._record(_ACKED, now + self._state.overheads.settle_s, message, attempt)
                self._settle(message)
            case RetryIn(delay_s, counts):
                message.used = attempt if counts else attempt - 1
                self._put_aside(message, attempt, delay_s)
            case GiveUp():
                self._bury(message, attempt)
        if self._waiting:
            self._start_handlers()
        if self._sweeps_on:
            self._sweep()
        self._read()

    def _emit(self, message: Message) -> None:
        state = self._state
        for event, index in state.scenario.flow.emitted(self._group.name, self._service.consumes, message.index):
            sent_s = state.env.now - state.overheads.publish_s
            state.publish(event, index, message.intended_s, sent_s, self._code, self._index)

    # Settling

    def _put_aside(self, message: Message, attempt: int, delay_s: float) -> None:
        del self._held[message]
        overheads = self._state.overheads
        self._record(_RETRIED, self._state.env.now + overheads.settle_s, message, attempt)
        self._group.put_aside(message, delay_s + overheads.settle_s + overheads.retry_s)

    def _bury(self, message: Message, attempt: int) -> None:
        self._group.dead += 1
        self._record(_DEAD, self._state.env.now + self._state.overheads.settle_s, message, attempt)
        self._settle(message)

    def _settle(self, message: Message) -> None:
        del self._held[message]
        self._group.backlog -= 1
        self._state.settle()

    # Leases

    def _stop_renewing(self) -> None:
        """Nothing that it holds is renewed from now on. It was last renewed a third of a lease ago at most."""
        lease, now = self._service.lease, self._state.env.now
        renewed_at = self._born_at + (now - self._born_at) // lease.renew_every_s * lease.renew_every_s
        # Redis hands out expired entries in stream order, and a consumer holds them in the order it read them.
        for message in self._held:
            self._group.stop_renewing(message, max(message.read_at, renewed_at) + lease.duration_s)

    def _sweeping(self) -> Generator[simpy.Event, Any, None]:
        lease = self._service.lease
        while True:
            yield self._timeout(lease.sweep_wait_s(self._state.rng))
            if self.killed:
                return
            self._sweep()

    def _sweep(self) -> None:
        """Take over what there is room for, as long as something is found."""
        self._sweeps_on = True
        while self._sweeps_on and (count := self._room()):
            taken = self._group.sweep(count)
            self._hold(taken)
            self._waiting.extend(taken)
            self._start_handlers()
            self._sweeps_on = bool(taken)

    def _record(self, kind: int, at_s: float, message: Message, attempt: int) -> None:
        self._rows.append(
            (at_s, kind, self._code, self._index, self._event_code, message.index, attempt, message.intended_s, NAN)
        )
