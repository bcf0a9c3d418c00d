"""The form of a task on its way into its queue: its event, and all that the queue has to know of it."""

import math
from typing import Any

from pydantic_core import to_json

from eventlib.declare.tasks import TaskCall
from eventlib.events.envelope import write
from eventlib.events.schema import valid_name
from eventlib.queueing import PRIORITIES, Priority
from eventlib.records import EnqueuedTask


def written_task(
    call: TaskCall[Any], source: str, id_: str | None = None, due: str = "", priority: Priority | None = None
) -> EnqueuedTask:
    """A task with its arguments, as its queue takes it. `source` is the name of the App that enqueues it.

    Raises:
        InvalidDeclaration: `id_` cannot be a task's id.
        InvalidArgument, EventTooLarge: see `events.envelope.write`.
    """
    task, event = call.task, call.event
    settings = task.settings
    task_id, body = write(event, source, id=None if id_ is None else valid_name(id_, "task id"))
    record: dict[str, Any] = {
        "name": task.name,
        "priority": PRIORITIES.index(priority or settings.priority) + 1,
        "tenant": task.key_of(event, [settings.fair_by]) if settings.fair_by else "",
        "keep": round(settings.keep_result_s * 1000.0),
    }
    unique = until = ""
    if settings.unique_by:
        unique = record["unique"] = f"{task.name}/{task.key_of(event, settings.unique_by)}"
        record["until"] = {"queued": "start", "running": "end", None: "time"}[settings.unique]
        until = record["until"]
        if settings.unique_for_s is not None:
            until = str(round(settings.unique_for_s * 1000.0))
    limits: list[dict[str, Any]] = []
    if settings.limit is not None:
        limits.append({"name": task.name, "at_once": settings.limit})
    if settings.limit_by is not None:
        key = task.key_of(event, [settings.limit_by])
        limits.append({"name": f"{task.name}/{key}", "at_once": settings.limit_per_key})
    if settings.rate is not None:
        within = math.ceil(settings.rate.per_s * 1000.0)
        name = f"{task.name}/#rate"  # no key is `#rate`: see `key_text`
        limits.append({"name": name, "starts": settings.rate.starts, "within": within})
    if limits:
        record["limits"] = limits
    return EnqueuedTask(task_id, body, to_json(record), due, unique, until)
