"""Sagas as they are declared: the steps of a business act over several services, and how each is undone."""

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Generic, TypeVar, get_args, get_type_hints

from pydantic import BaseModel, TypeAdapter
from pydantic.errors import PydanticUserError

from eventlib.arguments import DURATION, is_count, is_duration, is_seconds
from eventlib.declare.checks import takes
from eventlib.errors import InvalidArgument, InvalidDeclaration, shown
from eventlib.events.roundtrip import is_same
from eventlib.events.schema import valid_name
from eventlib.policy import UNDO_RETRY, Lease, Retry
from eventlib.saga_context import SagaContext
from eventlib.saga_policy import StepPlan, Unknown

I = TypeVar("I", bound=BaseModel)  # noqa: E741 - the input

RESULT_BYTES_MAX = 2**20
_STEPS_MAX = 100


class _NothingToUndo:
    """The type of `NOTHING_TO_UNDO`."""

    def __repr__(self) -> str:
        return "NOTHING_TO_UNDO"


NOTHING_TO_UNDO: Final = _NothingToUndo()
Function = Callable[[SagaContext[Any]], Awaitable[Any]]


@dataclass(frozen=True)
class Step:
    """One step of a saga: the coroutine function that does it, and the one that undoes it.

    Both are called with a `SagaContext`. What `do` returns is kept, and its return annotation says how it is read back.
    `undo` is registered before `do` begins. It must also do the right thing where `do` did nothing: it runs too if `do`
    failed, or if its outcome is not known. `undo=NOTHING_TO_UNDO` says that nothing needs to be undone. A step without
    either that has to be undone parks its saga.

    A failed attempt is repeated as `retry` says, a failed undo as `undo_retry` says. A step that raises `Reject` says
    that it certainly did not happen, in no attempt: the saga compensates the steps before it.

    The outcome of a step is unknown if its worker ends silently, or if it takes longer than `timeout_s` seconds. Then
    `unknown` decides: "retry" does it again (steps are expected to be idempotent, with `saga.idempotency_key`), "undo"
    compensates the saga, this step included, and "park" waits for an operator.
    """

    do: Function
    undo: Function | _NothingToUndo | None = None
    name: str = ""  # default: the name of `do`
    retry: Retry = field(default_factory=Retry)
    undo_retry: Retry = UNDO_RETRY
    timeout_s: float | None = None
    undo_timeout_s: float | None = None
    unknown: Unknown = "retry"

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", getattr(self.do, "__name__", ""))
        where = f"saga step {valid_name(self.name, 'saga step')!r}"
        _check_function(where, self.do)
        if not (self.undo is None or isinstance(self.undo, _NothingToUndo)):
            _check_function(where, self.undo)
        for retry in (self.retry, self.undo_retry):
            if not isinstance(retry, Retry):
                raise InvalidDeclaration(where, f"retry={retry!r}; give a Retry")
        for name, seconds in (("timeout_s", self.timeout_s), ("undo_timeout_s", self.undo_timeout_s)):
            if seconds is not None and not is_duration(seconds):
                raise InvalidDeclaration(where, f"{name}={seconds!r}; it must be {DURATION}")
        if self.unknown not in get_args(Unknown):
            raise InvalidDeclaration(where, f"unknown={self.unknown!r}; it is one of {', '.join(get_args(Unknown))}")
        self._result  # noqa: B018 - refused here if it cannot be kept

    @property
    def plan(self) -> StepPlan:
        """What is pinned of it when a saga starts."""
        undo = "none" if self.undo is None else "nothing" if isinstance(self.undo, _NothingToUndo) else "undo"
        return StepPlan(self.name, undo, self.unknown)  # type: ignore[arg-type]  # one of its words

    @cached_property
    def _result(self) -> "TypeAdapter[Any]":
        where = f"saga step {self.name!r}"
        try:
            returned = inspect.signature(self.do).return_annotation
            if isinstance(returned, str):
                returned = get_type_hints(self.do, include_extras=True)["return"]
            return TypeAdapter(Any if returned is inspect.Signature.empty else returned)
        except (PydanticUserError, NameError, TypeError) as error:
            problem = f"what it returns cannot be kept as JSON: {str(error).splitlines()[0]}"
            raise InvalidDeclaration(where, f"{problem}; return a pydantic model or plain values") from error

    def keep(self, result: object) -> bytes:
        """A result as JSON.

        Raises:
            InvalidArgument: it does not come back as the same value, or is larger than 1 MiB.
        """
        where = f"result of saga step {self.name!r}"
        try:
            kept = self._result.dump_json(result, by_alias=True, warnings="error")
            read = self._result.validate_json(kept)
        except Exception as error:  # a model's own code may raise anything
            raise InvalidArgument(where, f"has no JSON form that comes back: {error}") from error
        if len(kept) > RESULT_BYTES_MAX:
            problem = f"takes {len(kept):,} bytes; at most {RESULT_BYTES_MAX:,} are kept"
            raise InvalidArgument(where, f"{problem}: store the content elsewhere and return its location")
        if not is_same(result, read):
            raise InvalidArgument(where, f"comes back as another value: {shown(read)[:200]}")
        return kept

    def read(self, kept: bytes) -> Any:
        """What `keep` kept."""
        return self._result.validate_json(kept)


def _check_function(where: str, function: object) -> None:
    if not (inspect.iscoroutinefunction(function) and takes(function, 1)):
        name = getattr(function, "__qualname__", shown(function))
        raise InvalidDeclaration(where, f"write {name} as `async def step(saga)`")


@dataclass(frozen=True, eq=False)
class Saga(Generic[I]):
    """A declared saga. Made by `App.saga`; `Bus.start` starts one, `Bus.sagas` looks at those that were started."""

    name: str
    steps: tuple[Step, ...]
    version: int
    input: type[I]
    timeout_s: float | None
    keep_s: float
    concurrency: int
    lease: Lease

    def __post_init__(self) -> None:
        where = f"saga {valid_name(self.name, 'saga')!r}"
        if not self.steps or len(self.steps) > _STEPS_MAX or not all(isinstance(step, Step) for step in self.steps):
            raise InvalidDeclaration(where, f"needs 1 to {_STEPS_MAX} steps, each a Step(...)")
        names = [step.name for step in self.steps]
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise InvalidDeclaration(where, f"has two steps named {doubled[0]!r}; give one of them another name=")
        if not is_count(self.version, 1):
            raise InvalidDeclaration(where, f"version={self.version!r}; versions count from 1")
        given: object = self.input  # of any type, where no checker looked
        if not (isinstance(given, type) and issubclass(given, BaseModel)):
            raise InvalidDeclaration(where, f"input={given!r}; give a pydantic model or an Event class")
        if self.timeout_s is not None and not is_duration(self.timeout_s):
            raise InvalidDeclaration(where, f"timeout_s={self.timeout_s!r}; it must be {DURATION}")
        if not is_duration(self.keep_s):
            raise InvalidDeclaration(where, f"keep_s={self.keep_s!r}; it must be {DURATION}")
        if not (is_count(self.concurrency, 1) and is_seconds(self.lease.duration_s, 1e6)):
            raise InvalidDeclaration(where, "needs concurrency >= 1, a whole number, and 0 < lease_s <= 1e6")

    @property
    def plan(self) -> tuple[StepPlan, ...]:
        """What is pinned of its steps when one starts."""
        return tuple(step.plan for step in self.steps)

    def write_input(self, given: object) -> bytes:
        """The input of one saga as JSON.

        Raises:
            InvalidArgument: it is of another class, or does not come back as the same value.
        """
        where = f"saga {self.name!r}"
        if type(given) is not self.input:
            raise InvalidArgument(where, f"starts with a {self.input.__name__}, not with {shown(given)[:200]}")
        try:
            kept = given.model_dump_json(by_alias=True, warnings="error").encode()
            read = self.read_input(kept)
        except Exception as error:
            raise InvalidArgument(where, f"its input has no JSON form that comes back: {error}") from error
        if len(kept) > RESULT_BYTES_MAX:
            raise InvalidArgument(where, f"its input takes {len(kept):,} bytes; at most {RESULT_BYTES_MAX:,} are kept")
        if not is_same(given, read):
            raise InvalidArgument(where, "its input comes back as another value")
        return kept

    def read_input(self, kept: bytes) -> I:
        """What `write_input` wrote."""
        return self.input.model_validate_json(kept)
