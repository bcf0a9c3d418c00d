"""Where a meter sees how long things take. Without one, looking for it is all that this costs.

A meter is installed for the whole process, as a tracer is: see `eventlib.opentelemetry`. What is counted is not told
here: a meter reads the numbers that the program counts anyway.
"""

from typing import Protocol


class Meter(Protocol):
    """What is told of durations, in seconds. Its methods are called in the event loop, and are quick."""

    def handled(self, stream: str, group: str, took_s: float, error: BaseException | None, stands_for: int) -> bool:
        """A handler was called. Of many that succeed, one is told, and `stands_for` all; every failure is told.

        Returns whether there are so few that it is to be told of every one.
        """

    def late(self, stream: str, group: str, lag_s: float, stands_for: int) -> None:
        """An event was handled so long after it was appended. Of many, one is looked at, and `stands_for` all."""

    def asked(self, operation: str, stream: str, group: str, took_s: float, error: BaseException | None) -> None:
        """The server was asked to publish (group ''), ack, retry or dead_letter, repeats until it answered included."""


active: Meter | None = None


def install(meter: Meter | None) -> None:
    """Tell this meter from now on, in the whole process. None: no meter."""
    global active  # noqa: PLW0603 - one for the process, read where each message passes
    active = meter
