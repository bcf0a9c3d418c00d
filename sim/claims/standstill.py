"""Noticing that this process stood still, because other programs had the processor or the machine slept."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_TICK_S = 0.02


class Standstill:
    """The longest time by which a thread that only sleeps woke up late, in seconds."""

    longest_s = 0.0


@contextmanager
def still() -> Iterator[Standstill]:
    """Look out for standstills while the block runs. A blocked event loop is none: the thread goes on beside it."""
    found, ended = Standstill(), threading.Event()

    def look() -> None:
        before_s, ends = time.monotonic(), False
        while not ends:  # the last wait counts too: the process may stand still in it
            ends = ended.wait(_TICK_S)
            now_s = time.monotonic()
            found.longest_s = max(found.longest_s, now_s - before_s - _TICK_S)
            before_s = now_s

    thread = threading.Thread(target=look, name="standstill", daemon=True)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()
