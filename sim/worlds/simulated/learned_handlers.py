"""Handlers of the user's own, as a short run showed them: they compute, wait, fail and publish as they did there."""

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any

import simpy

from sim.worlds.simulated.batch_handlers import BatchHandlers, Member
from sim.worlds.simulated.event_loop import EventLoop
from sim.worlds.simulated.group import Group
from sim.worlds.simulated.handlers import Handlers
from sim.worlds.simulated.learned_work import LearnedWork
from sim.worlds.simulated.run_state import Message


class _OnLoop(Handlers):
    """Handlers that the event loop of their process begins, one at a time, when nothing else computes there."""

    def __init__(self, group: Group, *rest: Any) -> None:
        super().__init__(group, *rest)
        index, process, cpu = rest[:3]
        self._does = LearnedWork(group, index, process, cpu)
        self._loop = EventLoop(group.state.env, process)
        self._starts = False  # whether the loop is to begin an attempt when it is free

    @abstractmethod
    def _may_start(self) -> bool:
        """Whether there is something to begin, and a worker for it."""

    @abstractmethod
    def _start_one(self) -> bool:
        """Begin it now, if it is its turn."""

    def _start(self, after_s: float) -> None:
        if not self._starts and self._may_start():
            self._starts = True
            there = self._timeout(after_s)
            there.callbacks.append(self._start_when_free)

    def _start_when_free(self, there: simpy.Event) -> None:
        if self._process.halted:
            self._process.postpone(self._start_when_free, there)
        else:
            self._loop.run(self._start_on_loop)

    def _start_on_loop(self) -> None:
        self._starts = False
        held = self.running + len(self.waiting)
        if self._start_one():
            self._start(self._cpu.start_s)
        if self.running + len(self.waiting) < held:  # some were refused: there is room, and no attempt ends to tell it
            self._ended(0.0)

    def _end_after(self, takes_s: float, computes_s: float, what: object) -> None:
        """Let what begins now compute first, and then wait; `_handled` is called at its end."""
        self._loop.hold(computes_s)
        end = self._timeout(takes_s, what)
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
        self._cpu.does_s("handle_s", self._state.env.now)  # it wakes up, and that took a part of what was learned
        self._done(end.value)

    @abstractmethod
    def _done(self, what: Any) -> None:
        """What began is over."""


class LearnedHandlers(_OnLoop):
    """An attempt computes first, alone in its process, and then waits, while others compute or wait."""

    def _may_start(self) -> bool:
        there = bool(self.waiting) and self.running < self._concurrency
        return there and (self.gate is None or self.gate.may_begin())

    def _start_one(self) -> bool:
        if not self._may_start():
            return False
        self._handle(self.waiting.popleft(), 0.0)
        return True

    def _run(self, message: Message, attempt: int, starts_at: float, after_s: float) -> None:
        error = self._does.error(message, attempt)
        takes_s, computes_s = self._does.takes_s(message, starts_at, fails=error is not None)
        if error is None:
            self._does.publish(message, takes_s)
        self._end_after(takes_s, computes_s, (message, attempt, error))

    def _done(self, what: tuple[Message, int, Exception | None]) -> None:
        self._end(*what, 0.0)


class LearnedBatchHandlers(_OnLoop, BatchHandlers):
    """The same for calls that take many messages: the first one stands for a call. A part of them may fail."""

    def _may_start(self) -> bool:
        return self._may_call()

    def _start_one(self) -> bool:
        return self._start_call(0.0)

    def _error_of(self, message: Message, attempt: int, starts_at: float) -> Exception | None:
        return self._does.error(message, attempt)

    def _run(self, message: Message, attempt: int, starts_at: float, after_s: float) -> None:
        members = self._batch_of[message, attempt].members
        fails = all(error is not None for *_, error in members)
        takes_s, computes_s = self._does.takes_s(message, starts_at, fails=fails, messages=len(members))
        for member, _, error in members:
            if error is None:
                self._does.publish(member, takes_s)
        self._end_after(takes_s, computes_s, members)

    def _done(self, what: Sequence[Member]) -> None:
        self._tell_gate_of_call(what[0][0], what)
        for member in what:
            self._end(*member, 0.0)
