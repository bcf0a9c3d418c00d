"""How long the calls of a bus that concern tasks wait for an answer."""

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from eventlib.reconnect import answered_within

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
        return (await answered_within(self._patience_s, call, self._rng)).value
