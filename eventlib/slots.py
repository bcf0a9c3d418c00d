"""The slots of a schedule: the instants at which it is due. Pure: they follow from the declaration and the time zones.

An instant is in Unix seconds, and a slot is a whole number of milliseconds. A cron line is read by the wall clock of
its time zone. Where daylight saving moves the clock, jobs are due as Debian's cron runs them:

- A job at fixed times (no field of its time begins with `*`) is due once for each time. If the clock skips the time,
  the job is due when the clock has moved. If the clock shows the time twice, the job is due at the first one.
- A job with a wildcard (`*/15 * * * *`, `* 2 * * *`) is due whenever the clock shows a time that fits: never in an
  hour that is skipped, and in both of an hour that comes twice.
"""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from eventlib.arguments import is_number
from eventlib.errors import shown

EVERY_S_MIN = 0.01
EVERY_S_MAX = 1e9  # about 31 years

_EPOCH = datetime(1970, 1, 1)
_ANY_WALL = datetime(2000, 1, 1)
_SECOND = timedelta(seconds=1)
_LENGTH_MAX = 1000  # characters of a cron line
_STEP_S = 86_400  # no zone moves its clock and back within a day
_FIELDS = ("second", "minute", "hour", "day-of-month", "month", "day-of-week")


@dataclass(frozen=True, slots=True)
class Passed:
    """Slots that follow each other: `count` of them, from `first_s` to `last_s`. Then `next_s`; None: no slot follows.

    `before_last_s` is the slot before the last one, and None if there is only one.
    """

    count: int
    first_s: float
    before_last_s: float | None
    last_s: float
    next_s: float | None


class Slots(Protocol):
    """When a schedule is due."""

    def after(self, instant_s: float) -> float | None:
        """The first slot after an instant. None: there is none up to the year 9999."""

    def passed(self, first_s: float, until_s: float, limit: int) -> Passed:
        """The slots from the slot `first_s` up to the instant `until_s`, at least one, and no more than `limit`."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A slot every `every_s` seconds: at `offset_s` seconds of 1970, and at each whole number of intervals after it.

    So an interval that divides the day is due at the same times each day, in UTC.

    Raises:
        ValueError: a number is out of its range.
    """

    every_s: float
    offset_s: float = 0.0

    def __post_init__(self) -> None:
        if not (is_number(self.every_s) and EVERY_S_MIN <= self.every_s <= EVERY_S_MAX and _whole_ms(self.every_s)):
            raise ValueError(
                f"every_s={shown(self.every_s)}; give seconds from {EVERY_S_MIN} to {EVERY_S_MAX:.0f}, "
                "in whole milliseconds"
            )
        if not (is_number(self.offset_s) and 0.0 <= self.offset_s < self.every_s and _whole_ms(self.offset_s)):
            raise ValueError(
                f"offset_s={shown(self.offset_s)}; give seconds from 0 to below every_s, in whole milliseconds"
            )

    def after(self, instant_s: float) -> float | None:
        """The first slot after an instant."""
        every_ms, offset_ms = self._ms
        slot_ms = (math.floor(instant_s * 1000.0) - offset_ms) // every_ms * every_ms + offset_ms
        slot_s = slot_ms / 1000.0
        return slot_s if slot_s > instant_s else (slot_ms + every_ms) / 1000.0

    def passed(self, first_s: float, until_s: float, limit: int) -> Passed:
        """The slots from `first_s` up to `until_s`. They are counted at once, so `limit` does not matter."""
        every_ms, _ = self._ms
        first_ms = round(first_s * 1000.0)
        more = max(0, (math.floor(until_s * 1000.0) - first_ms) // every_ms)
        last_ms = first_ms + more * every_ms
        before_last_s = (last_ms - every_ms) / 1000.0 if more else None
        return Passed(more + 1, first_s, before_last_s, last_ms / 1000.0, (last_ms + every_ms) / 1000.0)

    @property
    def _ms(self) -> tuple[int, int]:
        return round(self.every_s * 1000.0), round(self.offset_s * 1000.0)


@dataclass(frozen=True, slots=True)
class Cron:
    """The slots of a cron line in a time zone of the IANA database.

    The line has five fields: minute, hour, day of month, month and day of week. A sixth one, in front, is for seconds.
    `L` as the day of month is the last one. `5L` as the day of week is the last Friday, `MON#2` the second Monday.

    Raises:
        ValueError: the line is broken, or never due, or the zone is unknown.
    """

    line: str
    zone: str = "UTC"
    _parsed: CronSim = field(init=False, repr=False, compare=False)
    _tz: ZoneInfo = field(init=False, repr=False, compare=False)
    _fixed: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        parsed = _parsed(self.line)
        object.__setattr__(self, "_parsed", parsed)
        object.__setattr__(self, "_tz", _zone(self.zone))
        object.__setattr__(self, "_fixed", not any(part.startswith("*") for part in parsed.parts[:3]))
        if next(self._walls(_ANY_WALL), None) is None:
            raise ValueError(f"cron {self.line!r} is never due: no day fits in 50 years")

    def after(self, instant_s: float) -> float | None:
        """The first slot after an instant."""
        try:
            return self._fixed_after(instant_s) if self._fixed else self._wildcard_after(instant_s)
        except (OverflowError, ValueError, OSError):  # beyond the year 9999
            return None

    def passed(self, first_s: float, until_s: float, limit: int) -> Passed:
        """The slots from `first_s` up to `until_s`, no more than `limit`."""
        count, before_last_s, last_s, next_s = 1, None, first_s, self.after(first_s)
        while next_s is not None and next_s <= until_s and count < limit:
            count, before_last_s, last_s, next_s = count + 1, last_s, next_s, self.after(next_s)
        return Passed(count, first_s, before_last_s, last_s, next_s)

    def _walls(self, wall: datetime) -> Iterator[datetime]:
        """The times after `wall` that fit, as a clock without a time zone shows them."""
        walls = copy.copy(self._parsed)
        walls.dt = wall.replace(microsecond=0)
        return walls

    def _fixed_after(self, instant_s: float) -> float | None:
        for wall in self._walls(self._wall(instant_s)):
            if (slot_s := self._first(wall)) > instant_s:
                return slot_s
        return None

    def _first(self, wall: datetime) -> float:
        """When the clock first shows `wall`. If it skips that time, when it has moved."""
        instant_s = wall.replace(tzinfo=self._tz, fold=0).timestamp()
        if self._wall(instant_s) == wall:
            return instant_s
        return self._move(wall.replace(tzinfo=self._tz, fold=1).timestamp(), instant_s) or instant_s

    def _wildcard_after(self, instant_s: float) -> float | None:
        """Walk on from one move of the clock to the next: between them, the clock runs as one without a time zone."""
        wall = self._wall(instant_s)
        while (found := next(self._walls(wall), None)) is not None:
            slot_s = (found - _EPOCH - self._offset(instant_s)).total_seconds()
            move_s = self._move(instant_s, slot_s)
            if move_s is None:
                return slot_s
            instant_s, wall = move_s, self._wall(move_s) - _SECOND
        return None

    def _move(self, from_s: float, to_s: float) -> float | None:
        """When the clock first moves after `from_s`, up to `to_s`. None: it does not."""
        before_s = math.floor(from_s)
        offset = self._offset(before_s)
        while before_s < to_s:
            after_s = min(before_s + _STEP_S, math.ceil(to_s))
            if self._offset(after_s) == offset:
                before_s = after_s
                continue
            while after_s - before_s > 1:
                middle_s = (before_s + after_s) // 2
                before_s, after_s = (middle_s, after_s) if self._offset(middle_s) == offset else (before_s, middle_s)
            return float(after_s)
        return None

    def _wall(self, instant_s: float) -> datetime:
        return datetime.fromtimestamp(instant_s, self._tz).replace(tzinfo=None, fold=0)

    def _offset(self, instant_s: float) -> timedelta:
        return datetime.fromtimestamp(instant_s, self._tz).utcoffset() or timedelta()


def iso_time(instant_s: float) -> str:
    """An instant as UTC text, such as `2026-11-24T02:00:00Z`, with milliseconds if it has any."""
    moment = datetime.fromtimestamp(instant_s, UTC)
    return moment.isoformat(timespec="milliseconds" if moment.microsecond else "seconds").replace("+00:00", "Z")


def _parsed(line: str) -> CronSim:
    if not isinstance(line, str) or len(line) > _LENGTH_MAX:  # type: ignore[redundant-expr]  # users pass anything
        raise ValueError(f"cron={shown(line)[:50]}; write a line of at most {_LENGTH_MAX} characters: '0 3 * * *'")
    try:
        return CronSim(line, _ANY_WALL)
    except (CronSimError, AssertionError, ValueError) as error:
        parts = line.upper().split()
        if len(parts) not in (5, 6):
            raise ValueError(
                f"cron {line!r} has {len(parts)} fields; write five: minute, hour, day-of-month, month, day-of-week"
            ) from None
        raise ValueError(f"cron {line!r}: {_fault(str(error), ['0', *parts][-6:])}") from None


def _fault(problem: str, parts: list[str]) -> str:
    """Which field of a cron line is wrong. It may be a day that no month of the line has."""
    name = problem.removeprefix("Bad ")
    if name not in _FIELDS:
        return f"it cannot be read: {problem}"
    text = parts[_FIELDS.index(name)]
    if name == "day-of-month":
        try:
            CronSim(f"0 0 {text} * *", _ANY_WALL)
        except (CronSimError, AssertionError, ValueError):
            pass
        else:
            return f"it is never due: month {parts[4]} has no day {text}"
    return f"the {name} {text!r} is wrong"


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError, TypeError):
        raise ValueError(f"tz={shown(name)} is no time zone; name one of the IANA database: 'Europe/Berlin'") from None


def _whole_ms(seconds: float) -> bool:
    return math.isclose(seconds * 1000.0, round(seconds * 1000.0), abs_tol=1e-6)
