"""What a handler raises to decide what happens next with its event."""

import math


class Signal(Exception):
    """Raised by a handler to say what happens next with its event."""


class Reject(Signal):
    """Dead-letter this event now, without another attempt."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class RetryAfter(Signal):
    """This attempt failed; make the next one after `delay_s` seconds instead of the policy's wait."""

    def __init__(self, delay_s: float) -> None:
        super().__init__(delay_s)
        self.delay_s = _delay(delay_s)


class Snooze(Signal):
    """Deliver this event again after `delay_s` seconds. This delivery does not count as an attempt."""

    def __init__(self, delay_s: float) -> None:
        super().__init__(delay_s)
        self.delay_s = _delay(delay_s)


def _delay(delay_s: float) -> float:
    if not 0.0 <= float(delay_s) < math.inf:
        raise ValueError(f"delay_s={delay_s!r}; it must be a number of seconds, zero or more")
    return float(delay_s)
