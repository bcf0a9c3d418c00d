"""What can be known of a task from outside."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from eventlib.broker.tasks import TaskRecord
from eventlib.queueing import PRIORITIES, Priority

State = Literal["delayed", "waiting", "blocked", "running", "succeeded", "failed", "cancelled"]
ENDED = ("succeeded", "failed", "cancelled")

Cancelled = Literal["cancelled", "cancelling", "ended", "unknown"]


@dataclass(frozen=True, slots=True)
class TaskState:
    """A task, seen at one moment. Times are Unix seconds by the server's clock; None: not yet, or not at all.

    A task is `delayed` until its time, `waiting` for a worker, `blocked` by the limit `blocked_by`, or `running` in
    `worker`. At its end it has `succeeded`, `failed` (its dead letter has all its details) or was `cancelled`.
    `attempts` counts those that were used up, so it is 0 for a task that succeeded at once.
    """

    id: str
    name: str
    state: State
    priority: Priority
    tenant: str
    attempts: int  # used up before this one
    enqueued_at_s: float | None
    due_at_s: float | None
    started_at_s: float | None  # the last attempt
    ended_at_s: float | None
    progress: float | None  # of 1
    progress_text: str
    worker: str
    cancelling: bool  # it runs, and is to end
    unique_key: str
    blocked_by: str
    reason: str  # why it was given up
    error: str
    dead_letter_id: str

    @property
    def ended(self) -> bool:
        return self.state in ENDED


def state_of(task_id: str, found: TaskRecord) -> TaskState:
    """The state that a record tells."""
    record, progress = found.record, found.progress or {}
    return TaskState(
        id=task_id,
        name=record["name"],
        state=record["state"],
        priority=PRIORITIES[int(record["priority"]) - 1],
        tenant=record["tenant"],
        attempts=int(record.get("attempts", 0)),
        enqueued_at_s=_seconds(record, "enqueued"),
        due_at_s=_seconds(record, "due"),
        started_at_s=_seconds(record, "started"),
        ended_at_s=_seconds(record, "ended"),
        progress=progress.get("fraction"),
        progress_text=progress.get("text", ""),
        worker=found.worker,
        cancelling="cancel" in record,
        unique_key=record.get("unique", ""),
        blocked_by=record.get("blocked", "").partition(" ")[0],
        reason=record.get("reason", ""),
        error=record.get("error", ""),
        dead_letter_id=record.get("dead_letter", ""),
    )


def _seconds(record: Mapping[str, Any], name: str) -> float | None:
    return record[name] / 1000.0 if name in record else None
