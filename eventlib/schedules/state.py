"""What can be known of a schedule from outside."""

from collections.abc import Mapping
from dataclasses import dataclass

from eventlib.broker.schedules import StoredSchedule
from eventlib.errors import DecodeError
from eventlib.schedules.spec import spec_of
from eventlib.scheduling import Halted, ScheduleRule

_SKIPPED = "skipped "


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule, seen at one moment. Times are Unix seconds by the server's clock; None: not, or not yet.

    `next_s` is its first slot that nothing is decided about. `waiting` slots wait for the task before them to end.
    `skipped` counts slots by the reason. A schedule that is paused or orphaned runs nothing. Neither does
    one with a `problem`: what is kept of it cannot be read, so it has no rule. Remove it, or declare it again.
    """

    name: str
    queue: str
    task: str
    rule: ScheduleRule | None
    declared_by: str | None  # the App that declares it; None: it was added
    next_s: float | None
    added_at_s: float | None
    paused_at_s: float | None  # since when
    orphaned_at_s: float | None  # since when its App declares it no more
    runs: int  # slots that ran
    skipped: Mapping[str, int]
    waiting: int
    last_slot_s: float | None  # the last slot that ran
    last_task_id: str | None  # and its task
    problem: str = ""

    @property
    def halted(self) -> Halted | None:
        """Why it runs nothing, if it does not."""
        return "orphaned" if self.orphaned_at_s is not None else "paused" if self.paused_at_s is not None else None


def schedule_of(queue: str, stored: StoredSchedule) -> Schedule:
    """The schedule that is kept."""
    fields = stored.fields
    spec, problem = None, ""
    try:
        spec = spec_of(stored.spec)
    except DecodeError as error:
        problem = error.reason

    def seconds(name: str) -> float | None:
        return float(fields[name]) / 1000.0 if name in fields else None

    return Schedule(
        name=stored.name,
        queue=queue,
        task=spec.task if spec else "",
        rule=spec.rule if spec else None,
        declared_by=spec.declared_by if spec else None,
        next_s=stored.next_s,
        added_at_s=seconds("added"),
        paused_at_s=seconds("paused"),
        orphaned_at_s=seconds("orphaned"),
        runs=int(fields.get("runs", "0")),
        skipped={
            name.removeprefix(_SKIPPED): int(n) for name, n in sorted(fields.items()) if name.startswith(_SKIPPED)
        },
        waiting=stored.waiting,
        last_slot_s=seconds("slot"),
        last_task_id=fields.get("task"),
        problem=problem,
    )
