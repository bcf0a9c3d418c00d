"""How schedules are shown in a terminal. What others wrote is shown as plain text."""

from collections.abc import Sequence

from eventlib.cli.moments import clock
from eventlib.cli.terminal import out, print_facts, print_table
from eventlib.records import SlotRecord
from eventlib.schedules.state import Schedule
from eventlib.scheduling import ScheduleRule


def show_list(queue: str, schedules: Sequence[Schedule]) -> None:
    """Print a line for each schedule. The name is never cut: it is copied from here."""
    out.tell(f"{queue}: {len(schedules):,} schedule{'' if len(schedules) == 1 else 's'}")
    if not schedules:
        return
    columns = {
        "name": [schedule.name for schedule in schedules],
        "due": [_due(schedule.rule) for schedule in schedules],
        "next (UTC)": [_slot(schedule.next_s) for schedule in schedules],
        "state": [_state(schedule) for schedule in schedules],
        "ran": [f"{schedule.runs:,}" for schedule in schedules],
        "skipped": [f"{sum(schedule.skipped.values()):,}" for schedule in schedules],
        "waiting": [f"{schedule.waiting:,}" for schedule in schedules],
        "task": [schedule.task for schedule in schedules],
    }
    if not any(schedule.waiting for schedule in schedules):
        del columns["waiting"]
    print_table(columns, folded=("due",), numbers=("ran", "skipped", "waiting"), spare=("task", "skipped", "ran"))


def show_one(schedule: Schedule) -> None:
    """Print all that is known of one schedule."""
    rule = schedule.rule
    skipped = ", ".join(f"{number:,} {reason}" for reason, number in schedule.skipped.items())
    facts = {
        "schedule": f"{schedule.name}, queue {schedule.queue}",
        "task": schedule.task,
        "due": _due(rule),
        "missed": "" if rule is None else f"{rule.missed}, if over {rule.tolerance_s:g} s late",
        "overlap": "" if rule is None else rule.overlap,
        "state": _state(schedule),
        "problem": schedule.problem,
        "next slot": clock(schedule.next_s, unknown="none"),
        "declared by": schedule.declared_by or "no App: it was added while a program ran",
        "added": clock(schedule.added_at_s, unknown=""),
        "paused": clock(schedule.paused_at_s, unknown=""),
        "orphaned": clock(schedule.orphaned_at_s, unknown=""),
        "slots": f"{schedule.runs:,} ran",
        "skipped": skipped,
        "waiting": f"{schedule.waiting:,} slots" if schedule.waiting else "",
        "last slot": f"{clock(schedule.last_slot_s)}, task {schedule.last_task_id}" if schedule.last_task_id else "",
    }
    print_facts(facts)


def show_history(name: str, records: Sequence[SlotRecord]) -> None:
    """Print a line for each record."""
    out.tell(f"{name}: {len(records):,} record{'' if len(records) == 1 else 's'}, newest first")
    if not records:
        return
    columns = {
        "slot (UTC)": [_slot(record.slot_s) for record in records],
        "to": ["" if record.count == 1 else _slot(record.last_slot_s) for record in records],
        "slots": [f"{record.count:,}" for record in records],
        "outcome": [f"{record.outcome} {record.reason or ''}".strip().replace("_", " ") for record in records],
        "late": ["" if record.late_s is None else f"{record.late_s:.3f} s" for record in records],
        "task": [record.task_id or "" for record in records],
    }
    if all(record.count == 1 for record in records):
        del columns["to"], columns["slots"]
    print_table(columns, folded=(), numbers=("slots", "late"), spare=("late", "to"))


def _due(rule: ScheduleRule | None) -> str:
    if rule is None:
        return "unknown"
    if rule.cron is not None:
        return f"{rule.cron} in {rule.tz}"
    return f"every {rule.every_s:g} s" + (f", {rule.offset_s:g} s after" if rule.offset_s else "")


def _slot(slot_s: float | None) -> str:
    return clock(slot_s, unknown="none").removesuffix("+00:00").removesuffix(".000")


def _state(schedule: Schedule) -> str:
    return "cannot be read" if schedule.problem else schedule.halted or "runs"
