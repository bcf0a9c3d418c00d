"""How one process sends events in virtual time: one batch is on its way at a time, as in the library's sender."""

from typing import NamedTuple

from sim.worlds.simulated.machine import Machine


class Sent(NamedTuple):
    """When an event was handed to the bus, when the server had it, and when the sender knew."""

    sent_s: float
    appended_s: float
    published_s: float


class Batches:
    """What one process sends to one stream. What comes while a batch is on its way joins the next."""

    def __init__(self) -> None:
        self._begins_s = self._ends_s = float("-inf")  # the last batch that is on its way, or will be

    def join(self, sent_s: float, takes_s: float) -> Sent:
        """Send an event at this time. `takes_s` is what a batch takes that begins with it. Calls come in order."""
        if sent_s > self._begins_s:
            self._begins_s = max(sent_s, self._ends_s)
            self._ends_s = self._begins_s + takes_s
        return Sent(sent_s, (self._begins_s + self._ends_s) / 2.0, self._ends_s)


class Sending:
    """The sending side of one process that sends the load."""

    def __init__(self, machine: Machine) -> None:
        self._process = machine.process("generator")
        self._batches = Batches()

    def send(self, due_s: float) -> Sent:
        """Send an event that is due at this time. Calls are in the order of these times."""
        sent_s = due_s + self._process.does_s("lateness_s", due_s, share=1.0)
        return self._batches.join(sent_s, self._process.takes_s("publish_s"))
