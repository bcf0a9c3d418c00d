"""The circuit breaker of one simulated consumer: the library's own rule, in virtual time."""

from collections.abc import Callable

import simpy

from eventlib.circuit_breaker import Circuit, CircuitBreaker
from sim.evidence.history import KIND
from sim.worlds.simulated.group import Group
from sim.worlds.simulated.process_state import ProcessState
from sim.worlds.simulated.run_state import Message

_OPENED, _CLOSED = KIND["circuit_opened"], KIND["circuit_closed"]


class Gate:
    """Lets attempts begin as a circuit breaker allows. `go_on` is called when some may begin again."""

    def __init__(
        self, rule: CircuitBreaker, group: Group, index: int, process: ProcessState, go_on: Callable[[], None]
    ) -> None:
        self._circuit = Circuit(rule)
        self._group = group
        self._index = index
        self._process = process
        self._go_on = go_on
        self._env = group.state.env
        self._began: dict[tuple[Message, int], int] = {}  # a message that came back may run twice

    def may_begin(self) -> bool:
        """Whether an attempt may begin now."""
        return self._circuit.may_begin(self._env.now)

    def room(self, capacity: int, unhandled: int) -> int:
        """How many entries a consumer may ask for that has `capacity`, and `unhandled` entries in hand."""
        return self._circuit.room(self._env.now, capacity, unhandled)

    def began(self, message: Message, attempt: int) -> None:
        """An attempt at this message, or at a batch of which it is the first, begins."""
        self._began[message, attempt] = self._circuit.began()

    def ended(self, message: Message, attempt: int, *, succeeded: int = 0, failed: int = 0) -> None:
        """It has ended, for so many messages."""
        now = self._env.now
        changed = self._circuit.ended(self._began.pop((message, attempt)), now, succeeded=succeeded, failed=failed)
        if changed is None:
            return
        kind = _OPENED if changed == "open" else _CLOSED
        row = (kind, self._group.code, self._index, self._group.event_code, message.index, attempt)
        self._group.state.rows.append((now, *row, message.intended_s, float("nan")))
        if changed == "open":
            half_open = self._env.timeout(self._circuit.half_open_at_s - now)
            half_open.callbacks.append(self._half_open)

    def _half_open(self, half_open: simpy.Event) -> None:
        if self._process.halted:
            self._process.postpone(self._half_open, half_open)
        else:
            self._go_on()
