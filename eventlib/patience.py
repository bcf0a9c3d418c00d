"""How long the calls of a bus wait for an answer, all but publishes."""

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from eventlib.reconnect import Answer, answered_within

T = TypeVar("T")


class Patience:
    """Repeats calls that are safe to repeat, for as long as the bus's outage policy says."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._rng = random.Random()

    async def __call__(self, call: Callable[[], Awaitable[T]]) -> T:
        """Await `call()` until it is answered.

        Raises:
            BrokerUnavailable: it was not, in time.
            BrokerError: the server refused.
        """
        return (await self.answer(call)).value

    async def answer(self, call: Callable[[], Awaitable[T]]) -> Answer[T]:
        """As calling it; also says whether an earlier try got no answer."""
        return await answered_within(self._patience_s, call, self._rng)
