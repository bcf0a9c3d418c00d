"""The event loop of a simulated process: it does one thing at a time, in the order in which things are due."""

from collections import deque
from collections.abc import Callable

import simpy

from sim.worlds.simulated.process_state import ProcessState


class EventLoop:
    """Free, or held by a handler that computes; then everything else of its process waits."""

    def __init__(self, env: simpy.Environment, process: ProcessState) -> None:
        self._env = env
        self._process = process
        self._free_at = float("-inf")
        self._due: deque[Callable[[], None]] = deque()
        self._wakes = False  # whether it looks again when it is free

    def run(self, step: Callable[[], None]) -> None:
        """Do this when the loop is free, behind what was due before: now, if it can be."""
        if self._due or self._env.now < self._free_at:
            self._due.append(step)
            self._wake_when_free()
        else:
            step()

    def hold(self, for_s: float) -> None:
        """The step that runs computes for so long."""
        self._free_at = self._env.now + for_s

    def _wake_when_free(self) -> None:
        if not self._wakes:
            self._wakes = True
            free = self._env.timeout(max(0.0, self._free_at - self._env.now))
            free.callbacks.append(self._go_on)

    def _go_on(self, free: simpy.Event) -> None:
        if self._process.halted:
            self._process.postpone(self._go_on, free)
            return
        self._wakes = False
        while self._due and self._env.now >= self._free_at:
            self._due.popleft()()
        if self._due:
            self._wake_when_free()
