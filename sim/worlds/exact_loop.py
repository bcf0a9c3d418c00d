"""The event loop of the processes of a live run: its timers are exact to about a tenth of a millisecond.

asyncio waits in `epoll_wait`, whose timeout is a whole number of milliseconds, rounded up: a timer fires up to a
millisecond late, half of one on average. Here `select` waits, in microseconds, for the epoll descriptor itself, and
epoll is then only asked what there is. Other systems have exact timers already.
"""

import asyncio
import contextlib
import ctypes
import select
import selectors
import sys

MARGIN_S = 80e-6  # the wait ends so much earlier: a process takes 30 to 90 us to wake up. The loop polls what is left
_SELECT_MAX = 1024  # FD_SETSIZE: descriptors from this number on are beyond `select`
_PR_SET_TIMERSLACK = 29  # Source: <linux/prctl.h>
_SLACK_NS = 1  # Linux lets a timer be up to 50 us late, so that several end in one go. This is the least there is


def exact_loop() -> asyncio.AbstractEventLoop:
    """A new event loop with exact timers; this process is set to wake up in time."""
    if sys.platform != "linux":
        return asyncio.new_event_loop()
    with contextlib.suppress(OSError, AttributeError):  # without it, timers are only a little less exact
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, _SLACK_NS, 0, 0, 0)
    return asyncio.SelectorEventLoop(ExactSelector())


if sys.platform == "linux":

    class ExactSelector(selectors.EpollSelector):
        """epoll, with timeouts in microseconds. The descriptor of a loop that is made early is within `select`."""

        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            epoll = self.fileno()
            if timeout is None or timeout <= 0 or epoll >= _SELECT_MAX:
                return super().select(timeout)
            if timeout > MARGIN_S:
                select.select([epoll], [], [], timeout - MARGIN_S)
            return super().select(0)
