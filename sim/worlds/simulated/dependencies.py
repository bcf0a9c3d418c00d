"""A dependency in virtual time: calls wait for one of its slots, first come first served."""

from collections import deque
from collections.abc import Iterator
from typing import Any, cast

import simpy

from sim.evidence.dependencies import SlotUse
from sim.worlds.simulated.process_state import ProcessState


class Call:
    """A call of a process. `done` comes, with the value that the caller gave, when it was served."""

    __slots__ = ("asked_s", "caller", "done", "given_up", "seconds", "value")

    def __init__(self, env: simpy.Environment, caller: ProcessState, seconds: float, value: Any) -> None:
        self.caller = caller
        self.asked_s = env.now
        self.seconds = seconds
        self.value = value
        self.done = env.event()
        self.given_up = False


class Dependency:
    """Serves `capacity` calls at once."""

    def __init__(self, env: simpy.Environment, capacity: int) -> None:
        self._env = env
        self._free = capacity
        self._use = SlotUse(env.now)
        self._waiting: deque[Call] = deque()

    def call(self, caller: ProcessState, seconds: float, value: Any) -> Call:
        """Ask for `seconds` of a slot."""
        call = Call(self._env, caller, seconds, value)
        if self._free:
            self._serve(call)
        else:
            self._waiting.append(call)
        return call

    def look(self) -> Iterator[tuple[str, float]]:
        """What is to be noted of it now: the kinds and values of rows."""
        waiting = sum(not call.given_up and not call.caller.dead for call in self._waiting)
        return self._use.look(self._env.now, waiting)

    def _serve(self, call: Call) -> None:
        self._free -= 1
        self._use.begin(self._env.now, self._env.now - call.asked_s)
        served = self._env.timeout(call.seconds, call)
        served.callbacks.append(self._served)

    def _served(self, served: simpy.Event) -> None:
        call = cast(Call, served.value)
        self._free += 1
        self._use.end(self._env.now)
        if not call.given_up:
            call.done.succeed(call.value)
        while self._waiting and self._free:
            call = self._waiting.popleft()
            if not call.given_up and not call.caller.dead:
                self._serve(call)
