"""How long the calls of a bus that concern tasks wait for an answer."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from eventlib.errors import BrokerError, BrokerUnavailable
from eventlib.reconnect import until_answered

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
        now_s = asyncio.get_running_loop().time
        give_up_at_s = now_s() + self._patience_s

        def failed(error: BrokerError, _: int) -> float:
            rest_s = give_up_at_s - now_s()
            if not isinstance(error, BrokerUnavailable) or rest_s <= 0.0:
                raise error
            return rest_s

        return (await until_answered(call, failed, self._rng)).value
