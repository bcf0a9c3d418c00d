"""A service: the consumers of one event type, as declared. Its messages may be tasks of a queue, or sagas.

Or it has handlers of the user's own, which an App declares.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, Field, ValidationError, ValidationInfo, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from eventlib.circuit_breaker import CircuitBreaker
from eventlib.importing import import_path
from eventlib.policy import Lease, Retry, RetryBudget
from sim.declare.autoscale import Autoscale
from sim.declare.batch_handler import BatchHandler
from sim.declare.declared import FOUND, Declared, FilePlaces, made_of
from sim.declare.order_keys import OrderKeys
from sim.declare.own_handlers import OwnHandlers, WireNames
from sim.declare.sagas import Saga
from sim.declare.service_times import ServiceTime
from sim.declare.service_times.constant import ConstantTime
from sim.declare.task_queue import TaskQueue
from sim.wording import quantity

_OF_THE_STEPS = "each step of a saga says its own; leave it out here, and put it into saga.steps"
_NOT_WITH_SAGA = {
    "service_time": _OF_THE_STEPS,
    "error_rate": _OF_THE_STEPS,
    "queue": "a saga is no task of a queue; leave queue or saga out",
    "prefetch": "workers of sagas read no more than they run; leave it out",
    "retry_budget": "sagas have no retry budget; leave it out",
    "emits": "events that sagas emit are not modelled yet; leave it out",
    "timeout_s": "time limits of steps are not modelled yet; leave it out",
    "ordered_by": "the workers of sagas keep no order of keys; leave it out",
    "circuit_breaker": "sagas have no circuit breaker; leave it out",
    "batch": "a step is done for one saga at a time; leave it out",
    "autoscale": "workers of sagas are not scaled yet; leave it out",
    "uses": "dependencies of steps are not modelled yet; leave it out",
}

_BY_THE_APP = "the App declares it for the group; leave it out here, and set it there"
_NOT_WITH_APP = {
    "service_time": "own handlers take the time that they take; leave it out: it is learned from a short run",
    "error_rate": "own handlers fail when they fail; leave it out: it is learned from a short run",
    "emits": "what own handlers publish is seen, not declared; leave it out",
    "uses": "own handlers call what they call; leave it out",
    "ordered_by": "groups of an App that are ordered by key are not modelled yet; leave it out",
    "timeout_s": "the handler's own subscription has it; leave it out here, and set it there",
    "concurrency": _BY_THE_APP,
    "prefetch": _BY_THE_APP,
    "lease_s": _BY_THE_APP,
    "retry": _BY_THE_APP,
    "retry_budget": _BY_THE_APP,
    "circuit_breaker": _BY_THE_APP,
    "batch": _BY_THE_APP,
}
_NEVER_WITH_APP = {
    "queue": "tasks of an App are not modelled yet; leave queue or app out",
    "saga": "sagas of an App are not modelled yet; leave saga or app out",
}
_WITHOUT_APP = {
    "group": "only an App has groups; name it with app, or leave group out",
    "payload": "only handlers of an App see a payload; name it with app, or leave payload out",
    "follows": "what is declared says so itself, as service_time: {kind: linear, field: ...}; leave it out",
}


class Service(Declared):
    """Consumers of one event type: each handles `concurrency` messages at once, every one for `service_time`.

    An attempt fails with probability `error_rate`, at its end. `retry` says what follows, and `retry_budget` how many
    retries one consumer may run; with a `circuit_breaker` it pauses while too many attempts fail. A handled message
    makes the service publish one event of each type in `emits`; with shares, such as
    `emits: {order.paid: 0.9, order.refused: 0.1}`, one event of one of these types.
    An attempt first works for its `service_time` and then calls each of the scenario's dependencies that it `uses`, in
    their order. One that takes longer than `timeout_s` in all is cancelled and has failed.
    With a `batch`, a call takes many messages, and `concurrency` counts calls.
    With `autoscale`, a rule says how many consumers there are; a run begins with `consumers`, or with its `min`.
    Messages come by a stream, in their order; `ordered_by` keeps this order for each key, whatever is retried. With a
    `queue` they come by that task queue. With a `saga` each of them is a saga, whose steps have times and error rates
    of their own; then `concurrency` counts steps.

    With an `app`, such as `shop.services:app`, the handlers of its `group` (by default of the service's name) run. The
    App declares how its consumers work. What the load sends is made by `payload`: a function such as
    `shop.services:order`, called with the message's number and a random generator; or a `.jsonl` file of recorded
    events. Modules and files are looked for in `folder`, by default the scenario's, and where the run is started.
    Where its time `follows` a field that the load lets the events say, it is learned as linear in that field.

    `wire` and `own` are not declared but found: how the App's event travels, and what its handlers do.
    """

    consumes: str
    consumers: int = Field(default=1, ge=1, le=100)
    autoscale: Autoscale | None = None
    concurrency: int = Field(default=1, ge=1)
    batch: BatchHandler | None = None
    prefetch: int = Field(default=0, ge=0)
    service_time: ServiceTime = ConstantTime(kind="constant", mean_s=0.0)  # only sagas may leave it out
    error_rate: float = Field(default=0.0, ge=0, le=1)
    retry: Retry = Retry()
    retry_budget: RetryBudget | None = None
    circuit_breaker: CircuitBreaker | None = None
    lease_s: float = Field(default=30.0, ge=0.01, le=1e5)
    queue: TaskQueue | None = None
    saga: Saga | None = None
    emits: tuple[str, ...] = ()
    emits_shares: tuple[float, ...] = Field(
        default=(), json_schema_extra=made_of("emits")
    )  # a file says them in `emits`
    ordered_by: OrderKeys | None = None
    uses: tuple[str, ...] = ()
    timeout_s: float | None = Field(default=None, ge=0.001, le=1e5)
    app: str | None = None
    group: str | None = None
    payload: str | None = None
    folder: Path | None = None
    follows: str | None = None
    wire: WireNames | None = Field(default=None, json_schema_extra=FOUND)
    own: OwnHandlers | None = Field(default=None, json_schema_extra=FOUND)

    @property
    def consumers_first(self) -> int:
        """How many consumers a run begins with."""
        return self.consumers if self.autoscale is None else max(self.consumers, self.autoscale.min)

    @property
    def consumers_always(self) -> int:
        """How many consumers there are at any time, faults aside."""
        return self.consumers if self.autoscale is None else self.autoscale.min

    @property
    def consumers_most(self) -> int:
        """How many consumers there may be."""
        return self.consumers if self.autoscale is None else self.autoscale.max

    @property
    def consumers_in_words(self) -> str:
        """How many consumers there are, as half a sentence."""
        return str(self.consumers) if self.autoscale is None else self.autoscale.in_words()

    @property
    def at_once(self) -> int:
        """How many messages a consumer handles at once, at most."""
        return self.concurrency if self.batch is None else self.concurrency * self.batch.size

    @property
    def takes_in_words(self) -> str:
        """How long an attempt takes, as half a sentence."""
        call = self.service_time.in_words()
        if self.follows is not None and self.own is not None and self.own.learned is not None:
            call += f", and {quantity(self.own.learned.per_unit_s, 's')} x {self.follows}"
        return call if self.batch is None else self.batch.takes_in_words(call)

    @property
    def lease(self) -> Lease:
        return Lease(self.lease_s)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that its service times are read from."""
        acts = self.saga.service_times if self.saga else ()
        times = (self.service_time, *(time for _, time in acts))
        recorded = self.recorded_events
        return (*(file for time in times for file in time.files), *([recorded] if recorded else []))

    @property
    def recorded_events(self) -> Path | None:
        """The file of recorded events that `payload` names; None where it names none."""
        if self.payload is None or not self.payload.endswith(".jsonl"):
            return None
        return (self.folder or Path()) / self.payload

    @property
    def learned(self) -> bool:
        """Whether a model can run it: all is declared, or was learned."""
        return self.app is None or (self.own is not None and self.own.learned is not None)

    @model_validator(mode="before")
    @classmethod
    def _refuse_what_is_not_modelled(cls, declared: Any, info: ValidationInfo) -> Any:
        if not isinstance(declared, dict):
            return declared
        is_saga, has_app = declared.get("saga") is not None, declared.get("app") is not None
        refused = dict(_NOT_WITH_SAGA) if is_saga else {}
        if has_app:
            refused |= _NEVER_WITH_APP | ({} if declared.get("own") else _NOT_WITH_APP)
        else:
            refused |= _WITHOUT_APP
        problems = [
            InitErrorDetails(
                type=PydanticCustomError("not_modelled", refused[field]), loc=(field,), input=declared[field]
            )
            for field in refused
            if field in declared and not _is_default(cls, field, declared[field])
        ]
        if not is_saga and not has_app and "service_time" not in declared:
            problems.append(InitErrorDetails(type="missing", loc=("service_time",), input=declared))
        if problems:
            raise ValidationError.from_exception_data(cls.__name__, problems)
        places = info.context
        if has_app and isinstance(places, FilePlaces) and not Path(declared.get("folder") or "").is_absolute():
            return declared | {"folder": places.directory / (declared.get("folder") or "")}
        return declared

    @model_validator(mode="before")
    @classmethod
    def _read_shares(cls, declared: Any) -> Any:
        emits = declared.get("emits") if isinstance(declared, dict) else None
        if not isinstance(emits, Mapping):
            return declared
        return declared | {"emits": list(emits), "emits_shares": list(emits.values())}

    @model_validator(mode="after")
    def _shares_add_up(self) -> Self:
        if not self.emits_shares:
            return self
        if len(self.emits_shares) != len(self.emits):
            raise ValueError("emits_shares: give one for each of emits, as in emits: {order.paid: 0.9, ...}")
        if not all(share > 0 for share in self.emits_shares):
            raise ValueError("emits: a share is 0 or negative; leave that event out")
        if abs((total := sum(self.emits_shares)) - 1.0) > 1e-6:
            raise ValueError(f"emits: the shares add up to {total:g}; make them add up to 1")
        return self

    @property
    def comes_in_words(self) -> str:
        """How its messages come, as half a sentence."""
        if self.queue is not None:
            return self.queue.in_words()
        return "by a stream, " + (self.ordered_by.in_words() if self.ordered_by is not None else "in order")

    @property
    def emits_in_words(self) -> str:
        """What it publishes for each message, as half a sentence."""
        if not self.emits_shares:
            return ", ".join(self.emits) or "nothing"
        return " or ".join(
            f"{event} ({100 * share:g} %)" for event, share in zip(self.emits, self.emits_shares, strict=True)
        )

    @model_validator(mode="after")
    def _batches_a_stream(self) -> Self:
        if self.batch is not None and self.queue is not None:
            raise ValueError("batch: a task is run by itself; leave batch or queue out")
        if self.circuit_breaker is not None and self.queue is not None:
            raise ValueError("circuit_breaker: task queues have none; leave circuit_breaker or queue out")
        return self

    @model_validator(mode="after")
    def _scales_a_stream(self) -> Self:
        if self.autoscale is None:
            return self
        if self.queue is not None:
            raise ValueError("autoscale: workers of task queues are not scaled yet; leave autoscale or queue out")
        if self.consumers > self.autoscale.max:
            most = f"{self.consumers} is over autoscale.max, {self.autoscale.max}"
            raise ValueError(f"consumers: {most}; a run begins with them: lower it, or leave it out")
        return self

    @model_validator(mode="after")
    def _orders_a_stream(self) -> Self:
        if self.ordered_by is not None and self.queue is not None:
            raise ValueError("ordered_by: a task queue keeps no order of keys; leave ordered_by or queue out")
        return self

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        for field in ("app", "payload"):
            text = getattr(self, field)
            if text is not None and not (field == "payload" and self.recorded_events):
                try:
                    import_path(text)
                except ValueError as error:
                    raise ValueError(f"{field}: {error}") from error
        return self


def _is_default(cls: type[Service], field: str, value: object) -> bool:
    """Whether it says nothing: a history has every field of its scenario."""
    if field not in cls.model_fields:
        return False
    default = cls.model_fields[field].default
    if isinstance(value, list | tuple):
        return list(value) == list(default or ())
    return value in (default, default.model_dump() if isinstance(default, BaseModel) else default)
