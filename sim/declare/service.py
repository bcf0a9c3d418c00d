"""A service: the consumers of one event type, as declared. Its messages may be tasks of a queue, or sagas."""

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from eventlib.policy import Lease, Retry, RetryBudget
from sim.declare.declared import Declared
from sim.declare.sagas import Saga
from sim.declare.service_times import ServiceTime
from sim.declare.service_times.constant import ConstantTime
from sim.declare.task_queue import TaskQueue

# What the library can do and no world runs yet, by the library's own names. It is refused by name: a scenario in which
# it were passed over would look like a measurement of it.
_NOT_MODELLED = {
    "ordered_by": "order by key is not modelled yet; leave it out: messages are handed out as they come",
    "batch": "batch handlers are not modelled yet; leave it out: a handler gets one message at a time",
    "timeout_s": "timeouts of handlers are not modelled yet; leave it out: a handler runs for its service_time",
}

_OF_THE_STEPS = "each step of a saga says its own; leave it out here, and put it into saga.steps"
_NOT_WITH_SAGA = {
    "service_time": _OF_THE_STEPS,
    "error_rate": _OF_THE_STEPS,
    "queue": "a saga is no task of a queue; leave queue or saga out",
    "prefetch": "workers of sagas read no more than they run; leave it out",
    "retry_budget": "sagas have no retry budget; leave it out",
    "emits": "events that sagas emit are not modelled yet; leave it out",
}


class Service(Declared):
    """Consumers of one event type: each handles `concurrency` messages at once, every one for `service_time`.

    An attempt fails with probability `error_rate`, at its end. `retry` says what follows, and `retry_budget` how many
    retries one consumer may run. A handled message makes the service publish one event of each type in `emits`.
    Messages come by a stream, in their order. With a `queue` they come by that task queue. With a `saga` each of them
    is a saga, whose steps have times and error rates of their own; then `concurrency` counts steps.
    """

    consumes: str
    consumers: int = Field(default=1, ge=1, le=100)
    concurrency: int = Field(default=1, ge=1)
    prefetch: int = Field(default=0, ge=0)
    service_time: ServiceTime = ConstantTime(kind="constant", mean_s=0.0)  # only sagas may leave it out
    error_rate: float = Field(default=0.0, ge=0, le=1)
    retry: Retry = Retry()
    retry_budget: RetryBudget | None = None
    lease_s: float = Field(default=30.0, ge=0.01, le=1e5)
    queue: TaskQueue | None = None
    saga: Saga | None = None
    emits: tuple[str, ...] = ()

    @property
    def lease(self) -> Lease:
        return Lease(self.lease_s)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that its service times are read from."""
        acts = self.saga.service_times if self.saga else ()
        return (*self.service_time.files, *(file for _, time in acts for file in time.files))

    @model_validator(mode="before")
    @classmethod
    def _refuse_what_is_not_modelled(cls, declared: Any) -> Any:
        if not isinstance(declared, dict):
            return declared
        is_saga = declared.get("saga") is not None
        refused = _NOT_MODELLED | (_NOT_WITH_SAGA if is_saga else {})
        problems = [
            InitErrorDetails(
                type=PydanticCustomError("not_modelled", refused[field]), loc=(field,), input=declared[field]
            )
            for field in refused
            if field in declared and not _is_default(cls, field, declared[field])
        ]
        if not is_saga and "service_time" not in declared:
            problems.append(InitErrorDetails(type="missing", loc=("service_time",), input=declared))
        if problems:
            raise ValidationError.from_exception_data(cls.__name__, problems)
        return declared


def _is_default(cls: type[Service], field: str, value: object) -> bool:
    """Whether it says nothing: a history has every field of its scenario."""
    if field not in cls.model_fields:
        return False
    default = cls.model_fields[field].default
    return value in (default, default.model_dump() if isinstance(default, Declared) else default) or (
        not value and not default
    )
