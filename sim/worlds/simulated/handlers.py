"""The handlers of one consumer: which messages may run, how long they take, and what becomes of each attempt."""

from collections import deque
from collections.abc import Callable, Iterable
from typing import cast

import simpy

from eventlib import policy
from eventlib.policy import Ack, Decision, GiveUp, RetryIn, TokenBucket
from sim.evidence.history import KIND
from sim.worlds.simulated.group import Group
from sim.worlds.simulated.process_state import ProcessState
from sim.worlds.simulated.run_state import NAN, Message

_FAILURE = RuntimeError("the scenario lets this attempt fail")
_STARTED, _HANDLED, _FAILED, _RETRIED, _DEAD, _ACKED, _LOST = (
    KIND[name] for name in ("started", "handled", "failed", "retried", "dead", "acked", "lost")
)


class Handlers:
    """Handles messages first come first served, `concurrency` at once, and settles them.

    `held` has what the consumer holds, in the order in which it came; what is settled is taken out. `ended` is called
    after each attempt.
    """

    def __init__(
        self, group: Group, index: int, process: ProcessState, held: dict[Message, None], ended: Callable[[], None]
    ) -> None:
        # What every message needs is looked up once: the attribute chains were a fifth of the run time.
        self.running = 0
        self.waiting: deque[Message] = deque()
        self._group = group
        self._index = index
        self._process = process
        self._held = held
        self._ended = ended
        self._state = group.state
        self._code = group.code
        self._event_code = group.event_code
        self._service = group.service
        self._concurrency = group.service.concurrency
        self._retry = group.service.retry
        self._emits = len(group.service.emits)
        self._service_s = group.service_s
        self._rows = group.state.rows
        self._timeout = group.state.env.timeout
        budget = group.service.retry_budget
        self._bucket = TokenBucket(budget, group.state.env.now) if budget else None
        self._lost: list[tuple[Message, int]] = []  # with the attempt's number; not noted yet
        self._lost_running: set[tuple[Message, int]] = set()

    def add(self, messages: Iterable[Message]) -> None:
        """Handle these messages as soon as it is their turn."""
        self.waiting.extend(messages)
        self._start()

    def lose(self, message: Message) -> None:
        """Another consumer takes the message over, before or while it is handled here."""
        delivery = (message, message.used + message.deliveries)
        self._lost.append(delivery)
        if message in self.waiting:
            self.waiting.remove(message)
        else:
            self._lost_running.add(delivery)

    def note_lost(self) -> None:
        """The consumer finds out what was taken over."""
        for message, attempt in self._lost:
            self._record(_LOST, self._state.env.now, message, attempt)
        self._lost.clear()

    def _start(self) -> None:
        while self.waiting and self.running < self._concurrency:
            self._handle(self.waiting.popleft())

    def _handle(self, message: Message) -> None:
        state = self._state
        attempt = message.used + message.deliveries
        now = state.env.now
        refusal = policy.admit(self._retry, self._bucket, attempt, message.used, now, state.rng)
        if refusal is not None:
            self._settle_by(refusal, message, attempt)
            return
        self._record(_STARTED, now, message, attempt)
        fails = state.plan.fails(self._group.name, message.index, attempt, now)
        takes_s = self._service_s[message.index] + state.overheads.handle_s
        if not fails:
            takes_s += self._emits * state.overheads.publish_s
        self.running += 1
        end = self._timeout(takes_s, (message, attempt, fails))
        end.callbacks.append(self._handled)

    def _handled(self, end: simpy.Event) -> None:
        if self._process.halted:
            self._process.postpone(self._handled, end)
            return
        message, attempt, fails = cast(tuple[Message, int, bool], end.value)
        self.running -= 1
        if not fails and self._emits:
            self._emit(message)
        self._record(_FAILED if fails else _HANDLED, self._state.env.now, message, attempt)
        if not fails and self._bucket is not None:
            self._bucket.earn()
        if self._lost_running and (message, attempt) in self._lost_running:
            self._lost_running.remove((message, attempt))  # the outcome of its new owner counts
        else:
            decision = policy.decide(self._retry, attempt, _FAILURE if fails else None, self._state.rng)
            self._settle_by(decision, message, attempt)
        if self.waiting:
            self._start()
        self._ended()

    def _emit(self, message: Message) -> None:
        state = self._state
        sent_s = max(state.env.now - state.overheads.publish_s, self._process.resumed_at)
        for event, index in state.scenario.flow.emitted(self._group.name, self._service.consumes, message.index):
            state.publish(event, index, message.intended_s, sent_s, self._code, self._index)

    def _settle_by(self, decision: Decision, message: Message, attempt: int) -> None:
        match decision:
            case Ack():
                self._record(_ACKED, self._state.env.now + self._state.overheads.settle_s, message, attempt)
                self._settle(message)
            case RetryIn(delay_s, counts):
                message.used = attempt if counts else attempt - 1
                self._put_aside(message, attempt, delay_s)
            case GiveUp():
                self._bury(message, attempt)

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

    def _record(self, kind: int, at_s: float, message: Message, attempt: int) -> None:
        self._rows.append(
            (at_s, kind, self._code, self._index, self._event_code, message.index, attempt, message.intended_s, NAN)
        )
