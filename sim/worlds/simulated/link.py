"""The way between the processes of a run and the server, as faults leave it: when a call is carried out and answered.

What a process does then is what the library does: it repeats the call until it is answered, after the library's own
jittered waits, and gives a connection up that was silent for too long.
"""

from math import inf
from typing import NamedTuple

import simpy

from eventlib.policy import RECONNECT, Uniform
from sim.declare.faults.worlds import WORKS, Network

SILENCE_S = 5.0  # after so long without a reply, the library gives a connection up (eventlib.broker.connections)


class Bytes(NamedTuple):
    """How many bytes pass in one direction: of a call or a reply, and more for each event that it is about."""

    call: float
    event: float


# As a live run has them, measured. A test holds them to what a proxy counts.
PUBLISHES, ASKS, HANDS_OUT, SETTLES = Bytes(209.0, 217.0), Bytes(235.0, 0.0), Bytes(56.0, 259.0), Bytes(336.0, 22.0)


class Link:
    """Where `works` is true, all calls take their usual time, and nothing here has to be asked."""

    def __init__(self, env: simpy.Environment, rng: Uniform) -> None:
        self.works = True
        self._env = env
        self._rng = rng
        self._network = WORKS
        self._until_s = -inf
        self._full_until_s = -inf

    def set(self, network: Network, until_s: float) -> None:
        """Let the network be like this until `until_s`."""
        self._network, self._until_s = network, until_s
        self._note()

    def fill(self, until_s: float | None) -> None:
        """Let the server have no memory left until then; None: it has enough."""
        self._full_until_s = -inf if until_s is None else until_s
        self._note()

    def _note(self) -> None:
        self.works = self._network in (WORKS, Network(cut=True)) and self._full_until_s == -inf

    @property
    def delay_s(self) -> float:
        """How much longer everything takes, each way."""
        return self._network.delay_s

    def transfer_s(self, of: Bytes, events: int, bodies: float = 0.0) -> float:
        """How much longer it takes to pass a call or a reply about so many events on, because the connection is narrow.

        `bodies` is how many bytes the events have beside what every event has.
        """
        rate = self._network.bytes_per_s
        return (of.call + events * of.event + bodies) / rate if rate else 0.0

    @property
    def loses_replies(self) -> bool:
        """Whether the server does what it is asked, and its replies are lost."""
        return self._network.loses_replies

    def blocks(self, *, adds: bool = False) -> bool:
        """Whether a call that is made now is not carried out now. `adds`: it takes memory of the server."""
        return not self.works and self.try_s(self._env.now, adds=adds)[0] > self._env.now

    def arrives_s(self, at_s: float, *, adds: bool = False) -> float:
        """When the server carries out a call that is made at `at_s`, without the time that it takes anyway."""
        failures = 0
        while (tried := self.try_s(at_s, adds=adds))[0] == inf:
            failures += 1
            at_s = tried[1] + RECONNECT.delay_s(failures, self._rng)
        return tried[0]

    def try_s(self, at_s: float, *, adds: bool = False) -> tuple[float, float]:
        """When the server carries out a call that is made once, at `at_s`; and when its process gives up hearing of it.

        Either is infinite where that does not happen. Both are without the time that the call takes anyway.
        """
        network, silent_until_s = self._network, at_s + SILENCE_S
        if at_s < self._full_until_s and adds:
            return inf, at_s
        if at_s >= self._until_s:
            return at_s, inf
        if network.away:
            return inf, at_s
        if network.silent:  # what is sent arrives when it is over, unless it is given up before
            return (self._until_s, inf) if silent_until_s >= self._until_s else (inf, silent_until_s)
        return at_s, min(self._until_s, silent_until_s) if network.loses_replies else inf

    def heard_s(self, at_s: float) -> float:
        """When a process hears of what the server does at `at_s`, without the time that it takes anyway."""
        if self._network.loses_replies and at_s < self._until_s:
            # The connection breaks then. A process that gives it up sooner makes one that loses replies too.
            return self.reconnects_s(self._until_s)
        return at_s

    def done_s(self, at_s: float, *, adds: bool = False) -> float:
        """When a process hears of a call that it makes at `at_s`, without the time that it takes anyway."""
        return self.heard_s(self.arrives_s(at_s, adds=adds)) + 2.0 * self.delay_s

    def again_s(self) -> float:
        """When a call that is cut off now is carried out."""
        now = self._env.now
        return self.arrives_s(now) if self.blocks() else self.reconnects_s(now)

    def reconnects_s(self, at_s: float) -> float:
        """When a call that is cut off at `at_s` is made again."""
        return at_s + RECONNECT.delay_s(1, self._rng)

    def first_of(self, processes: int, at_s: float, *, adds: bool) -> float:
        """When the first of so many processes has carried out what each of them tries."""
        return min(self.arrives_s(at_s, adds=adds) for _ in range(processes))
