"""Schedules: which task runs at which times, with which arguments. Declaring one does no I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eventlib.arguments import TOLERANCE_S, called_as
from eventlib.declare.checks import replace_or_refuse
from eventlib.declare.tasks import Task, TaskCall
from eventlib.errors import InvalidArgument, InvalidDeclaration
from eventlib.events.schema import valid_name

if TYPE_CHECKING:  # imported when an App declares its first schedule
    from eventlib.scheduling import Missed, Overlap, ScheduleRule


@dataclass(frozen=True, slots=True)
class DeclaredSchedule:
    """A schedule of an App: its rule, and the task with its arguments."""

    name: str
    rule: "ScheduleRule"
    call: TaskCall[Any]


class ScheduleDeclarations:
    """The part of an App that declares schedules."""

    tasks: dict[str, Task[..., Any]]
    schedules: dict[str, DeclaredSchedule]

    @called_as('app.schedule("nightly", task, cron="0 3 * * *")', InvalidDeclaration)
    def schedule(
        self,
        name: str,
        task: Task[..., Any],
        *,
        cron: str | None = None,
        tz: str = "UTC",
        every_s: float | None = None,
        offset_s: float = 0.0,
        missed: "Missed" = "once",
        overlap: "Overlap" = "allow",
        tolerance_s: float = TOLERANCE_S,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        """Let a task run at given times with `args` and `kwargs`: by a `cron` line in zone `tz`, or every `every_s`.

        A slot is one instant at which the schedule is due. Programs that run the task's queue decide about its slots,
        any number of them, by the server's clock. Each slot is run, as one task whose id follows from schedule and
        slot, or recorded as skipped with the reason: see `bus.schedules.history`.

        `cron` has five fields (minute, hour, day of month, month, day of week), or six with seconds in front. Where
        daylight saving moves the clock, a job at fixed times runs once: if its time is skipped, when the clock has
        moved; if its time comes twice, at the first one. A job with a wildcard in its time runs whenever the clock
        shows a time that fits. With `every_s`, slots are `offset_s` seconds after whole multiples of it, in UTC.

        A slot is missed if it is met over `tolerance_s` seconds late, or when the slot after it is due too. `missed`
        says what becomes of such slots: `skip` runs none, `once` the newest slot that is due, `all` each in its order.
        `overlap` says what becomes of a slot while the task of the last slot that ran has not ended: `allow` runs it,
        `skip` skips it, `queue` lets it wait for that end.

        A change of a schedule counts from the next start of a program with it. A schedule that the App does not declare
        any more is orphaned then: it runs nothing, and is listed until it is removed. A paused one stays paused.

        Raises:
            InvalidDeclaration: the name is in use, the task is not one of this App, an argument does not fit, or a
                setting is wrong.
        """
        from eventlib.scheduling import ScheduleRule

        where = f"schedule {valid_name(name, 'schedule')!r}"
        if name in self.schedules:
            replace_or_refuse(where, "is already declared; give one of the two another name")
        if task not in self.tasks.values():
            raise InvalidDeclaration(where, f"{task!r} is not a task of this App; declare it with @app.task")
        if isinstance(args, str) or not isinstance(args, Sequence):  # a text is a sequence too, of its letters
            raise InvalidDeclaration(where, f"args={args!r}; give a tuple of the task's arguments")
        try:
            rule = ScheduleRule(cron, tz, every_s, offset_s, missed, overlap, tolerance_s)
            call = task.call(*args, **(kwargs or {}))
        except (ValueError, TypeError) as error:
            raise InvalidDeclaration(where, str(error)) from error
        except InvalidArgument as error:
            raise InvalidDeclaration(where, f"{error.where}: {error.problem}") from error
        self.schedules[name] = DeclaredSchedule(name, rule, call)
