"""How one caller's process sends its requests in virtual time, as the library's sender does.

One batch is on its way at a time, and is repeated as long as one of its callers waits. What still waits for that batch
when its caller's time is over is withdrawn.
"""

from collections.abc import Callable, Generator, Sequence
from math import inf
from typing import Any, cast

import simpy

from eventlib.policy import RECONNECT
from sim.worlds.simulated.link import PUBLISHES
from sim.worlds.simulated.run_state import RunState


class Request:
    """A message of the load whose sender waits for a reply until `until_s`."""

    __slots__ = ("due_s", "index", "until_s")

    def __init__(self, index: int, due_s: float, until_s: float) -> None:
        self.index = index
        self.due_s = due_s
        self.until_s = until_s


Tell = Callable[[Request], None]


class Requesting:
    """Sends requests. `appended` is called when the server has one, `published` when its caller knows that in time."""

    def __init__(self, state: RunState, appended: Tell, published: Tell) -> None:
        self._state = state
        self._env = state.env
        self._link = state.link
        self._instant = state.machine.instant
        self._process = state.machine.process("generator")
        self._appended = appended
        self._published = published
        self._queue: list[Request] = []
        self._sends = False
        self._killed = False

    def send(self, request: Request) -> float:
        """Send a request that is due now. Returns when it is handed to the bus."""
        now = self._env.now
        if self._instant and self._link.works and not self._sends:
            self._appended(request)
            self._published(request)
            return now
        self._state.open()
        late_s = self._process.does_s("lateness_s", now, share=1.0)
        handed = self._env.timeout(late_s, request)
        handed.callbacks.append(self._queue_up)
        return now + late_s

    def kill(self) -> None:
        """The process is dead. What it has sent arrives all the same."""
        self._killed = True

    def _queue_up(self, handed: simpy.Event) -> None:
        self._queue.append(cast(Request, handed.value))
        if not self._sends:
            self._sends = True
            self._env.process(self._send_all())

    def _send_all(self) -> Generator[simpy.Event, Any, None]:
        while self._queue:
            batch = [one for one in self._queue if one.until_s > self._env.now and not self._killed]
            for _ in range(len(self._queue) - len(batch)):
                self._state.settle()
            self._queue.clear()
            if batch:
                yield from self._send(batch)
        self._sends = False

    def _send(self, batch: Sequence[Request]) -> Generator[simpy.Event, Any, None]:
        """Try until the server has answered, or no caller of this batch waits any more."""
        takes_s = self._process.takes_s("publish_s")
        append_s = min(takes_s, self._process.takes_s("append_s"))
        failures, is_there = 0, False
        while True:
            arrives_s, failed_s = self._link.try_s(self._env.now, adds=True)
            if arrives_s < inf:
                arrives_s += self._way_s(batch)
                heard_s = arrives_s + self._link.delay_s + takes_s
                if not is_there:
                    yield self._until(arrives_s + append_s)
                    self._append(batch)
                    is_there = True
                if failed_s == inf:
                    yield self._until(heard_s)
                    self._tell(batch)
                    return
            yield self._until(failed_s)
            failures += 1
            if self._killed or not any(one.until_s > self._env.now for one in batch):
                if not is_there:
                    self._settle(batch)
                return
            yield self._env.timeout(RECONNECT.delay_s(failures, self._state.rng))

    def _way_s(self, batch: Sequence[Request]) -> float:
        if self._link.works:
            return 0.0
        bodies = sum(self._state.body(one.index) for one in batch)
        return self._link.delay_s + self._link.transfer_s(PUBLISHES, len(batch), bodies)

    def _until(self, at_s: float) -> simpy.Event:
        return self._env.timeout(max(0.0, at_s - self._env.now))

    def _append(self, batch: Sequence[Request]) -> None:
        for one in batch:
            self._appended(one)
        self._settle(batch)

    def _tell(self, batch: Sequence[Request]) -> None:
        for one in batch:
            if one.until_s > self._env.now and not self._killed:
                self._published(one)

    def _settle(self, batch: Sequence[Request]) -> None:
        for _ in batch:
            self._state.settle()
