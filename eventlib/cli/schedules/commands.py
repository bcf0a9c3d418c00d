"""The commands on schedules."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

import eventlib as ev
from eventlib.cli.bus import Namespace, Queue, Url, with_queue
from eventlib.cli.console import Json, commands, ending, write_json
from eventlib.cli.schedules.display import show_history, show_list, show_one
from eventlib.cli.terminal import out

app = commands(
    "schedules",
    "Look at schedules: list, show, history; pause, resume, remove one, or run its task now.",
    "`workbench schedules list default --url redis://localhost:6379/0`",
)

Name = Annotated[str, typer.Argument(help="The schedule's name.", metavar="NAME")]


@app.command("list", epilog=ending("`workbench schedules list default`"))
def list_command(queue: Queue, url: Url = None, namespace: Namespace = None, json_file: Json = None) -> None:
    """List the schedules of a queue, with the next slot of each."""
    found = with_queue(queue, url, namespace, lambda bus: bus.schedules.list(queue=queue))
    show_list(queue, found)
    write_json(json_file, {"queue": queue, "schedules": [as_json(schedule) for schedule in found]})


@app.command("show", epilog=ending("`workbench schedules show default nightly`"))
def show_command(
    queue: Queue, name: Name, url: Url = None, namespace: Namespace = None, json_file: Json = None
) -> None:
    """Show all that is known of one schedule."""
    _show(queue, url, namespace, json_file, lambda bus: bus.schedules.get(name, queue=queue))


@app.command("pause", epilog=ending("`workbench schedules pause default nightly`"))
def pause_command(
    queue: Queue, name: Name, url: Url = None, namespace: Namespace = None, json_file: Json = None
) -> None:
    """Let a schedule run nothing until it is resumed. Its slots are recorded as skipped."""
    _show(queue, url, namespace, json_file, lambda bus: bus.schedules.pause(name, queue=queue))


@app.command("resume", epilog=ending("`workbench schedules resume default nightly`"))
def resume_command(
    queue: Queue, name: Name, url: Url = None, namespace: Namespace = None, json_file: Json = None
) -> None:
    """Let a paused schedule go on with the first slot after now."""
    _show(queue, url, namespace, json_file, lambda bus: bus.schedules.resume(name, queue=queue))


@app.command("remove", epilog=ending("`workbench schedules remove default nightly --yes`"))
def remove_command(
    queue: Queue,
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Do it. Without this, only say what would be done.")] = False,
    url: Url = None,
    namespace: Namespace = None,
    json_file: Json = None,
) -> None:
    """Remove a schedule with its history. One that an App declares comes back at the App's next start."""

    async def remove(bus: ev.Bus) -> ev.Schedule:
        schedule = await bus.schedules.get(name, queue=queue)
        if yes:
            await bus.schedules.remove(name, queue=queue)
        return schedule

    schedule = with_queue(queue, url, namespace, remove)
    waiting = f", with {schedule.waiting:,} slots that wait" if schedule.waiting else ""
    out.tell(f"{name} {'is' if yes else 'would be'} removed{waiting}{'.' if yes else '; --yes does it.'}")
    if schedule.declared_by is not None and schedule.orphaned_at_s is None:
        out.tell(f"App {schedule.declared_by} declares it, and adds it again when it starts.")
    write_json(json_file, {"done": yes, "schedule": as_json(schedule)})


@app.command("run-now", epilog=ending("`workbench schedules run-now default nightly`"))
def run_now_command(
    queue: Queue, name: Name, url: Url = None, namespace: Namespace = None, json_file: Json = None
) -> None:
    """Enqueue the schedule's task now, beside its slots."""
    task_id = with_queue(queue, url, namespace, lambda bus: bus.schedules.run_now(name, queue=queue))
    out.tell(f"Enqueued {task_id}: `workbench tasks show {queue} {task_id}` tells of it.")
    write_json(json_file, {"name": name, "queue": queue, "task_id": task_id})


@app.command("history", epilog=ending("`workbench schedules history default nightly --limit 50`"))
def history_command(
    queue: Queue,
    name: Name,
    limit: Annotated[int, typer.Option(help="How many records at most.", min=1)] = 20,
    url: Url = None,
    namespace: Namespace = None,
    json_file: Json = None,
) -> None:
    """Show what became of the newest slots, newest first."""
    records = with_queue(queue, url, namespace, lambda bus: bus.schedules.history(name, limit=limit, queue=queue))
    show_history(name, records)
    write_json(json_file, {"name": name, "queue": queue, "slots": [asdict(record) for record in records]})


def _show(
    queue: str,
    url: str | None,
    namespace: str | None,
    json_file: Path | None,
    work: Callable[[ev.Bus], Awaitable[ev.Schedule]],
) -> None:
    schedule = with_queue(queue, url, namespace, work)
    show_one(schedule)
    write_json(json_file, as_json(schedule))


def as_json(schedule: ev.Schedule) -> dict[str, Any]:
    """The schedule for machines."""
    found = asdict(schedule) | {"halted": schedule.halted}
    if found["rule"] is not None:
        del found["rule"]["slots"]  # they follow from the rule
    return found
