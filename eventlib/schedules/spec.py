"""What is kept of a schedule on the server, so that any program can run it: its rule, and its task but for the slot."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from eventlib.declare.tasks import TaskCall
from eventlib.errors import DecodeError
from eventlib.events.envelope import current, readdressed
from eventlib.records import EnqueuedTask
from eventlib.scheduling import ScheduleRule, task_id
from eventlib.tasks.writing import written_task

_NO_ID = "none"
_FORM = 1  # a program that changes the form of what is kept counts it up


@dataclass(frozen=True, slots=True)
class Spec:
    """A schedule's rule and task. `declared_by` is the name of the App that declares it; None: it was added."""

    task: str
    rule: ScheduleRule
    declared_by: str | None
    template: EnqueuedTask  # of no slot

    @classmethod
    def of(cls, call: TaskCall[Any], rule: ScheduleRule, app: str, *, declared_by: str | None) -> "Spec":
        """The spec of a schedule for this task with its arguments, made by a program of this name.

        Raises what `written_task` raises.
        """
        token = current.set(None)  # a slot does not belong to what its schedule was added for
        try:
            template = written_task(call, app, _NO_ID)
        finally:
            current.reset(token)
        event = readdressed(template.event, _NO_ID, 0.0)
        return cls(call.task.name, rule, declared_by, template._replace(id="", event=event))

    def task_of(self, schedule: str, slot_s: float) -> EnqueuedTask:
        """The task of a slot. It is the same for every program, so a slot cannot start two."""
        return self.task_as(task_id(schedule, slot_s), slot_s)

    def task_as(self, id_: str, time_s: float) -> EnqueuedTask:
        """The task under an id, with the time as the time of its event."""
        return self.template._replace(id=id_, event=readdressed(self.template.event, id_, time_s))


def spec_text(spec: Spec) -> str:
    """The spec as it is kept: JSON, and the same for the same spec."""
    template = spec.template
    rule = {name: value for name, value in asdict(spec.rule).items() if name != "slots"}
    kept = {
        "form": _FORM,
        "task": spec.task,
        "declared_by": spec.declared_by,
        "rule": rule,
        "event": template.event.decode(),
        "record": template.record.decode(),
        "unique": template.unique,
        "unique_until": template.unique_until,
    }
    return json.dumps(kept, ensure_ascii=False, separators=(",", ":"))


@lru_cache(maxsize=4096)
def spec_of(text: str) -> Spec:
    """The spec that is kept as this text.

    Raises:
        DecodeError: it is none, or of a newer form.
    """
    try:
        kept: Mapping[str, Any] = json.loads(text)
        if kept["form"] != _FORM:
            raise DecodeError(f"it has form {kept['form']}, and this program reads form {_FORM}; update this program")
        template = EnqueuedTask(
            *("", kept["event"].encode(), kept["record"].encode(), "", kept["unique"], kept["unique_until"])
        )
        return Spec(kept["task"], ScheduleRule(**kept["rule"]), kept["declared_by"], template)
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise DecodeError(f"what is kept of the schedule cannot be read: {error!r}") from error
