"""What a world offers to a fault that carries itself out. Each world implements its protocol in its own way.

`service` is the name of a service, `consumers` the indices of some of its consumers; times are seconds since the load
began.
"""

from collections.abc import Coroutine, Generator
from dataclasses import dataclass
from signal import Signals
from typing import Any, Protocol

Injection = Generator[Any, Any, None]  # a process of the simulated world: it yields the events that it waits for


@dataclass(frozen=True, slots=True)
class Network:
    """How the way between all processes of a run and the server is.

    `away`: connections are cut, and new ones are refused. `silent`: connections stay open and nothing passes; what is
    sent meanwhile arrives when the network works again. `loses_replies`: requests arrive, replies do not, and the
    connections break when the network works again. `delay_s`: everything takes so much longer each way. `bytes_per_s`:
    a connection passes so many, each way. `cut`: all connections break, once.
    """

    away: bool = False
    silent: bool = False
    loses_replies: bool = False
    delay_s: float = 0.0
    bytes_per_s: float | None = None
    cut: bool = False


WORKS = Network()


class LiveWorld(Protocol):
    """Real processes. A call returns when it has taken effect."""

    def consumers(self, service: str) -> range:
        """The indices of the consumers that the service is to have now."""

    async def sleep_until(self, at_s: float) -> None:
        """Wait until `at_s`, or not at all where that is past."""

    async def kill(self, service: str, *consumers: int) -> None:
        """Kill the processes of these consumers with SIGKILL, at the same time; returns when they have ended."""

    async def start(self, service: str, *consumers: int, after_s: float = 0.0) -> None:
        """Start a new process in the place of each that is dead, after `after_s`; returns when they read.

        Without `consumers`, that is each that the service is to have by then.
        """

    async def signal(self, service: str, signal: Signals, *consumers: int) -> None:
        """Send a signal to the processes of these consumers."""

    async def death(self, service: str) -> int:
        """Wait until a poison message has killed a consumer of the service; returns which."""

    def set_network(self, network: Network, noted: str) -> None:
        """Let the network be like this. When it is, a row of the kind `noted` is written, which `notes` lists.

        Only for a fault that `needs` the proxy. This call alone returns before that, and what is set takes effect in
        the order of the calls.
        """

    async def stop_server(self) -> None:
        """Stop the server. This and what follows are only for a fault that `needs` a private server."""

    async def start_server(self, *, with_data: bool) -> None:
        """Start it again, with what it had or with nothing; returns when it answers."""

    async def fill_server(self, *, full: bool) -> None:
        """Let the server have no memory left, or enough again."""

    def begin(self, what: Coroutine[Any, Any, None]) -> None:
        """Let a coroutine go on beside this fault."""

    def note(self, kind: str, service: str = "", *consumers: int) -> None:
        """Write a row of this kind into the history, for each of these consumers if there are any.

        The fault's class lists the kind in `notes`.
        """


class SimulatedWorld(Protocol):
    """Consumers in virtual time. What returns an event takes effect when the event comes."""

    def consumers(self, service: str) -> range:
        """The indices of the consumers that the service is to have now."""

    def wait_until(self, at_s: float) -> Any:
        """The event that comes at `at_s`, or at once where that is past."""

    def kill(self, service: str, *consumers: int) -> None:
        """End the consumers with SIGKILL: what they hold waits for the end of its lease."""

    def start(self, service: str, *consumers: int, after_s: float = 0.0) -> Any:
        """Start a new consumer in the place of each that is dead, after `after_s`; the event comes when they read.

        Without `consumers`, that is each that the service is to have by then.
        """

    def suspend(self, service: str, *consumers: int) -> None:
        """Let the consumers stand still, as SIGSTOP does: they keep what they hold, and renew no lease."""

    def resume(self, service: str, *consumers: int) -> None:
        """Let suspended consumers go on, as SIGCONT does."""

    def death(self, service: str) -> Any:
        """The event that comes when a poison message has killed a consumer of the service. Its value is which."""

    def set_network(self, network: Network, until_s: float) -> None:
        """Let the network be like this from now on, until it is set anew at `until_s`."""

    def lose_data(self) -> None:
        """Let the server forget everything."""

    def fill_server(self, until_s: float | None) -> None:
        """Let the server have no memory left from now until `until_s`; or enough again, where that is None."""

    def begin(self, what: Injection) -> None:
        """Let a process go on beside this fault."""

    def note(self, kind: str, service: str = "", *consumers: int) -> None:
        """Write a row of this kind into the history, for each of these consumers if there are any.

        The fault's class lists the kind in `notes`.
        """
