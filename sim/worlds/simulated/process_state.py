"""Whether the process of a simulated consumer runs, is suspended or is dead."""

from collections.abc import Callable

import simpy

Finish = Callable[[simpy.Event], None]


class ProcessState:
    """A process that runs, until a fault suspends or kills it. What is due meanwhile is done when it goes on."""

    def __init__(self, env: simpy.Environment) -> None:
        self.halted = False  # suspended or dead: nothing of it runs
        self.dead = False
        self.resumed_at = float("-inf")
        self.resumption = env.event()  # of a suspended process: when it goes on
        self._env = env
        self._postponed: list[tuple[Finish, simpy.Event]] = []

    @property
    def suspended(self) -> bool:
        return self.halted and not self.dead

    def suspend(self) -> None:
        """Let nothing run until `resume`."""
        self.halted = True
        self.resumption = self._env.event()

    def resume(self) -> None:
        """Let it run again; `catch_up` does what was due."""
        self.halted = False
        self.resumed_at = self._env.now

    def kill(self) -> None:
        """Let nothing run any more."""
        self.halted = self.dead = True

    def postpone(self, finish: Finish, event: simpy.Event) -> None:
        """Call `finish(event)`, which is due now, when the process goes on; never, if it is dead."""
        self._postponed.append((finish, event))

    def catch_up(self) -> None:
        """Do what was postponed, in the order in which it was due."""
        postponed, self._postponed = self._postponed, []
        for finish, event in postponed:
            finish(event)
        self.resumption.succeed()
