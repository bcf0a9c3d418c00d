"""Handlers that take many messages in one call."""

from collections.abc import Sequence
from typing import Any

import simpy

from eventlib import policy
from eventlib.circuit_breaker import speaks_of_dependency
from sim.evidence.history import KIND
from sim.worlds.simulated.dependent_handlers import DependentHandlers
from sim.worlds.simulated.group import Group
from sim.worlds.simulated.handlers import FAILURE, Handlers
from sim.worlds.simulated.run_state import Message

_STARTED, _BATCH = KIND["started"], KIND["batch"]
Member = tuple[Message, int, Exception | None]  # with the number of its attempt, and what that fails with


class _Batch:
    """A call under way: its messages, and how many of them have not ended."""

    __slots__ = ("left", "members")

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = members
        self.left = len(members)


class BatchHandlers(DependentHandlers):
    """A call takes what is there, up to the size of a batch. Its first message stands for it while it is under way."""

    def __init__(self, group: Group, *rest: Any) -> None:
        super().__init__(group, *rest)
        assert group.service.batch is not None, "a service without batches has other handlers"
        self._batching = group.service.batch
        self._calls_running = 0
        self._batch_of: dict[tuple[Message, int], _Batch] = {}  # by message and attempt
        self._waits = False  # a timer runs

    def _start(self, after_s: float) -> None:
        while self._start_call(after_s):
            after_s += self._cpu.start_s

    def _start_call(self, after_s: float) -> bool:
        """Begin a call `after_s` from now, if one may begin then."""
        if not self._may_call():
            return False
        batching, oldest = self._batching, self.waiting[0]
        starts_at = self._state.env.now + after_s
        left_s = policy.batch_wait_s(len(self.waiting), batching.size, batching.wait_s, oldest.read_at, starts_at)
        if left_s and not self._is_suspect(oldest):
            self._wait(after_s + left_s)
            return False
        self._handle_batch(policy.take_batch(self.waiting, batching.size, self._is_suspect), after_s)
        return True

    def _may_call(self) -> bool:
        there = bool(self.waiting) and self._calls_running < self._concurrency
        return there and (self.gate is None or self.gate.may_begin())

    def _is_suspect(self, message: Message) -> bool:
        return message.deliveries > 1 and self._group.is_suspect(message)

    def _wait(self, for_s: float) -> None:
        if not self._waits:
            self._waits = True
            over = self._timeout(for_s)
            over.callbacks.append(self._wait_is_over)

    def _wait_is_over(self, over: simpy.Event) -> None:
        if self._process.halted:
            self._process.postpone(self._wait_is_over, over)
            return
        self._waits = False
        self._start(0.0)

    def _handle_batch(self, taken: Sequence[Message], after_s: float) -> None:
        state, starts_at, members = self._state, self._state.env.now + after_s, list[Member]()
        for message in taken:
            attempt = message.used + message.deliveries
            refusal = policy.admit(self._retry, self._bucket, attempt, message.used, starts_at, state.rng)
            if refusal is not None:
                self._settle_by(refusal, message, attempt, starts_at)
                continue
            self._record(_STARTED, starts_at, message, attempt)
            members.append((message, attempt, self._error_of(message, attempt, starts_at)))
        if not members:
            return
        first, attempt, _ = members[0]
        self._record(_BATCH, starts_at, first, attempt, float(len(members)))
        batch = _Batch(members)
        for message, of_one, _ in members:
            self._batch_of[message, of_one] = batch
        self.running += len(members)
        self._calls_running += 1
        if self.gate is not None:
            self.gate.began(first, attempt)
        self._run(first, attempt, starts_at, after_s)

    def _error_of(self, message: Message, attempt: int, starts_at: float) -> Exception | None:
        """What an attempt at one message fails with that starts then."""
        return super()._work(message, attempt, starts_at)[1]

    def _work(self, message: Message, attempt: int, starts_at: float) -> tuple[float, Exception | None]:
        takes_s, error = super()._work(message, attempt, starts_at)
        more_s = len(self._batch_of[message, attempt].members) * self._batching.per_message_s
        return takes_s + more_s * self._state.plan.slowed(self._group.name, starts_at), error

    def _complete(self, message: Message, attempt: int, error: Exception | None) -> None:
        members = self._batch_of[message, attempt].members
        if self._poisoned and any(self._state.plan.kills(self._group.name, one.index) for one, *_ in members):
            self._state.let_die(self._group.name, self._index)
            return
        self._end_call(message, members)

    def _finish(self, message: Message, attempt: int, error: Exception | None) -> None:
        """The call took too long: all of its messages have failed."""
        self._end_call(message, [(one, of_one, FAILURE) for one, of_one, _ in self._batch_of[message, attempt].members])

    def _end_call(self, first: Message, members: Sequence[Member]) -> None:
        self._tell_gate_of_call(first, members)
        for member in members:
            Handlers._finish(self, *member)

    def _tell_gate_of_call(self, first: Message, members: Sequence[Member]) -> None:
        if self.gate is not None:
            errors = [error for *_, error in members if error is not None]
            failed = sum(map(speaks_of_dependency, errors))
            self.gate.ended(first, members[0][1], succeeded=len(members) - len(errors), failed=failed)

    def _tell_gate(self, message: Message, attempt: int, error: Exception | None) -> None:
        """The gate knows: a call is one attempt."""

    def _free_worker(self, message: Message, attempt: int, after_s: float) -> None:
        """A message of a call has ended. The worker is free with the last one."""
        batch = self._batch_of.pop((message, attempt))
        batch.left -= 1
        if batch.left:
            return
        self.running -= len(batch.members)
        self._calls_running -= 1
        if self.waiting:
            self._start(after_s + self._cpu.takes_s("next_s"))
        self._ended(after_s)
