"""The life of background tasks, for those who watch them. The arguments of a task are in no event."""

from pydantic import AwareDatetime, Field

from eventlib.catalog.vocabulary import Attempt, DurationS, Failure, Id, Name, Priority
from eventlib.events.schema import Event


class TaskQueued(Event, type="task.queued", version=1, stream="tasks"):
    """A task waits for a worker. Published by the service that wants it done."""

    task_id: Id = Field(description="Names the task in every event that follows.")
    name: Name = Field(description="Which task it is: what a worker looks its code up by.")
    priority: Priority = Field(default="normal", description="Which tasks it goes before.")
    attempts_max: Attempt = Field(default=5, description="How often it is tried at most.")
    run_at: AwareDatetime | None = Field(default=None, description="When it may start at the earliest; none: now.")


class TaskStarted(Event, type="task.started", version=1, stream="tasks"):
    """A worker begins an attempt. Published by the worker."""

    task_id: Id = Field(description="The task that began.")
    name: Name = Field(description="Which task it is.")
    attempt: Attempt = Field(description="Which attempt this is; the first is 1.")
    worker: Id = Field(description="Who works on it.")
    waited_s: DurationS = Field(description="How long the task was due before a worker had time.")


class TaskCompleted(Event, type="task.completed", version=1, stream="tasks"):
    """An attempt worked. Published by the worker; the task's last event."""

    task_id: Id = Field(description="The task that is done.")
    name: Name = Field(description="Which task it is.")
    attempt: Attempt = Field(description="Which attempt worked.")
    duration_s: DurationS = Field(description="How long this attempt took.")


class TaskFailed(Event, type="task.failed", version=1, stream="tasks"):
    """An attempt did not work. Published by the worker; the task's last event where no further attempt follows."""

    task_id: Id = Field(description="The task whose attempt failed.")
    name: Name = Field(description="Which task it is.")
    attempt: Attempt = Field(description="Which attempt failed.")
    duration_s: DurationS = Field(description="How long this attempt took.")
    failure: Failure = Field(description="Why it failed.")
    next_attempt_at: AwareDatetime | None = Field(default=None, description="When it is tried again; none: never.")
