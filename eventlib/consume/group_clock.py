"""A group's time on the server, as one consumer expects it: how a jump of the server's clock is noticed."""

from typing import NamedTuple

from eventlib.steady import steady_s

_TOLERANCE_MS = 1000.0  # as in group_time.lua


class _Seen(NamedTuple):
    """A time that a reply told. The script ran between `sent_s` and `received_s`."""

    group_ms: float
    sent_s: float
    received_s: float


class GroupClock:
    """Compares the group's time with this machine's steady clock."""

    def __init__(self) -> None:
        self._seen: _Seen | None = None

    def expected_ms(self) -> float | None:
        """What the group's time must have reached by now. None if no reply has told it yet."""
        seen = self._seen
        return None if seen is None else seen.group_ms + (steady_s() - seen.received_s) * 1000.0

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

    def note(self, group_ms: float, sent_s: float) -> None:
        """Expect times that follow from this reply, which came now."""
        self._seen = _Seen(group_ms, sent_s, steady_s())

    def forget(self) -> None:
        """Expect nothing: begin again with the next reply."""
        self._seen = None
