"""Attempts wait at a gate while its circuit is open."""

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import TypeVarTuple, Unpack, cast

from eventlib.circuit_breaker import CircuitBreaker
from eventlib.consume.gate import Gate
from eventlib.consume.in_hand import InHand, Observations
from eventlib.counts import ConsumerCounts
from eventlib.delivery import Delivery

Args = TypeVarTuple("Args")


class EarlyLoop(asyncio.SelectorEventLoop):
    """A loop whose timers are early, as those are that count whole milliseconds."""

    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[Args]], object],
        *args: *Args,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        return super().call_later(max(0.0, delay - 0.005), callback, *args, context=context)


def test_a_timer_that_is_early_keeps_no_attempt_waiting() -> None:
    async def wait_for_a_probe() -> int | None:
        observations, counts = Observations(None), ConsumerCounts()
        rule = CircuitBreaker(failures=1, open_s=0.02)
        gate = Gate(rule, InHand(1, 0, observations, counts), observations, counts, "orders/billing")
        began = await gate.passage()
        assert began is not None
        gate.ended(began, cast(Delivery, None), [OSError()])
        assert gate.state != "closed"  # half-open already, if the machine was slow
        async with asyncio.timeout(5.0):
            return await gate.passage()

    with asyncio.Runner(loop_factory=EarlyLoop) as runner:
        assert runner.run(wait_for_a_probe()) is not None
