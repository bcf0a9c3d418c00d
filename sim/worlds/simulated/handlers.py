"""The handlers of one consumer: which messages may run, how long they take, and what becomes of each attempt."""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import cast

import simpy

from eventlib import policy
from eventlib.policy import Ack, Decision, GiveUp, RetryIn, TokenBucket
from sim.evidence.history import KIND
from sim.worlds.simulated.group import Group
from sim.worlds.simulated.process_state import ProcessState
from sim.worlds.simulated.run_state import NAN, Message

FAILURE = RuntimeError("the scenario lets this attempt fail")
_STARTED, _HANDLED, _FAILED, _RETRIED, _DEAD, _ACKED, _LOST = (
    KIND[name] for name in ("started", "handled", "failed", "retried", "dead", "acked", "lost")
)


@dataclass(slots=True)
class _Lost:
    """What was taken over in the middle of an attempt: the attempts used up before, and whether that is noted."""

    used: int
    noted: bool = False


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
        self._lost_waiting: list[tuple[Message, int]] = []  # taken over before they began; with the attempt's number
        self._lost: dict[tuple[Message, int], _Lost] = {}  # taken over while the attempt ran

    def add(self, messages: Iterable[Message]) -> None:
        """Handle these messages as soon as it is their turn."""
        self.waiting.extend(messages)
        self._start()

    def lose(self, message: Message) -> None:
        """Another consumer takes the message over, before or while it is handled here."""
        delivery = (message, message.used + message.deliveries)
        if message in self.waiting:
            self.waiting.remove(message)
            self._lost_waiting.append(delivery)
        else:
            self._lost[delivery] = _Lost(message.used)

    def note_lost(self) -> None:
        """The consumer asks who owns what it holds, and finds out what was taken over."""
        now = self._state.env.now
        for message, attempt in self._lost_waiting:
            self._record(_LOST, now, message, attempt)
        self._lost_waiting.clear()
        for (message, attempt), lost in self._lost.items():
            if not lost.noted:
                self._record(_LOST, now, message, attempt)
                lost.noted = True

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
        self._record(_STARTED, now, message, attempt, message.dispatch)
        self.running += 1
        self._run(message, attempt, now)

    def _run(self, message: Message, attempt: int, now: float) -> None:
        """Let an attempt take its time."""
        state = self._state
        error = FAILURE if state.plan.fails(self._group.name, message.index, attempt, now) else None
        takes_s = self._service_s[message.index] + state.overheads.handle_s
        if error is None:
            takes_s += self._emits * state.overheads.publish_s
        end = self._timeout(takes_s, (message, attempt, error))
        end.callbacks.append(self._handled)

    def _handled(self, end: simpy.Event) -> None:
        if self._process.halted:
            self._process.postpone(self._handled, end)
            return
        message, attempt, error = cast(tuple[Message, int, Exception | None], end.value)
        fails = error is not None
        self.running -= 1
        if not fails and self._emits:
            self._emit(message)
        self._record(_FAILED if fails else _HANDLED, self._state.env.now, message, attempt)
        if not fails and self._bucket is not None:
            self._bucket.earn()
        if self._lost and (lost := self._lost.pop((message, attempt), None)):
            self._end_lost(lost, message, attempt, fails)
        else:
            decision = policy.decide(self._retry, attempt, error, self._state.rng)
            self._settle_by(decision, message, attempt)
        if self.waiting:
            self._start()
        self._ended()

    def _end_lost(self, lost: _Lost, message: Message, attempt: int, fails: bool) -> None:
        """The attempt has ended, but the outcome of the message's new owner counts.

        Where the loss is not noted yet, settling finds it out. But an ack of what is pending no more succeeds.
        A handler that publishes ends a reply later: by then, the consumer has asked who owns what it holds.
        """
        now = self._state.env.now
        if lost.noted:
            return
        if fails or self._emits or self._group.is_pending(message, lost.used):
            self._record(_LOST, now, message, attempt)
        else:
            self._record(_ACKED, now + self._state.overheads.settle_s, message, attempt)

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
        self._group.settle(message)
        self._state.settle()

    def _record(self, kind: int, at_s: float, message: Message, attempt: int, value: float = NAN) -> None:
        self._rows.append(
            (at_s, kind, self._code, self._index, self._event_code, message.index, attempt, message.intended_s, value)
        )
