"""What a world offers to a fault that carries itself out. Each world implements its protocol in its own way.

`service` is the name of a service, `consumer` the index of one of its consumers; times are seconds since the load
began.
"""

from collections.abc import Generator
from signal import Signals
from typing import Any, Protocol

Injection = Generator[Any, Any, None]  # a process of the simulated world: it yields the events that it waits for


class LiveWorld(Protocol):
    """Real processes. A call returns when it has taken effect."""

    async def sleep_until(self, at_s: float) -> None:
        """Wait until `at_s`, or not at all where that is past."""

    async def kill(self, service: str, consumer: int) -> None:
        """Kill the consumer's process with SIGKILL; returns when it has ended."""

    async def start(self, service: str, consumer: int) -> None:
        """Start a new process in the consumer's place; returns when it reads."""

    async def signal(self, service: str, consumer: int, signal: Signals) -> None:
        """Send a signal to the consumer's process."""

    def note(self, kind: str, service: str, consumer: int) -> None:
        """Write a row of this kind into the history; the fault's class lists the kind in `notes`."""


class SimulatedWorld(Protocol):
    """Consumers in virtual time. What returns an event takes effect when the event comes."""

    def wait_until(self, at_s: float) -> Any:
        """The event that comes at `at_s`, or at once where that is past."""

    def kill(self, service: str, consumer: int) -> None:
        """End the consumer with SIGKILL: what it holds waits for the end of its lease."""

    def start(self, service: str, consumer: int, *, after_s: float = 0.0) -> Any:
        """Start a new consumer in this one's place after `after_s`; the event comes when it reads."""

    def suspend(self, service: str, consumer: int) -> None:
        """Let the consumer stand still, as SIGSTOP does: it keeps what it holds, and renews no lease."""

    def resume(self, service: str, consumer: int) -> None:
        """Let a suspended consumer go on, as SIGCONT does."""

    def note(self, kind: str, service: str, consumer: int) -> None:
        """Write a row of this kind into the history; the fault's class lists the kind in `notes`."""
