"""Where attempts wait to begin, while a circuit breaker holds them back."""

import asyncio
import logging
import time

from eventlib.circuit_breaker import Circuit, CircuitBreaker, State, speaks_of_dependency
from eventlib.consume.in_hand import InHand, Observations
from eventlib.counts import ConsumerCounts
from eventlib.delivery import Delivery

log = logging.getLogger("eventlib")


class Gate:
    """The circuit of one consumer. While it is open, its entries stay in hand and it asks for no others."""

    def __init__(
        self,
        rule: CircuitBreaker,
        in_hand: InHand,
        observations: Observations,
        counts: ConsumerCounts,
        place: str,
    ) -> None:
        self._circuit = Circuit(rule)
        self._in_hand = in_hand
        self._observations = observations
        self._counts = counts
        self._place = place
        self._changed = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False
        in_hand.limit = self._room

    @property
    def state(self) -> State:
        """Whether attempts begin."""
        return self._circuit.state(time.monotonic())

    async def passage(self) -> int | None:
        """Wait until an attempt may begin. Returns what `ended` is to be called with; None if none begins any more."""
        while not self._stopped and not self._circuit.may_begin(time.monotonic()):
            self._changed.clear()
            await self._changed.wait()
        return None if self._stopped else self._circuit.began()

    def ended(self, began: int, delivery: Delivery, errors: list[BaseException], of: int = 1) -> None:
        """An attempt has ended, of `of` events. `errors` has those of the events that failed."""
        failed = sum(map(speaks_of_dependency, errors))
        now_s = time.monotonic()
        changed = self._circuit.ended(began, now_s, succeeded=of - len(errors), failed=failed)
        if changed == "open":
            self._counts.opened += 1
            open_s = self._circuit.half_open_at_s - now_s
            problem = "%s: the circuit breaker opens, because attempts fail; none begins for %.3g s: %r"
            log.warning(problem, self._place, open_s, errors[-1])
            self._observations.tell("circuit_opened", delivery, errors[-1])
            self._wait_to_go_on()
            return
        if changed == "closed":
            log.warning("%s: the circuit breaker closes, because attempts succeed again", self._place)
            self._observations.tell("circuit_closed", delivery)
        if self._circuit.state(now_s) != "open":
            self._let_go_on()

    def stop(self) -> None:
        """Let nothing begin any more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        self._changed.set()

    def _wait_to_go_on(self) -> None:
        """Let attempts begin once the circuit is half-open. A timer may be early: uvloop's count whole milliseconds."""
        if self.state == "open" and not self._stopped:
            left_s = self._circuit.half_open_at_s - time.monotonic()
            self._timer = asyncio.get_running_loop().call_later(max(0.001, left_s), self._wait_to_go_on)
        else:
            self._let_go_on()

    def _let_go_on(self) -> None:
        self._changed.set()
        self._in_hand.look_again()

    def _room(self, capacity: int, unhandled: int) -> int:
        return self._circuit.room(time.monotonic(), capacity, unhandled)
