"""How late timers are: in the event loop of a live run's processes, beside asyncio's own."""

import asyncio
import time
from collections.abc import Callable

import numpy as np

from sim.worlds.exact_loop import exact_loop

COUNT = 1000  # timers in one turn
_WAITS_S = (0.0007, 0.0015, 0.0023)  # none is a whole number of milliseconds


def lateness(url: str, namespace: str, *, loop: Callable[[], asyncio.AbstractEventLoop] = exact_loop) -> tuple[float]:
    """The 99th percentile of the lateness of timers, in milliseconds. No server takes part."""
    with asyncio.Runner(loop_factory=loop) as runner:
        return (1000.0 * float(np.quantile(runner.run(_late_s()), 0.99)),)


def lateness_of_asyncio(url: str, namespace: str) -> tuple[float]:
    """The same of asyncio's own event loop."""
    return lateness(url, namespace, loop=asyncio.new_event_loop)


async def _late_s() -> list[float]:
    late_s = []
    for number in range(COUNT):
        due_s = time.monotonic() + (wait_s := _WAITS_S[number % len(_WAITS_S)])
        await asyncio.sleep(wait_s)
        late_s.append(time.monotonic() - due_s)
    return late_s
