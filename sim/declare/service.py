"""A service: the consumers of one event type, as declared. With a queue, its messages are tasks."""

from typing import Any

from pydantic import Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from eventlib.policy import Lease, Retry, RetryBudget
from sim.declare.declared import Declared
from sim.declare.service_times import ServiceTime
from sim.declare.task_queue import TaskQueue

# What the library can do and no world runs yet, by the library's own names. It is refused by name: a scenario in which
# it were passed over would look like a measurement of it.
_NOT_MODELLED = {
    "ordered_by": "order by key is not modelled yet; leave it out: messages are handed out as they come",
    "batch": "batch handlers are not modelled yet; leave it out: a handler gets one message at a time",
    "timeout_s": "timeouts of handlers are not modelled yet; leave it out: a handler runs for its service_time",
}


class Service(Declared):
    """Consumers of one event type: each handles `concurrency` messages at once, every one for `service_time`.

    An attempt fails with probability `error_rate`, at its end. `retry` says what follows, and `retry_budget` how many
    retries one consumer may run. A handled message makes the service publish one event of each type in `emits`.
    Messages come by a stream, in their order. With a `queue` they come by that task queue.
    """

    consumes: str
    consumers: int = Field(default=1, ge=1, le=100)
    concurrency: int = Field(default=1, ge=1)
    prefetch: int = Field(default=0, ge=0)
    service_time: ServiceTime
    error_rate: float = Field(default=0.0, ge=0, le=1)
    retry: Retry = Retry()
    retry_budget: RetryBudget | None = None
    lease_s: float = Field(default=30.0, ge=0.01, le=1e5)
    queue: TaskQueue | None = None
    emits: tuple[str, ...] = ()

    @property
    def lease(self) -> Lease:
        return Lease(self.lease_s)

    @model_validator(mode="before")
    @classmethod
    def _refuse_what_is_not_modelled(cls, declared: Any) -> Any:
        found = [field for field in _NOT_MODELLED if isinstance(declared, dict) and field in declared]
        if found:
            raise ValidationError.from_exception_data(
                cls.__name__,
                [
                    InitErrorDetails(
                        type=PydanticCustomError("not_modelled", _NOT_MODELLED[field]),
                        loc=(field,),
                        input=declared[field],
                    )
                    for field in found
                ],
            )
        return declared
