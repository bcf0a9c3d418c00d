"""A dependency in virtual time: calls wait for one of its slots, first come first served."""

from collections import deque
from typing import Any, cast

import simpy

from sim.worlds.simulated.process_state import ProcessState


class Call:
    """A call of a process. `done` comes, with the value that the caller gave, when it was served."""

    __slots__ = ("caller", "done", "given_up", "seconds", "value")

    def __init__(self, env: simpy.Environment, caller: ProcessState, seconds: float, value: Any) -> None:
        self.caller = caller
        self.seconds = seconds
        self.value = value
        self.done = env.event()
        self.given_up = False


class Dependency:
    """Serves `capacity` calls at once."""

    def __init__(self, env: simpy.Environment, capacity: int) -> None:
        self._env = env
        self._free = capacity
        self._waiting: deque[Call] = deque()

    def call(self, caller: ProcessState, seconds: float, value: Any) -> Call:
        """Ask for `seconds` of a slot."""
        call = Call(self._env, caller, seconds, value)
        if self._free:
            self._serve(call)
        else:
            self._waiting.append(call)
        return call

    def _serve(self, call: Call) -> None:
        self._free -= 1
        served = self._env.timeout(call.seconds, call)
        served.callbacks.append(self._served)

    def _served(self, served: simpy.Event) -> None:
        call = cast(Call, served.value)
        self._free += 1
        if not call.given_up:
            call.done.succeed(call.value)
        while self._waiting and self._free:
            call = self._waiting.popleft()
            if not call.given_up and not call.caller.dead:
                self._serve(call)
