"""What attempts of own handlers do, as a short run showed it: how long they take, what they fail with and publish."""

from typing import cast

import simpy

from eventlib.signals import Reject, RetryAfter, Snooze
from sim.worlds.simulated.group import Group
from sim.worlds.simulated.handlers import FAILURE
from sim.worlds.simulated.machine import Process
from sim.worlds.simulated.process_state import ProcessState
from sim.worlds.simulated.run_state import Message
from sim.worlds.simulated.sending import Sent

_REJECTED = Reject("as often as was learned")


class LearnedWork:
    """The work of one consumer of a service.

    What attempts publish that then fail is left out: only what handled messages set off was learned.
    """

    def __init__(self, group: Group, index: int, process: ProcessState, cpu: Process) -> None:
        state, service, name = group.state, group.service, group.name
        assert service.own is not None and service.own.learned is not None, "simulate() refuses it"
        self._learned = service.own.learned
        self._group = group
        self._index = index
        self._process = process
        self._cpu = cpu
        self._state = state
        self._error_rate = service.error_rate
        cpu_s = state.plan.cpu_s.get(name)
        self._times = group.service_s, [0.0] * len(group.service_s) if cpu_s is None else cpu_s.tolist()
        self._draws = state.plan.failure_draws[name]
        failing = state.plan.failing[name]
        self._snoozes: list[int] = failing.snoozes.tolist()
        self._failing_times = (
            self._times[0] if failing.whole_s is None else failing.whole_s.tolist(),
            self._times[1] if failing.cpu_s is None else failing.cpu_s.tolist(),
        )
        self._snooze = Snooze(self._learned.snooze_s)
        self._put_off = RetryAfter(self._learned.put_off_s)
        self._emitted = [
            (one, self._learned.emits[one.event].after, state.plan.emits[name][one.event])
            for one in state.scenario.flow.emitted_by[name]
        ]

    def takes_s(self, message: Message, starts_at: float, *, fails: bool, messages: int = 1) -> tuple[float, float]:
        """For how long an attempt works that starts then, and for how long of that it computes, beside others.

        `messages`: how many its call takes, of which this is the first.
        """
        whole_s, cpu_s = (times[message.index] for times in (self._failing_times if fails else self._times))
        if self._group.service.batch is not None:
            whole_s += messages * self._group.service.batch.per_message_s
            cpu_s += messages * self._learned.cpu_per_message_s
        shared_s = self._cpu.computes_s(starts_at, cpu_s) - cpu_s if cpu_s else 0.0
        return whole_s + shared_s, cpu_s + shared_s

    def error(self, message: Message, attempt: int) -> Exception | None:
        """What an attempt at a message fails with."""
        if message.snoozed < self._snoozes[message.index]:
            message.snoozed += 1
            return self._snooze
        draw, learned = self._draws.item(message.index, attempt - 1), self._learned
        error_rate = self._error_rate if attempt == 1 else learned.retry_error_rate
        if draw < error_rate:
            return self._put_off if draw < error_rate * learned.put_off_share else FAILURE
        return _REJECTED if draw >= 1.0 - learned.reject_rate else None

    def publish(self, message: Message, takes_s: float) -> None:
        """Publish what handling this message sets off, each in its time: the server has it before the attempt ends."""
        state, consumes = self._state, self._group.service.consumes
        append_s = state.machine.takes_s("append_s")
        for emitted, after, counts in self._emitted:
            for place in range(counts[message.index]):
                number = state.scenario.flow.number(emitted, consumes, message.index, place)
                due_s = min(after * takes_s + append_s, takes_s)
                due = state.env.timeout(due_s, (emitted.event, number, message.intended_s))
                due.callbacks.append(self._publish_one)

    def _publish_one(self, due: simpy.Event) -> None:
        if self._process.halted:
            self._process.postpone(self._publish_one, due)
            return
        event, number, intended_s = cast(tuple[str, int, float], due.value)
        state, link = self._state, self._state.link
        if not link.works and (at_s := link.arrives_s(state.env.now, adds=True)) > state.env.now:
            later = state.env.timeout(at_s - state.env.now, due.value)
            later.callbacks.append(self._publish_one)
            return
        now, append_s = state.env.now, state.machine.takes_s("append_s")
        sent = Sent(max(now - append_s, self._process.resumed_at), now, now + append_s)
        state.publish(event, number, intended_s, sent, self._group.code, self._index)
