"""The life of background tasks, for programs that monitor them. No event carries the arguments of a task."""

from pydantic import AwareDatetime, Field

from eventlib.catalog.vocabulary import Attempt, DurationS, Failure, Id, Name, Priority
from eventlib.events.schema import Event


class TaskQueued(Event, type="task.queued", version=1, stream="tasks"):
    """A task waits for a worker. Published by the service that needs the task."""

    task_id: Id = Field(description="Names the task in every event that follows.")
    name: Name = Field(description="Which task it is; a worker finds the code by this name.")
    priority: Priority = Field(default="normal", description="How urgent the task is beside others.")
    attempts_max: Attempt = Field(default=5, description="How often it is tried at most.")
    run_at: AwareDatetime | None = Field(default=None, description="When it may start at the earliest; none: now.")


class TaskStarted(Event, type="task.started", version=1, stream="tasks"):
    """A worker begins an attempt. Published by the worker."""

    task_id: Id = Field(description="The task that is tried.")
    name: Name = Field(description="Which task it is.")
    attempt: Attempt = Field(description="Which attempt this is; the first is 1.")
    worker: Id = Field(description="The worker that begins.")
    waited_s: DurationS = Field(description="How long the task was due before a worker began.")


class TaskCompleted(Event, type="task.completed", version=1, stream="tasks"):
    """An attempt succeeded. Published by the worker. This is the task's last event."""

    task_id: Id = Field(description="The task that is done.")
    name: Name = Field(description="Which task it is.")
    attempt: Attempt = Field(description="Which attempt succeeded.")
    duration_s: DurationS = Field(description="How long this attempt took.")


class TaskFailed(Event, type="task.failed", version=1, stream="tasks"):
    """An attempt failed. Published by the worker. If no further attempt follows, this is the task's last event."""

    task_id: Id = Field(description="The task whose attempt failed.")
    name: Name = Field(description="Which task it is.")
    attempt: Attempt = Field(description="Which attempt failed.")
    duration_s: DurationS = Field(description="How long this attempt took.")
    failure: Failure = Field(description="Why it failed.")
    next_attempt_at: AwareDatetime | None = Field(default=None, description="When it is tried again; none: never.")
