"""How one process sends events in virtual time: one batch is on its way at a time, as in the library's sender."""

from typing import NamedTuple

from sim.worlds.simulated.link import Link
from sim.worlds.simulated.machine import Machine, Process


class Sent(NamedTuple):
    """When an event was handed to the bus, when the server had it, and when the sender knew."""

    sent_s: float
    appended_s: float
    published_s: float


class Batches:
    """What one process sends to one stream. What comes while a batch is on its way joins the next."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._begins_s = self._appended_s = self._ends_s = float(
            "-inf"
        )  # the last batch that is on its way, or will be

    @property
    def free_at_s(self) -> float:
        """When the last batch is over."""
        return self._ends_s

    def join(self, sent_s: float, process: Process, body: float = 0.0) -> Sent:
        """Send an event at this time, with a body of so many bytes. Calls come in order."""
        link = self._link
        if sent_s > self._begins_s:
            self._begins_s = max(sent_s, self._ends_s)
            takes_s = process.takes_s("publish_s")
            append_s = min(takes_s, process.takes_s("append_s"))
            arrives_s = heard_s = self._begins_s
            if not link.works:
                arrives_s = link.arrives_s(self._begins_s, adds=True) + link.delay_s + link.transfer_s(1, 1, body)
                heard_s = link.heard_s(arrives_s) + link.delay_s
            self._ends_s = heard_s + takes_s
            self._appended_s = arrives_s + append_s
        elif not link.works:
            transfer_s = link.transfer_s(1, 0, body)
            self._ends_s += transfer_s
            self._appended_s += transfer_s
        return Sent(sent_s, self._appended_s, self._ends_s)


class Sending:
    """The sending side of one process that sends the load."""

    def __init__(self, machine: Machine, link: Link) -> None:
        self._instant = machine.instant
        self._process = machine.process("generator")
        self._batches = Batches(link)
        self._link = link

    def send(self, due_s: float, body: float = 0.0) -> Sent:
        """Send an event that is due at this time, with so many bytes. Calls are in the order of these times."""
        if self._instant and self._link.works and due_s >= self._batches.free_at_s:
            return Sent(due_s, due_s, due_s)
        sent_s = due_s + self._process.does_s("lateness_s", due_s, share=1.0)
        return self._batches.join(sent_s, self._process, body)
