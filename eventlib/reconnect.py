"""The one way to repeat a call until Redis answers.

Everything that is repeated here is safe to repeat: the scripts find their own work done and change nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, NamedTuple, TypeVar

from eventlib.errors import BrokerError
from eventlib.policy import RECONNECT, Uniform

T = TypeVar("T")


class Answer(NamedTuple, Generic[T]):
    """What the server answered.

    `repeated` is true if an earlier try got no answer. That try may have done the work, and this one found it done.
    """

    value: T
    repeated: bool


async def until_answered(
    call: Callable[[], Awaitable[T]], failed: Callable[[BrokerError, int], float], rng: Uniform
) -> Answer[T]:
    """Await `call()` again and again until it does not raise a BrokerError.

    After each failure, `failed(error, failures)` decides: it raises to give up, or returns the longest wait before the
    next try, in seconds. The wait between two tries is jittered and doubles up to half a second, so that a server that
    comes and goes is soon met while it answers.
    """
    failures = 0
    while True:
        try:
            return Answer(await call(), failures > 0)
        except BrokerError as error:
            failures += 1
            longest_s = failed(error, failures)
        await asyncio.sleep(min(RECONNECT.delay_s(failures, rng), longest_s))
