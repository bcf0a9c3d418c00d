"""The leases of what one simulated consumer holds: renewed while it runs and reaches the server, and only then."""

from collections.abc import Callable, Iterable

import simpy

from sim.worlds.simulated.group import Group, Holder
from sim.worlds.simulated.process_state import ProcessState
from sim.worlds.simulated.run_state import Message


class Leases:
    """Renews what `holder` holds, three times a lease. `renewed` is called when it has renewed after a standstill.

    A renewal is no event of the model. When a consumer stops renewing, its group is told when each lease ends.
    """

    def __init__(
        self,
        group: Group,
        holder: Holder,
        held: dict[Message, None],
        process: ProcessState,
        renewed: Callable[[], None],
    ) -> None:
        self._group = group
        self._holder = holder
        self._held = held
        self._process = process
        self._renewed = renewed
        self._env = group.state.env
        self._link = group.state.link
        self._every_s = group.service.lease.renew_every_s
        self._lease_s = group.service.lease.duration_s
        self._since = self._env.now  # when its timer began
        self._cut_off_at: float | None = None  # when it last renewed, while it does not reach the server

    def stop(self) -> None:
        """Nothing that is held is renewed from now on."""
        self._group.renew_again(self._holder)  # what it does not renew already is not to be listed twice
        self.stop_for(self._held)

    def stop_for(self, messages: Iterable[Message]) -> None:
        """These messages are not renewed from now on."""
        renewed_at = self._renewed_at()
        # Redis hands out expired entries in stream order, and a consumer holds them in the order in which it read them.
        for message in messages:
            self._group.stop_renewing(message, max(message.read_at, renewed_at) + self._lease_s, self._holder)

    def suspend(self) -> None:
        """The process stands still."""
        self.stop()
        self._since, self._cut_off_at = self._renewed_at(), None

    def resume(self) -> bool:
        """The process goes on. Whether it renews at once: if it does not reach the server, it does so later."""
        if (renews_at := self._link.arrives_s(self._env.now)) > self._env.now:
            self._cut_off_at = self._since
            self._renew_at(renews_at)
            return False
        self._group.renew_again(self._holder)
        if self._env.now - self._since >= self._every_s:
            self._since = self._env.now
        return True

    def cut_off(self) -> None:
        """The server cannot be reached: a renewal that is due meanwhile is repeated until it is carried out."""
        if self._process.halted or self._cut_off_at is not None:
            return
        renewed_at = self._renewed_at()
        due_s = max(self._env.now, renewed_at + self._every_s)
        if (renews_at := self._link.arrives_s(due_s)) > due_s:
            self.stop()
            self._cut_off_at = renewed_at
            self._renew_at(renews_at)

    def _renewed_at(self) -> float:
        """When it last renewed what it holds."""
        if self._cut_off_at is not None:
            return self._cut_off_at
        return self._since + (self._env.now - self._since) // self._every_s * self._every_s

    def _renew_at(self, at_s: float) -> None:
        renews = self._env.timeout(at_s - self._env.now)
        renews.callbacks.append(self._renew)

    def _renew(self, _: simpy.Event) -> None:
        """It renews what it held while it was cut off, and finds out what was taken over."""
        if self._cut_off_at is None or self._process.halted:
            return
        self._cut_off_at = None
        self._group.renew_again(self._holder)
        self._since = self._env.now
        self._renewed()
