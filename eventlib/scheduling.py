"""Decides what becomes of a schedule's slots. Pure functions: no clock, no I/O. Both worlds call them.

A slot is one instant at which a schedule is due. Each slot is either run, as one task, or skipped with a reason:

- A slot is **missed** if it is met more than the schedule's tolerance after its time, or when the slot after it is due
  too. Then no scheduler ran at its time, or none was in time. `missed` says what becomes of such slots: `skip` skips
  them all, `once` runs the newest slot that is due and skips the others, `all` runs each, in order.
- A slot **overlaps** if the task of the schedule's last slot that ran has not ended. `overlap` says what becomes of
  it: `allow` runs it at once, `skip` skips it, `queue` lets it wait until the task before it has ended.
"""

import math
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

from eventlib.arguments import TOLERANCE_S, is_number
from eventlib.errors import shown
from eventlib.slots import Cron, Interval, Slots, iso_time

Missed = Literal["skip", "once", "all"]
Overlap = Literal["allow", "skip", "queue"]
# Why a slot did not run: see `Missed`, `Overlap`; the schedule was paused or orphaned; too many slots wait; another
# task holds the task's unique key.
SkipReason = Literal["missed", "overlap", "paused", "orphaned", "queue_full", "unique_key"]

Halted = Literal["paused", "orphaned"]  # why a schedule runs nothing

WAITING_MAX = 1000  # slots of one schedule that wait for the task before them
RUN_LIMIT = 50  # slots that start in one step: a step is one script, and other clients wait meanwhile
PASS_LIMIT = 500  # slots of a cron line that are passed over in one step: computing them takes about 20 ms


@dataclass(frozen=True, slots=True)
class ScheduleRule:
    """When a schedule is due, and what becomes of slots that are missed or overlap. Give `cron` or `every_s`.

    Raises:
        ValueError: both are given, or none, or one of the values is wrong.
    """

    cron: str | None = None
    tz: str = "UTC"
    every_s: float | None = None
    offset_s: float = 0.0
    missed: Missed = "once"
    overlap: Overlap = "allow"
    tolerance_s: float = TOLERANCE_S
    slots: Slots = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if (self.cron is None) == (self.every_s is None):
            raise ValueError("give either cron= or every_s=")
        if self.every_s is not None and self.tz != "UTC":
            raise ValueError(f"tz={shown(self.tz)} belongs to cron=; an interval has no time zone")
        if self.cron is not None and self.offset_s != 0.0:
            raise ValueError(f"offset_s={shown(self.offset_s)} belongs to every_s=")
        if self.missed not in get_args(Missed):
            raise ValueError(f"missed={shown(self.missed)}; it is one of {', '.join(get_args(Missed))}")
        if self.overlap not in get_args(Overlap):
            raise ValueError(f"overlap={shown(self.overlap)}; it is one of {', '.join(get_args(Overlap))}")
        if not is_number(self.tolerance_s) or not 0.0 <= self.tolerance_s < math.inf:
            raise ValueError(f"tolerance_s={shown(self.tolerance_s)}; it must be seconds, zero or more")
        slots: Slots = Interval(self.every_s, self.offset_s) if self.cron is None else Cron(self.cron, self.tz)  # type: ignore[arg-type]
        object.__setattr__(self, "slots", slots)

    def plan(self, next_s: float, now_s: float, halted: Halted | None = None) -> "Plan":
        """Decide about the slots that are due: see `plan`."""
        return plan(self.slots, next_s, now_s, self.missed, self.tolerance_s, halted)


@dataclass(frozen=True, slots=True)
class Run:
    """This slot is to run."""

    slot_s: float


@dataclass(frozen=True, slots=True)
class Skip:
    """These `count` slots, from `first_s` to `last_s`, do not run."""

    first_s: float
    last_s: float
    count: int
    reason: SkipReason


class Plan(NamedTuple):
    """What becomes of slots that are due, in their order, and the slot that follows them (None: there is none).

    If the slot that follows is due as well, there is more to do.
    """

    steps: tuple[Run | Skip, ...]
    next_s: float | None


def plan(
    slots: Slots,
    next_s: float,
    now_s: float,
    missed: Missed,
    tolerance_s: float = TOLERANCE_S,
    halted: Halted | None = None,
) -> Plan:
    """Decide about the slots from `next_s`, the first one that nothing is decided about, up to now.

    `next_s` is due: it is not after `now_s`. A schedule that is `halted` runs nothing. Many slots take several steps.
    """
    if missed == "all" and halted is None:
        return _run_each(slots, next_s, now_s)
    passed = slots.passed(next_s, now_s, PASS_LIMIT)
    more = passed.next_s is not None and passed.next_s <= now_s
    runs = halted is None and not more and (missed == "once" or now_s - passed.last_s <= tolerance_s)
    reason: SkipReason = halted or "missed"
    if not runs:
        return Plan((Skip(next_s, passed.last_s, passed.count, reason),), passed.next_s)
    if passed.before_last_s is None:
        return Plan((Run(passed.last_s),), passed.next_s)
    skipped = Skip(next_s, passed.before_last_s, passed.count - 1, reason)
    return Plan((skipped, Run(passed.last_s)), passed.next_s)


def _run_each(slots: Slots, next_s: float, now_s: float) -> Plan:
    steps = [Run(next_s)]
    following = slots.after(next_s)
    while following is not None and following <= now_s and len(steps) < RUN_LIMIT:
        steps.append(Run(following))
        following = slots.after(following)
    return Plan(tuple(steps), following)


def admit(overlap: Overlap, running: bool, waiting: int) -> Literal["run", "wait"] | SkipReason:
    """Decide about a slot that is to run: it runs, it waits, or it is skipped for the reason that is returned.

    `running` says whether the task of the last slot that ran has not ended. `waiting` is the number of slots that wait.
    """
    if overlap == "allow" or not (running or waiting):
        return "run"
    if overlap == "skip":
        return "overlap"
    return "wait" if waiting < WAITING_MAX else "queue_full"


def task_id(schedule: str, slot_s: float) -> str:
    """The id of the task that runs a slot. It follows from the two, so a slot cannot start two tasks."""
    return f"{schedule}.{iso_time(slot_s).replace('-', '').replace(':', '')}"
