"""A group's time on the server, as one consumer expects it: how a jump of the server's clock is noticed."""

import asyncio
from typing import NamedTuple

from eventlib.records import ExpectedTime
from eventlib.steady import steady_s

CONFIRM_S = 0.5  # live consumers notice a jump of the server's clock within this time
_FRESH_MS = 2000.0  # a time of the group that was seen so lately was seen by a consumer that lives
_TOLERANCE_MS = 1000.0  # as in group_time.lua


class _Seen(NamedTuple):
    """A time that a reply told. The script ran between `sent_s` and `received_s`."""

    group_ms: float
    sent_s: float
    received_s: float
    offset_ms: float  # by how much the server's clock is ahead of the group's time


class GroupClock:
    """Compares the group's time with this machine's steady clock.

    A consumer that starts cannot tell a clock that has just jumped. So the time is known only when other consumers have
    seen about the same, or when they have had time to put it right.
    """

    def __init__(self) -> None:
        self._seen: _Seen | None = None
        self._since_s = 0.0  # the first of the replies that agree
        self._known = asyncio.Event()

    @property
    def known(self) -> bool:
        """Whether the group's time is known."""
        return self._known.is_set()

    async def until_known(self) -> None:
        """Wait until the group's time is known, for twice `CONFIRM_S` at most."""
        if not self.known:
            try:
                async with asyncio.timeout(2.0 * CONFIRM_S):
                    await self._known.wait()
            except TimeoutError:
                pass

    def expected(self) -> ExpectedTime | None:
        """What the group's time must have reached by now. None if no reply has told it yet."""
        seen = self._seen
        if seen is None:
            return None
        passed_ms = (steady_s() - seen.received_s) * 1000.0
        return ExpectedTime(seen.group_ms + passed_ms, (seen.received_s - seen.sent_s) * 1000.0)

    def server_ms(self) -> float | None:
        """What the server's clock shows now. None if no reply has told it yet."""
        seen = self._seen
        return None if seen is None else seen.group_ms + seen.offset_ms + (steady_s() - seen.received_s) * 1000.0

    def jump_ms(self, group_ms: float, sent_s: float) -> float | None:
        """By how much the server's clock has jumped, by a reply that came now. None if no earlier reply tells.

        0 if the script only ran late: the server was busy or stood still.
        """
        seen = self._seen
        if seen is None:
            return None
        passed_ms = group_ms - seen.group_ms
        least_ms, most_ms = (sent_s - seen.received_s) * 1000.0, (steady_s() - seen.sent_s) * 1000.0
        if least_ms - _TOLERANCE_MS <= passed_ms <= most_ms + _TOLERANCE_MS:
            return 0.0
        return passed_ms - (least_ms + most_ms) / 2.0

    def note(self, group_ms: float, sent_s: float, seen_ms: float, offset_ms: float = 0.0) -> None:
        """Expect times that follow from this reply, which came now. Consumers saw `seen_ms` last; 0: none did."""
        now_s = steady_s()
        if self._seen is None:
            self._since_s = now_s
        self._seen = _Seen(group_ms, sent_s, now_s, offset_ms)
        if seen_ms == 0.0 or group_ms - seen_ms < _FRESH_MS or now_s - self._since_s >= CONFIRM_S:
            self._known.set()

    def forget(self) -> None:
        """Expect nothing: begin again with the next reply."""
        self._seen = None
        self._known.clear()
