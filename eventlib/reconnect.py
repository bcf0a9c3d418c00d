"""The one way to repeat a call until Redis answers.

Everything that is repeated here is safe to repeat: the scripts find their own work done and change nothing.
"""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from typing import Generic, NamedTuple, TypeVar

from eventlib.errors import AccessDenied, BrokerError, BrokerUnavailable
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


def unless_denied(error: BrokerError, failures: int) -> float:
    """For `until_answered`: the next try may wait for as long as it likes, and only a denied access ends them.

    Raises:
        AccessDenied: waiting would not help.
    """
    if isinstance(error, AccessDenied):
        raise error
    return math.inf


async def answered_within(patience_s: float, call: Callable[[], Awaitable[T]], rng: Uniform | None = None) -> Answer[T]:
    """Await `call()`, again for `patience_s` seconds while the server does not answer.

    Raises:
        BrokerUnavailable: it did not answer within that time.
        BrokerError: it refused.
    """
    now_s = asyncio.get_running_loop().time
    give_up_at_s = now_s() + patience_s

    def failed(error: BrokerError, _: int) -> float:
        rest_s = give_up_at_s - now_s()
        if not isinstance(error, BrokerUnavailable) or rest_s <= 0.0:
            raise error
        return rest_s

    return await until_answered(call, failed, rng or random.Random())
