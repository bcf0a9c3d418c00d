"""A clock that never jumps."""

import time

_CLOCK = getattr(time, "CLOCK_BOOTTIME", None)


def steady_s() -> float:
    """Seconds since some moment. It goes on while the machine sleeps, as a server's clock does."""
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)
