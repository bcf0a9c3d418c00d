"""How one process sends events in virtual time: one batch is on its way at a time, as in the library's sender."""

from typing import NamedTuple

from sim.worlds.simulated.machine import Machine, Process


class Sent(NamedTuple):
    """When an event was handed to the bus, when the server had it, and when the sender knew."""

    sent_s: float
    appended_s: float
    published_s: float


class Batches:
    """What one process sends to one stream. What comes while a batch is on its way joins the next."""

    def __init__(self) -> None:
        self._begins_s = self._appended_s = self._ends_s = float(
            "-inf"
        )  # the last batch that is on its way, or will be

    def join(self, sent_s: float, process: Process) -> Sent:
        """Send an event at this time. Calls come in order."""
        if sent_s > self._begins_s:
            self._begins_s = max(sent_s, self._ends_s)
            takes_s = process.takes_s("publish_s")
            self._ends_s = self._begins_s + takes_s
            self._appended_s = self._begins_s + min(takes_s, process.takes_s("append_s"))
        return Sent(sent_s, self._appended_s, self._ends_s)


class Sending:
    """The sending side of one process that sends the load."""

    def __init__(self, machine: Machine) -> None:
        self._instant = machine.instant
        self._process = machine.process("generator")
        self._batches = Batches()

    def send(self, due_s: float) -> Sent:
        """Send an event that is due at this time. Calls are in the order of these times."""
        if self._instant:
            return Sent(due_s, due_s, due_s)
        sent_s = due_s + self._process.does_s("lateness_s", due_s, share=1.0)
        return self._batches.join(sent_s, self._process)
