"""Handlers that call dependencies and wait for them, or that may take no longer than so many seconds."""

from collections import deque
from typing import Any, cast

import simpy

from sim.declare.faults.kind import out_at
from sim.worlds.simulated.dependencies import Call
from sim.worlds.simulated.group import Group
from sim.worlds.simulated.handlers import FAILURE, Handlers
from sim.worlds.simulated.run_state import Message


class _Attempt:
    """An attempt under way: its error, if it will have one, and the dependencies that it still has to call."""

    __slots__ = ("attempt", "call", "error", "left", "message", "over")

    def __init__(self, message: Message, attempt: int, error: Exception | None, left: deque[tuple[str, float]]) -> None:
        self.message = message
        self.attempt = attempt
        self.error = error
        self.left = left
        self.call: Call | None = None
        self.over = False


class DependentHandlers(Handlers):
    """An attempt takes its own time, and then calls its dependencies, one after the other."""

    def __init__(self, group: Group, *rest: Any) -> None:
        super().__init__(group, *rest)
        called = group.state.plan.dependency_s[group.name]
        self._calls: list[tuple[str, list[float]]] = [(name, seconds.tolist()) for name, seconds in called]
        self._limit_s = group.service.timeout_s
        faults = group.state.scenario.faults
        self._out = {name: [one for fault in faults for one in fault.out_windows(name)] for name, _ in called}

    def _run(self, message: Message, attempt: int, starts_at: float, after_s: float) -> None:
        takes_s, error = self._work(message, attempt, starts_at)
        left = deque((name, seconds[message.index]) for name, seconds in self._calls)
        one = _Attempt(message, attempt, error, left)
        own = self._timeout(after_s + takes_s, one)
        own.callbacks.append(self._go_on)
        if self._limit_s is not None:
            over = self._timeout(after_s + self._limit_s, one)
            over.callbacks.append(self._time_out)

    def _go_on(self, step: simpy.Event) -> None:
        """A step of an attempt is done: the next one is a call, or there is none."""
        if self._process.halted:
            self._process.postpone(self._go_on, step)
            return
        one = cast(_Attempt, step.value)
        if one.over:
            return
        if not one.left:
            one.over = True
            self._complete(one.message, one.attempt, one.error)
            return
        name, seconds = one.left[0]
        if (out := self._out.get(name)) and (window := out_at(out, self._state.env.now)) is not None:
            if window.hangs:
                over = self._timeout(window.until_s - self._state.env.now, one)
                over.callbacks.append(self._go_on)
            else:
                one.over = True
                self._finish(one.message, one.attempt, FAILURE)
            return
        one.left.popleft()
        one.call = self._state.dependencies[name].call(self._process, seconds, one)
        one.call.done.callbacks.append(self._go_on)

    def _time_out(self, over: simpy.Event) -> None:
        if self._process.halted:
            self._process.postpone(self._time_out, over)
            return
        one = cast(_Attempt, over.value)
        if one.over:
            return
        one.over = True
        if one.call is not None:
            one.call.given_up = True
        self._finish(one.message, one.attempt, FAILURE)
