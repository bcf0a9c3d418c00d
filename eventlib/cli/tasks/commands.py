"""The commands on task queues. What workers gave up: `workbench dlq list tasks.QUEUE workers`."""

from dataclasses import asdict
from typing import Annotated, Literal, get_args

import typer

from eventlib.cli.bus import Namespace, Queue, Url, with_queue
from eventlib.cli.console import FAILED, Json, commands, ending, write_json
from eventlib.cli.pausing import add_pausing
from eventlib.cli.tasks.display import show_health, show_list, show_one
from eventlib.cli.terminal import err, out
from eventlib.tasks.state import State

app = commands(
    "tasks",
    "Look at task queues: health, list, show; cancel a task or run one now; pause and resume a queue.",
    "`workbench tasks health default --url redis://localhost:6379/0`",
)

TaskId = Annotated[str, typer.Argument(help="The task's id, as listed.", metavar="ID")]


def _known_state(text: str | None) -> str | None:
    if text is not None and text not in get_args(State):
        raise typer.BadParameter(f"{text!r} is none of {', '.join(get_args(State))}")
    return text


@app.command("health", epilog=ending("`workbench tasks health default`"))
def health_command(queue: Queue, url: Url = None, namespace: Namespace = None, json_file: Json = None) -> None:
    """Show how a queue stands: what waits, by priority, what runs, limits, rates and workers."""
    health = with_queue(queue, url, namespace, lambda bus: bus.queue_health(queue))
    show_health(queue, health)
    write_json(json_file, {"queue": queue} | asdict(health))


@app.command("list", epilog=ending("`workbench tasks list default --state running --name send_receipt`"))
def list_command(
    queue: Queue,
    state: Annotated[
        str | None,
        typer.Option(help=f"Only tasks in this state: {', '.join(get_args(State))}.", callback=_known_state),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Only tasks of this name.")] = None,
    limit: Annotated[int, typer.Option(help="How many tasks at most.", min=1)] = 20,
    url: Url = None,
    namespace: Namespace = None,
    json_file: Json = None,
) -> None:
    """List tasks that the queue knows, in no order: those that wait or run, and ended ones until they are forgotten."""
    wanted: State | None = state  # type: ignore[assignment]  # its callback has looked
    found = with_queue(
        queue, url, namespace, lambda bus: bus.tasks.find(queue, state=wanted, name=name, count=limit + 1)
    )
    show_list(queue, found[:limit], more=len(found) > limit)
    write_json(
        json_file, {"queue": queue, "tasks": [asdict(task) for task in found[:limit]], "more": len(found) > limit}
    )


@app.command("show", epilog=ending("`workbench tasks show default 0192f5c2-0000-7000-8000-000000000000`"))
def show_command(
    queue: Queue, id_: TaskId, url: Url = None, namespace: Namespace = None, json_file: Json = None
) -> None:
    """Show all that is known of one task."""
    task = with_queue(queue, url, namespace, lambda bus: bus.tasks.state(queue, id_))
    show_one(queue, task)
    write_json(json_file, {"queue": queue} | asdict(task))


@app.command("cancel", epilog=ending("`workbench tasks cancel default 0192f5c2-0000-7000-8000-000000000000`"))
def cancel_command(
    queue: Queue, id_: TaskId, url: Url = None, namespace: Namespace = None, json_file: Json = None
) -> None:
    """Cancel a task that has not ended. If it has ended, or is not known, the exit status is 1."""
    outcome: Literal["cancelled", "cancelling", "ended", "unknown"] = with_queue(
        queue, url, namespace, lambda bus: bus.tasks.cancel(queue, id_)
    )
    told = {
        "cancelled": f"{id_} is cancelled: it will not run.",
        "cancelling": f"{id_} runs, and is told to end. `workbench tasks show {queue} {id_}` says when it has.",
        "ended": f"{id_} had ended before.",
        "unknown": f"{id_} is not known in queue {queue}: it ended long ago, or never was there.",
    }[outcome]
    write_json(json_file, {"queue": queue, "id": id_, "outcome": outcome})
    if outcome in ("ended", "unknown"):
        err.tell(told)
        raise typer.Exit(FAILED)
    out.tell(told)


@app.command("run-now", epilog=ending("`workbench tasks run-now default 0192f5c2-0000-7000-8000-000000000000`"))
def run_now_command(
    queue: Queue, id_: TaskId, url: Url = None, namespace: Namespace = None, json_file: Json = None
) -> None:
    """Let a delayed task start as soon as a worker is free. If it has ended, the exit status is 1."""
    task = with_queue(queue, url, namespace, lambda bus: bus.tasks.run_now(queue, id_))
    write_json(json_file, {"queue": queue} | asdict(task))
    if task.ended:
        err.tell(f"{id_} has ended: {task.state}")
        raise typer.Exit(FAILED)
    out.tell(f"{id_} is {task.state}.")


add_pausing(
    app,
    "queue",
    Queue,
    "default",
    pause="Let no worker of a queue start a task until it is resumed. Tasks that run end; schedules go on.",
    resume="Let the workers of a paused queue go on.",
)
