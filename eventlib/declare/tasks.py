"""Tasks: functions that workers run later, elsewhere. Declaring one does no I/O.

A task travels as an event. Its class is made from the function's signature: its type is the task's name, and its data
are the arguments.
"""

import inspect
import json
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Generic, Literal, ParamSpec, TypeVar, cast, get_args, get_type_hints, overload

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic_core import to_jsonable_python

from eventlib.arguments import DURATION, called_as, is_count, is_duration, is_number
from eventlib.declare.checks import replace_or_refuse
from eventlib.declare.subscriptions import GroupSettings, group_settings
from eventlib.errors import InvalidArgument, InvalidDeclaration, shown
from eventlib.events.roundtrip import refuse_what_is_lost
from eventlib.events.schema import Event, valid_name, valid_type
from eventlib.interactive import same_definition
from eventlib.policy import Retry, RetryBudget
from eventlib.queueing import PRIORITIES, WEIGHTS, Priority
from eventlib.records import queue_stream

P = ParamSpec("P")
R = TypeVar("R")

QUEUE = "default"
_ARGUMENT = "arg_"  # begins the name of each field, because a class of events has other names of its own
_KEY = re.compile(r"[!-~]{1,64}")
_WEIGHT_MAX = 100


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `starts` in any window of `per_s` seconds, over all workers, by the server's clock."""

    starts: int
    per_s: float = 1.0

    def __post_init__(self) -> None:
        if not is_count(self.starts, 1) or not is_duration(self.per_s):
            problem = f"{shown(self.starts)} per {shown(self.per_s)} s; give at least 1, and {DURATION}"
            raise InvalidDeclaration("Rate", problem)


@dataclass(frozen=True, slots=True)
class TaskSettings:
    """How a task is queued and run: see `App.task`."""

    priority: Priority = "normal"
    timeout_s: float | None = None
    retry: Retry = field(default_factory=Retry)
    fair_by: str | None = None
    unique_by: Sequence[str] = ()
    unique: Literal["queued", "running"] | None = None
    unique_for_s: float | None = None
    limit: int | None = None
    limit_by: str | None = None
    limit_per_key: int | None = None
    rate: Rate | None = None
    keep_result_s: float = 900.0


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """How the workers of a queue work: see `App.queue`."""

    group: GroupSettings = field(default_factory=GroupSettings)
    weights: Mapping[Priority, int] = field(default_factory=lambda: dict(WEIGHTS))
    fair_weights: Mapping[str, float] = field(default_factory=dict)


class _Result(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class TaskCall(Generic[R]):
    """A task with its arguments, for `enqueue_many`. Made by `Task.call`."""

    __slots__ = ("event", "task")

    def __init__(self, task: "Task[..., R]", event: Event) -> None:
        self.task = task
        self.event = event


class Task(Generic[P, R]):
    """A declared task. Made by `App.task`. Called like the function that it is made of, it runs it here and now."""

    def __init__(self, name: str, queue: str, function: Callable[P, Awaitable[R]], settings: TaskSettings) -> None:
        where = f"task {name!r}"
        self.name = valid_type(name, where)
        self.queue = valid_name(queue, f"{where}: queue")
        self.function = function
        self.settings = settings
        self._signature = inspect.signature(function)
        self._keyword_only = any(p.kind is p.KEYWORD_ONLY for p in self._signature.parameters.values())
        hints = _hints(function, where)
        self.event_class = _event_class(self._signature, hints, self, where)
        self.result_class = _result_class(hints["return"], function, where)
        self.returns_nothing = hints["return"] is type(None)
        _check(settings, self._signature, where)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Awaitable[R]:
        return self.function(*args, **kwargs)

    def call(self, *args: P.args, **kwargs: P.kwargs) -> TaskCall[R]:
        """The task with these arguments.

        Raises:
            InvalidArgument: they do not fit.
        """
        return TaskCall(self, self.event(*args, **kwargs))

    def event(self, *args: P.args, **kwargs: P.kwargs) -> Event:
        """The event that carries these arguments."""
        where = f"task {self.name!r}"
        if args and not kwargs and len(args) == len(self._signature.parameters) and not self._keyword_only:
            given = dict(zip(self._signature.parameters, args, strict=True))  # a tenth of the time of `bind`
        else:
            try:
                given = self._signature.bind(*args, **kwargs).arguments
            except TypeError as error:
                raise InvalidArgument(where, str(error)) from None
        try:
            return self.event_class(**given)
        except ValidationError as error:
            problems = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors(include_url=False)]
            raise InvalidArgument(where, "; ".join(problems)) from error

    def arguments_of(self, event: Event) -> dict[str, Any]:
        """The arguments that an event carries."""
        return {name: getattr(event, _ARGUMENT + name) for name in self._signature.parameters}

    def key_of(self, event: Event, names: Sequence[str]) -> str:
        """A short text that is the same for the same values of these arguments, and for no others."""
        if len(names) == 1 and isinstance(value := getattr(event, _ARGUMENT + names[0]), str):
            return key_text(value)
        written = json.loads(event.model_dump_json(by_alias=True))
        return key_text(_joined([written[name] for name in names]))


def key_text(text: str) -> str:
    """The text, if it can be part of what the scripts keep; else its digest."""
    if _KEY.fullmatch(text) and text[0] != "#":
        return text
    return f"#{sha256(text.encode(errors='surrogatepass')).hexdigest()[:32]}"


def tenant_of(value: object, where: str) -> str:
    """The key of the tasks whose `fair_by` argument has this value.

    Raises:
        InvalidDeclaration: it has no JSON form.
    """
    if isinstance(value, str):
        return key_text(value)
    try:
        return key_text(_joined([to_jsonable_python(value)]))
    except ValueError as error:
        raise InvalidDeclaration(where, f"fair_weights: {shown(value)}: {error}") from error


def _joined(values: Sequence[object]) -> str:
    return json.dumps(values, sort_keys=True, separators=(",", ":"))


def _hints(function: Callable[..., object], where: str) -> dict[str, Any]:
    try:
        hints = get_type_hints(function, include_extras=True)
    except Exception as error:
        raise InvalidDeclaration(where, f"its annotations cannot be read: {error}") from error
    if "return" not in hints:
        raise InvalidDeclaration(where, "annotate what it returns; `-> None` if that is nothing")
    return hints


def _event_class(
    signature: inspect.Signature, hints: Mapping[str, Any], task: Task[..., Any], where: str
) -> type[Event]:
    fields: dict[str, Any] = {}
    for name, parameter in signature.parameters.items():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise InvalidDeclaration(where, f"parameter {name!r} has no fixed name; use named parameters only")
        if name not in hints:
            raise InvalidDeclaration(where, f"parameter {name!r} has no annotation; its type is needed on the wire")
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[_ARGUMENT + name] = (hints[name], Field(default, alias=name))
    made: Any = create_model
    try:
        event_class = made(
            f"Task_{task.name}",
            __base__=Event,
            __module__=task.function.__module__,
            __cls_kwargs__={"type": task.name, "stream": queue_stream(task.queue)},
            **fields,
        )
    except InvalidDeclaration as error:
        raise InvalidDeclaration(where, f"{error.where}: {error.problem}") from error
    except Exception as error:  # a type that has no schema
        raise InvalidDeclaration(where, f"its parameters cannot be written: {_first_line(error)}") from error
    return cast(type[Event], event_class)


def _result_class(annotation: Any, function: Callable[..., object], where: str) -> type[BaseModel]:
    made: Any = create_model
    try:
        result_class: type[BaseModel] = made(
            "Result", __base__=_Result, __module__=function.__module__, value=(annotation, ...)
        )
        refuse_what_is_lost(result_class)
    except InvalidDeclaration as error:
        raise InvalidDeclaration(where, f"what it returns would not come back: {error.problem}") from error
    except Exception as error:
        raise InvalidDeclaration(where, f"what it returns cannot be written: {_first_line(error)}") from error
    return result_class


def _first_line(error: Exception) -> str:
    """What is wrong. Pydantic's further lines are about its own configuration, which a task has none of."""
    return str(error).partition("\n")[0]


def _check(settings: TaskSettings, signature: inspect.Signature, where: str) -> None:
    if problem := next(_problems(settings, list(signature.parameters)), None):
        raise InvalidDeclaration(where, problem)


def _problems(settings: TaskSettings, parameters: Sequence[str]) -> Iterator[str]:
    unique_by: object = settings.unique_by  # of any type, where no checker looked
    if isinstance(unique_by, str) or not isinstance(unique_by, Sequence):  # a text is a sequence too, of its letters
        yield f"unique_by={shown(unique_by)}; give a tuple of names"
    named = [settings.fair_by, settings.limit_by, *settings.unique_by]
    if unknown := [name for name in named if name is not None and name not in parameters]:
        yield f"{unknown} are not among its parameters {parameters}"
    if settings.priority not in PRIORITIES:
        yield f"priority={settings.priority!r}; it is one of {', '.join(PRIORITIES)}"
    for value, kind in ((settings.retry, Retry), (settings.rate, Rate)):
        if not isinstance(value, kind | None):
            yield f"{kind.__name__.lower()}={value!r}; give a {kind.__name__}"
    if settings.unique not in (None, "queued", "running"):
        yield f"unique={settings.unique!r}; it is 'queued' or 'running'"
    if settings.unique is not None and settings.unique_for_s is not None:
        yield "give either unique= or unique_for_s="
    if (settings.unique or settings.unique_for_s is not None) and not settings.unique_by:
        yield "unique_by= says which parameters make a task unique; give it too"
    if (settings.limit_by is None) != (settings.limit_per_key is None):
        yield "limit_by= and limit_per_key= belong together; give both or none"
    for name in ("limit", "limit_per_key"):
        if (number := getattr(settings, name)) is not None and not is_count(number, 1):
            yield f"{name}={number!r}; it must be a whole number of at least 1"
    for name in ("timeout_s", "unique_for_s", "keep_result_s"):
        if (seconds := getattr(settings, name)) is not None and not is_duration(seconds):
            yield f"{name}={shown(seconds)}; it must be {DURATION}"


class TaskDeclarations:
    """The part of an App that declares tasks and their queues."""

    tasks: dict[str, Task[..., Any]]
    queues: dict[str, QueueSettings]

    @overload
    def task(self, function: Callable[P, Awaitable[R]], /) -> Task[P, R]: ...
    @overload
    def task(
        self,
        *,
        name: str | None = None,
        queue: str = QUEUE,
        priority: Priority = "normal",
        timeout_s: float | None = None,
        retry: Retry | None = None,
        fair_by: str | None = None,
        unique_by: Sequence[str] = (),
        unique: Literal["queued", "running"] | None = None,
        unique_for_s: float | None = None,
        limit: int | None = None,
        limit_by: str | None = None,
        limit_per_key: int | None = None,
        rate: Rate | None = None,
        keep_result_s: float = 900.0,
    ) -> Callable[[Callable[P, Awaitable[R]]], Task[P, R]]: ...
    @called_as('@app.task(priority="high")', InvalidDeclaration)  # type: ignore[misc]  # mypy: it would hide parameters
    def task(
        self,
        function: Callable[P, Awaitable[R]] | None = None,
        /,
        *,
        name: str | None = None,
        queue: str = QUEUE,
        priority: Priority = "normal",
        timeout_s: float | None = None,
        retry: Retry | None = None,
        fair_by: str | None = None,
        unique_by: Sequence[str] = (),
        unique: Literal["queued", "running"] | None = None,
        unique_for_s: float | None = None,
        limit: int | None = None,
        limit_by: str | None = None,
        limit_per_key: int | None = None,
        rate: Rate | None = None,
        keep_result_s: float = 900.0,
    ) -> Task[P, R] | Callable[[Callable[P, Awaitable[R]]], Task[P, R]]:
        """Declare the decorated coroutine function as a task. `bus.enqueue` lets a worker run it.

        Without settings, `@app.task` is enough.

        Its parameters and what it returns are annotated with types that an event may have. `name` is its name on the
        wire, the function's own if none is given: tasks that wait under an old name are dead letters after a renaming.
        A parameter that is added needs a default. Like a handler, it may run again, it fails by raising, `retry` and
        `timeout_s` count, and `Reject`, `RetryAfter` and `Snooze` say what follows.

        Tasks of each `priority` get their turns by the queue's weights, so none starves. Within a priority, tenants,
        the values of parameter `fair_by`, take turns.

        With `unique_by`, the names of parameters, no second task with the same values is enqueued: while the first one
        waits (`unique="queued"`), until it has ended (`unique="running"`, the default), or for `unique_for_s` seconds.

        Over all workers, at most `limit` of these tasks run at once, at most `limit_per_key` of those with the same
        value of parameter `limit_by`, and at most as many start as `rate` allows. A task that waits for a limit does
        not hold up others. What a task returns is kept for `keep_result_s` seconds after its end. For that long, and
        for 60 s at least, its id is known: an enqueue that is repeated later, also by the bus after an outage, runs it
        again.

        Raises:
            InvalidDeclaration: it is no coroutine function, something is not annotated or would not come back, the name
                is in use, or a setting is out of its range.
        """
        if unique_by and unique is None and unique_for_s is None:
            unique = "running"
        settings = TaskSettings(
            *(priority, timeout_s, retry or Retry(), fair_by, unique_by, unique, unique_for_s),
            *(limit, limit_by, limit_per_key, rate, keep_result_s),
        )

        def declare(function: Callable[P, Awaitable[R]]) -> Task[P, R]:
            return self._declare(function, name, queue, settings)

        return declare if function is None else declare(function)

    def _declare(
        self, function: Callable[P, Awaitable[R]], name: str | None, queue: str, settings: TaskSettings
    ) -> Task[P, R]:
        if not callable(function):
            raise InvalidDeclaration("task", f"{shown(function)} is no function; write @app.task(name=...)")
        own_name = getattr(function, "__name__", repr(function)) if name is None else name
        where = f"task {own_name!r}"
        if not inspect.iscoroutinefunction(function):
            raise InvalidDeclaration(where, f"write it as `async def {own_name}(...)`")
        made = Task(own_name, queue, function, settings)
        before = self.tasks.get(own_name)
        if before is not None and not same_definition(before.function, function):
            replace_or_refuse(where, "is already declared; give one of the two another name=")
        self.tasks[own_name] = made
        return made

    @called_as('app.queue("reports", concurrency=4)', InvalidDeclaration)
    def queue(
        self,
        name: str,
        *,
        concurrency: int = 16,
        prefetch: int = 0,
        lease_s: float = 30.0,
        retry_budget: RetryBudget | None = None,
        weights: Mapping[Priority, int] | None = None,
        fair_weights: Mapping[Any, float] | None = None,
    ) -> None:
        """Set how each worker of a queue works. A queue that is not set here has the defaults.

        `concurrency`, `prefetch`, `lease_s` and `retry_budget` are as in `App.group`. A task that waits in a worker for
        `prefetch` has had its turn. `weights` say how many turns each priority has of all: a priority's oldest task is
        passed by at most `queueing.passed_by_max` others, which is 14 for low by default. `fair_weights` are those of
        tenants whose weight is not 1.

        Raises:
            InvalidDeclaration: the queue is set twice, or a number is out of its range.
        """
        where = f"queue {valid_name(name, 'queue')!r}"
        if name in self.queues:
            replace_or_refuse(where, "is already set; set each queue once")
        group = group_settings(where, concurrency, prefetch, lease_s, retry_budget)
        own = {**WEIGHTS, **(weights or {})}
        if set(own) != set(get_args(Priority)) or not all(is_count(w, 1) and w <= _WEIGHT_MAX for w in own.values()):
            raise InvalidDeclaration(where, f"weights={weights!r}; give {', '.join(PRIORITIES)} weights from 1 to 100")
        for tenant, weight in (fair_weights or {}).items():
            if not (is_number(weight) and 1e-3 <= weight <= 1e3):
                raise InvalidDeclaration(
                    where, f"fair_weights: {shown(tenant)}: {shown(weight)}; give numbers from 0.001 to 1000"
                )
        self.queues[name] = QueueSettings(
            group, own, {tenant_of(tenant, where): weight for tenant, weight in (fair_weights or {}).items()}
        )
