"""An end for tests that hang outside of an event loop, where no timeout of asyncio reaches them."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

_AGAIN_S = 1.0  # a callback of an event loop that is ended goes by unheard: the loop itself is ended next


@contextmanager
def ends_within(limit_s: float) -> Iterator[None]:
    """Fail what takes longer, wherever it is. Outside of the main thread, nothing is limited."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_: object) -> None:
        pytest.fail(f"not over after {limit_s:g} s")

    handler = signal.signal(signal.SIGALRM, end)
    outer = signal.setitimer(signal.ITIMER_REAL, limit_s, _AGAIN_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *outer)
        signal.signal(signal.SIGALRM, handler)
