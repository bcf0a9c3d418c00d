"""How a simulated consumer takes over what others do not renew, as the library's own sweeps do."""

from collections.abc import Callable, Generator, Mapping
from typing import Any

import simpy

from sim.worlds.simulated.group import Group, Holder
from sim.worlds.simulated.handlers import Handlers
from sim.worlds.simulated.process_state import ProcessState
from sim.worlds.simulated.run_state import Message


class Takeover:
    """The sweeps of one consumer, `holder`. `accept` gets what they bring, as long as its `handlers` have room.

    `taken_over` and `sweeps_on` are for `go_on`, which has nothing to do where both are false: that is asked often.
    """

    def __init__(
        self,
        group: Group,
        holder: Holder,
        held: Mapping[Message, None],
        process: ProcessState,
        handlers: Handlers,
        accept: Callable[[list[Message]], None],
    ) -> None:
        self._group = group
        self._holder = holder
        self._held = held
        self._process = process
        self._handlers = handlers
        self._accept = accept
        self._env = group.state.env
        self._link = group.state.link
        self.taken_over: list[Message] = []  # what it took over; what it no longer holds may still be in it
        self.sweeps_on = False  # the last sweep found something: try again as soon as there is room

    def held(self) -> list[Message]:
        """What it took over and still holds."""
        self.taken_over = [message for message in self.taken_over if message in self._held]
        return self.taken_over

    def note(self, message: Message) -> None:
        """What a read has handed out was taken over."""
        self.taken_over.append(message)

    def go_on(self) -> None:
        """There is room again."""
        if self.sweeps_on or (self.taken_over and not self.held() and self._group.suspects_left):
            self._sweep()

    def run(self) -> Generator[simpy.Event, Any, None]:
        """Offer to sweep again and again, as long as the consumer lives."""
        lease, rng = self._group.service.lease, self._group.state.rng
        while True:
            yield self._env.timeout(lease.sweep_wait_s(rng))
            if self._process.suspended:
                yield self._process.resumption
            now = self._env.now
            if not self._link.works and (at_s := self._link.arrives_s(now, adds=True)) > now:
                yield self._env.timeout(at_s - now)
            if self._process.dead:
                return
            if not self._process.suspended:
                self._sweep()

    def _sweep(self) -> None:
        """Take over what there is room for, as long as something is found."""
        self.sweeps_on = self._link.works or not self._link.blocks(adds=True)
        while self.sweeps_on and (count := self._handlers.room()):
            held = self.held()
            if any(map(self._group.is_suspect, held)):
                self.sweeps_on = False
                return
            taken = self._group.sweep(count, self._holder, may_take_suspect=not held)
            self.taken_over += taken
            self._accept(taken)
            self.sweeps_on = bool(taken)
