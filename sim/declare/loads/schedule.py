"""A load that a schedule sends: at the slots of a cron line or of an interval, by the library's own rules."""

from datetime import UTC, datetime
from functools import cached_property
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import AwareDatetime, Field, model_validator

from eventlib.scheduling import ScheduleRule
from sim.declare.declared import Floats
from sim.declare.loads.kind import LoadKind

SLOTS_MAX = 100_000  # a cron line is walked slot by slot, at about 10 us each


class ScheduleLoad(LoadKind):
    """`per_slot` events at every slot from `starts_at` on, within `for_s` seconds of the calendar.

    The slots are those of `App.schedule`: by a `cron` line in zone `tz`, or every `every_s` seconds, `offset_s` after
    whole multiples of it in UTC. `time_scale` stretches seconds of the calendar into seconds of the run: 0.001 plays
    a day in 86.4 s.
    """

    kind: Literal["schedule"]
    cron: str | None = None
    tz: str = "UTC"
    every_s: float | None = None
    offset_s: float = 0.0
    starts_at: AwareDatetime = datetime(2026, 1, 1, tzinfo=UTC)
    for_s: float = Field(gt=0, le=1e9)
    per_slot: int = Field(default=1, ge=1, le=1_000_000)
    time_scale: float = Field(default=1.0, gt=0, le=1e3)

    grows_with: ClassVar = ("for_s", "per_slot")

    @model_validator(mode="after")
    def _sends_something(self) -> Self:
        if not self.slots_s.size:
            rule = f"cron {self.cron!r}" if self.cron is not None else f"every_s={self.every_s:g}"
            start = self.starts_at.isoformat()
            raise ValueError(f"{rule} has no slot in the {self.for_s:g} s from {start} on; raise for_s")
        if self.slots_s.size > SLOTS_MAX:
            raise ValueError(f"for_s={self.for_s:g} holds over {SLOTS_MAX:,} slots; lower it")
        return self

    @cached_property
    def slots_s(self) -> Floats:
        """The slots, in seconds of the calendar from `starts_at` on, shape (n,); at most one over `SLOTS_MAX`."""
        slots = ScheduleRule(self.cron, self.tz, self.every_s, self.offset_s).slots
        start_s = self.starts_at.timestamp()
        found: list[float] = []
        slot_s = slots.after(start_s - 0.001)  # slots are whole milliseconds, so the start may be one
        while slot_s is not None and slot_s < start_s + self.for_s and len(found) <= SLOTS_MAX:
            found.append(slot_s - start_s)
            slot_s = slots.after(slot_s)
        return np.array(found)

    @property
    def duration_s(self) -> float:
        """Length of the run's load in seconds."""
        return self.for_s * self.time_scale

    def arrivals_s(self, rng: np.random.Generator) -> Floats:
        return np.repeat(self.slots_s * self.time_scale, self.per_slot)

    def expected_events(self) -> float:
        return float(self.slots_s.size * self.per_slot)

    def in_words(self) -> str:
        rule = f"by the cron line {self.cron} ({self.tz})" if self.cron is not None else f"every {self.every_s:g} s"
        each = f"{self.per_slot:,} at each slot, " if self.per_slot > 1 else ""
        speed = f", at {1 / self.time_scale:g} times the clock's speed" if self.time_scale != 1 else ""
        return f"{each}{rule}, for {self.for_s:g} s from {self.starts_at.isoformat()} on{speed}"
