"""How tasks and queues are shown in a terminal. What others wrote is shown as plain text."""

from collections.abc import Sequence

from eventlib.cli.moments import age, clock
from eventlib.cli.terminal import out, print_facts, print_table
from eventlib.records import QueueHealth, queue_stream
from eventlib.tasks.state import TaskState


def show_health(queue: str, health: QueueHealth) -> None:
    """Print how a queue stands."""
    out.tell(
        f"{queue}: {health.running:,} running, {health.delayed:,} delayed, {health.blocked:,} blocked by limits, "
        f"{health.dead:,} dead; workers alive: {health.workers:,}"
    )
    out.tell(
        f"In the last minute, each second: {health.enqueued_per_s:.2f} enqueued, {health.started_per_s:.2f} started, "
        f"{health.ended_per_s:.2f} ended"
    )
    if health.paused:
        out.tell(f"It is paused: its workers start no task until `workbench tasks resume {queue}`.")
    ages = health.oldest_age_s
    columns: dict[str, list[str]] = {
        "priority": list(health.waiting),
        "waiting": [f"{number:,}" for number in health.waiting.values()],
        "oldest": ["-" if (seconds := ages.get(each)) is None else age(seconds) for each in health.waiting],
    }
    print_table(columns, folded=(), numbers=("waiting", "oldest"))
    limits = sorted({*health.slots, *health.blocked_by})
    if limits:
        used = [f"{health.slots.get(limit, 0):,}" for limit in limits]
        blocked = [f"{health.blocked_by.get(limit, 0):,}" for limit in limits]
        print_table(
            {"limit": limits, "slots in use": used, "blocked": blocked},
            folded=("limit",),
            numbers=("slots in use", "blocked"),
        )


def show_list(queue: str, tasks: Sequence[TaskState], *, more: bool) -> None:
    """Print a line for each task. The id is never cut: it is copied from here."""
    out.tell(f"{queue}: {len(tasks):,} task{'' if len(tasks) == 1 else 's'}{', and there are more' if more else ''}")
    if not tasks:
        return
    columns: dict[str, list[str]] = {
        "id": [task.id for task in tasks],
        "name": [task.name for task in tasks],
        "state": [task.state for task in tasks],
        "priority": [task.priority for task in tasks],
        "attempts": [f"{task.attempts}" for task in tasks],
        "enqueued (UTC)": [clock(task.enqueued_at_s, unknown="-")[:19] for task in tasks],
        "why": [_why(task) for task in tasks],
    }
    print_table(columns, folded=("why",), numbers=("attempts",), spare=("attempts", "priority", "enqueued (UTC)"))


def _why(task: TaskState) -> str:
    """What a task waits for, or why it was given up."""
    if task.state == "delayed" and task.due_at_s is not None:
        return f"due {clock(task.due_at_s)[:19]}"
    if task.state == "blocked":
        return f"limit {task.blocked_by}"
    return f"{task.reason}: {task.error}" if task.state == "failed" else ""


def show_one(queue: str, task: TaskState) -> None:
    """Print all that is known of one task."""
    facts = {
        "task": f"{task.name}, id {task.id}, queue {queue}",
        "state": f"{task.state}{', told to end' if task.cancelling else ''}",
        "priority": task.priority,
        "tenant": task.tenant,
        "enqueued": clock(task.enqueued_at_s, unknown=""),
        "due": clock(task.due_at_s, unknown=""),
        "started": clock(task.started_at_s, unknown=""),
        "ended": clock(task.ended_at_s, unknown=""),
        "attempts": f"{task.attempts} used up",
        "worker": task.worker,
        "progress": "" if task.progress is None else f"{task.progress:.0%} {task.progress_text}".rstrip(),
        "unique key": task.unique_key,
        "blocked by": task.blocked_by,
        "given up": f"{task.reason}: {task.error}" if task.reason else "",
        "dead letter": f"workbench dlq show {queue_stream(queue)} workers {task.dead_letter_id}"
        if task.dead_letter_id
        else "",
    }
    print_facts(facts)
