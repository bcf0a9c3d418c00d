"""Handlers of the user's own, as a short run showed them: they compute, wait, fail and publish as they did there."""

from functools import partial
from typing import Any, cast

import simpy

from eventlib.signals import Reject, RetryAfter, Snooze
from sim.worlds.simulated.event_loop import EventLoop
from sim.worlds.simulated.group import Group
from sim.worlds.simulated.handlers import FAILURE, Handlers
from sim.worlds.simulated.run_state import Message
from sim.worlds.simulated.sending import Sent

_REJECTED = Reject("as often as was learned")


class LearnedHandlers(Handlers):
    """An attempt computes first, alone in its process, and then waits, while others compute or wait.

    What attempts publish that then fail is left out: only what handled messages set off was learned.
    """

    def __init__(self, group: Group, *rest: Any) -> None:
        super().__init__(group, *rest)
        state, name = group.state, group.name
        assert self._service.own is not None and self._service.own.learned is not None, "simulate() refuses it"
        self._learned = self._service.own.learned
        self._loop = EventLoop(state.env, self._process)
        self._starts = False  # whether the loop is to begin an attempt when it is free
        cpu_s = state.plan.cpu_s.get(name)
        self._cpu_s: list[float] = [0.0] * len(self._service_s) if cpu_s is None else cpu_s.tolist()
        self._draws = state.plan.failure_draws[name]
        failing = state.plan.failing[name]
        self._snoozes: list[int] = failing.snoozes.tolist()
        self._failing_s = self._service_s if failing.whole_s is None else failing.whole_s.tolist()
        self._failing_cpu_s = self._cpu_s if failing.cpu_s is None else failing.cpu_s.tolist()
        self._snooze = Snooze(self._learned.snooze_s)
        self._put_off = RetryAfter(self._learned.put_off_s)
        self._emitted = [
            (one, self._learned.emits[one.event].after, state.plan.emits[name][one.event])
            for one in state.scenario.flow.emitted_by[name]
        ]

    def _start(self, after_s: float) -> None:
        if not self._starts and self._may_start():
            self._starts = True
            there = self._timeout(after_s)
            there.callbacks.append(self._start_when_free)

    def _may_start(self) -> bool:
        there = bool(self.waiting) and self.running < self._concurrency
        return there and (self.gate is None or self.gate.may_begin())

    def _start_when_free(self, there: simpy.Event) -> None:
        if self._process.halted:
            self._process.postpone(self._start_when_free, there)
        else:
            self._loop.run(self._start_one)

    def _start_one(self) -> None:
        self._starts = False
        if self._may_start():
            self._handle(self.waiting.popleft(), 0.0)
            self._start(self._cpu.start_s)

    def _run(self, message: Message, attempt: int, starts_at: float, after_s: float) -> None:
        error = self._error(message, attempt)
        of_outcome = (self._service_s, self._cpu_s) if error is None else (self._failing_s, self._failing_cpu_s)
        takes_s, computes_s = (times[message.index] for times in of_outcome)
        shared_s = self._cpu.computes_s(starts_at, computes_s) - computes_s if computes_s else 0.0
        takes_s, computes_s = takes_s + shared_s, computes_s + shared_s
        self._loop.hold(computes_s)
        if error is None:
            self._publish(message, takes_s)
        end = self._timeout(takes_s, (message, attempt, error))
        # What only computes ends in the step that it began in; what has waited goes on when it is its turn.
        end.callbacks.append(self._handled if computes_s >= takes_s else self._over)

    def _over(self, end: simpy.Event) -> None:
        """The wait of an attempt is over. It goes on when the loop is free."""
        if self._process.halted:
            self._process.postpone(self._over, end)
        else:
            self._loop.run(partial(self._handled, end))

    def _handled(self, end: simpy.Event) -> None:
        if self._process.halted:
            self._process.postpone(self._handled, end)
            return
        message, attempt, error = cast(tuple[Message, int, Exception | None], end.value)
        self._cpu.does_s("handle_s", self._state.env.now)  # it wakes up, and that took a part of what was learned
        self._end(message, attempt, error, 0.0)

    def _error(self, message: Message, attempt: int) -> Exception | None:
        if message.snoozed < self._snoozes[message.index]:
            message.snoozed += 1
            return self._snooze
        draw, learned = self._draws.item(message.index, attempt - 1), self._learned
        error_rate = self._service.error_rate if attempt == 1 else learned.retry_error_rate
        if draw < error_rate:
            return self._put_off if draw < error_rate * learned.put_off_share else FAILURE
        return _REJECTED if draw >= 1.0 - learned.reject_rate else None

    def _publish(self, message: Message, takes_s: float) -> None:
        """Publish what handling this message sets off, each in its time: the server has it before the attempt ends."""
        append_s = self._state.machine.takes_s("append_s")
        for emitted, after, counts in self._emitted:
            for place in range(counts[message.index]):
                number = self._state.scenario.flow.number(emitted, self._service.consumes, message.index, place)
                due = self._timeout(
                    min(after * takes_s + append_s, takes_s), (emitted.event, number, message.intended_s)
                )
                due.callbacks.append(self._publish_one)

    def _publish_one(self, due: simpy.Event) -> None:
        if self._process.halted:
            self._process.postpone(self._publish_one, due)
            return
        event, number, intended_s = cast(tuple[str, int, float], due.value)
        state = self._state
        if not self._link.works and (at_s := self._link.arrives_s(state.env.now, adds=True)) > state.env.now:
            later = self._timeout(at_s - state.env.now, due.value)
            later.callbacks.append(self._publish_one)
            return
        now, append_s = state.env.now, state.machine.takes_s("append_s")
        sent = Sent(max(now - append_s, self._process.resumed_at), now, now + append_s)
        state.publish(event, number, intended_s, sent, self._code, self._index)
