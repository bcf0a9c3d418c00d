"""How one process sends events in virtual time: one batch is on its way at a time, as in the library's sender."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from math import inf
from typing import NamedTuple

from sim.worlds.simulated.link import PUBLISHES, Bytes, Link
from sim.worlds.simulated.machine import Machine, Process


class Sent(NamedTuple):
    """When an event was handed to the bus, when the server had it, and when the sender knew."""

    sent_s: float
    appended_s: float
    published_s: float


Joining = Callable[[float], Sequence[float]]


def _no_more(_: float) -> Sequence[float]:
    return ()


class Batches:
    """What one process sends to one stream. What comes while a batch is on its way joins the next."""

    def __init__(self, link: Link) -> None:
        self._link = link
        # Of the last batch that is on its way, or will be.
        self._begins_s = self._appended_s = self._ends_s = float("-inf")
        self._foreseen = 0  # how many events are to join it that its transfer has been counted with

    @property
    def free_at_s(self) -> float:
        """When the last batch is over."""
        return self._ends_s

    def join(self, sent_s: float, process: Process, body: float = 0.0, joining: Joining = _no_more) -> Sent:
        """Send an event at this time, with a body of so many bytes. Calls come in order.

        A batch reaches the server as a whole, so what joins it later makes all of it late. `joining` tells the bodies
        of those that are sent after this one until a time, as far as that is known before.
        """
        link = self._link
        if sent_s > self._begins_s:
            self._begins_s = max(sent_s, self._ends_s)
            takes_s = process.takes_s("publish_s")
            append_s = min(takes_s, process.takes_s("append_s"))
            arrives_s = heard_s = self._begins_s
            if not link.works:
                bodies = joining(self._begins_s)
                self._foreseen = len(bodies)
                transfer_s = link.transfer_s(PUBLISHES, 1 + len(bodies), body + sum(bodies))
                arrives_s = link.arrives_s(self._begins_s, adds=True) + link.delay_s + transfer_s
                heard_s = link.heard_s(arrives_s) + link.delay_s
            self._ends_s = heard_s + takes_s
            self._appended_s = arrives_s + append_s
        elif self._foreseen:
            self._foreseen -= 1
        elif not link.works:
            transfer_s = link.transfer_s(Bytes(0.0, PUBLISHES.event), 1, body)
            self._ends_s += transfer_s
            self._appended_s += transfer_s
        return Sent(sent_s, self._appended_s, self._ends_s)


class Sending:
    """The sending side of the process that sends the load. `body` tells how many bytes the body of each event has.

    `following` tells how many events are due after the one that is sent, until a time.
    """

    def __init__(
        self, machine: Machine, link: Link, body: Callable[[int], float], following: Callable[[float], int]
    ) -> None:
        self._instant = machine.instant
        self._process = machine.process("generator")
        self._batches = Batches(link)
        self._link = link
        self._body = body
        self._following = following
        self._index = -1  # of the event that was sent last

    def send(self, due_s: float) -> Sent:
        """Send the next event, which is due at this time. Calls are in the order of these times."""
        self._index += 1
        if self._instant and self._link.works and due_s >= self._batches.free_at_s:
            return Sent(due_s, due_s, due_s)
        sent_s = due_s + self._process.does_s("lateness_s", due_s, share=1.0)
        return self._batches.join(sent_s, self._process, self._body(self._index), self._joining)

    def _joining(self, until_s: float) -> Sequence[float]:
        return [self._body(self._index + 1 + place) for place in range(self._following(until_s))]


class Upcoming:
    """Times in their order, read once. Those that come next can be counted before."""

    def __init__(self, times_s: Iterable[float]) -> None:
        self._times_s = iter(times_s)
        self._ahead = deque[float]()

    def __iter__(self) -> "Upcoming":
        return self

    def __next__(self) -> float:
        return self._ahead.popleft() if self._ahead else next(self._times_s)

    def until(self, until_s: float) -> int:
        """How many of those that were not read yet are not later than this."""
        while not self._ahead or self._ahead[-1] <= until_s:
            if (later_s := next(self._times_s, inf)) == inf:
                break
            self._ahead.append(later_s)
        return sum(one_s <= until_s for one_s in self._ahead)
