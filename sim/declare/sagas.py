"""A service that runs sagas: its steps, how long each takes and how often it fails, and how it is undone."""

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from eventlib.errors import InvalidDeclaration
from eventlib.events.schema import valid_name
from eventlib.policy import UNDO_RETRY, Retry
from eventlib.saga_policy import Act, StepPlan, Unknown
from sim.declare.declared import Declared, Floats
from sim.declare.loads.kind import LoadKind
from sim.declare.service_times import ServiceTime

ActOutcome = Literal["done", "failed", "rejected"]


class UndoStep(Declared):
    """How a step is undone. An attempt fails with probability `error_rate`, at its end."""

    service_time: ServiceTime
    error_rate: float = Field(default=0.0, ge=0, le=1)
    retry: Retry = UNDO_RETRY


class SagaStep(Declared):
    """One step. An attempt takes `service_time`; at its end it fails, or is rejected for good, or has been done.

    It is retried as `retry` says, or else as the service's `retry` does. A step without `undo` that has to be undone
    parks its saga, unless there is `nothing_to_undo`. If a worker dies in the middle of it, `unknown` decides.
    """

    name: str
    service_time: ServiceTime
    error_rate: float = Field(default=0.0, ge=0, le=1)
    reject_rate: float = Field(default=0.0, ge=0, le=1)
    retry: Retry | None = None
    undo: UndoStep | None = None
    nothing_to_undo: bool = False
    unknown: Unknown = "retry"

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.error_rate + self.reject_rate > 1:
            raise ValueError("error_rate and reject_rate are over 1 together; lower one")
        if self.undo and self.nothing_to_undo:
            raise ValueError("it has an undo, and nothing_to_undo says that it needs none; leave one out")
        return self

    @property
    def plan(self) -> StepPlan:
        """What the library pins of it when a saga starts."""
        if self.undo:
            return StepPlan(self.name, "undo", self.unknown)
        return StepPlan(self.name, "nothing" if self.nothing_to_undo else "none", self.unknown)


class Saga(Declared):
    """Each message of the service is a saga of these steps, one after the other. If one fails, it is compensated."""

    steps: tuple[SagaStep, ...] = Field(min_length=1, max_length=100)

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [step.name for step in self.steps]
        if doubled := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"steps: two are named {doubled!r}; give one of them another name")
        try:
            for name in names:
                valid_name(name, "steps")
        except InvalidDeclaration as error:
            raise ValueError(str(error)) from error
        return self

    @property
    def plan(self) -> tuple[StepPlan, ...]:
        """What the library pins of its steps when one starts."""
        return tuple(step.plan for step in self.steps)

    @property
    def service_times(self) -> tuple[tuple[str, ServiceTime], ...]:
        """How long its acts take, each with the name of its step."""
        return tuple(
            (step.name, time)
            for step in self.steps
            for time in (step.service_time, *([step.undo.service_time] if step.undo else []))
        )

    def retries(self, own: Retry) -> dict[tuple[int, Act], Retry]:
        """How each act is retried: the number of its step, and what is done to it. `own` is the service's."""
        found: dict[tuple[int, Act], Retry] = {}
        for at, step in enumerate(self.steps):
            found[at, "do"] = own if step.retry is None else step.retry
            if step.undo is not None:
                found[at, "undo"] = step.undo.retry
        return found

    def problem(self, load: LoadKind) -> str | None:
        """Why its steps cannot take their times under this load, or None."""
        for name, time in self.service_times:
            if problem := time.problem(load):
                return f"steps.{name}: {problem}"
        return None

    def draw(self, m: int, stream: np.random.SeedSequence, load: LoadKind, own: Retry) -> "SagaDraws":
        """Everything random in m sagas, each act from streams of its own."""
        seconds, draws, rates = {}, {}, {}
        retries = self.retries(own)
        for at, step in enumerate(self.steps):
            acts: list[tuple[Act, SagaStep | UndoStep | None]] = [("do", step), ("undo", step.undo)]
            for (act, declared), of_act in zip(acts, stream.spawn(2), strict=True):
                if declared is not None:
                    times, failures = (np.random.default_rng(one) for one in of_act.spawn(2))
                    seconds[at, act] = declared.service_time.draw(m, times, load)
                    draws[at, act] = failures.random((m, retries[at, act].attempts))
                    rates[at, act] = declared.error_rate, getattr(declared, "reject_rate", 0.0)
        return SagaDraws(seconds, draws, rates)

    def in_words(self) -> str:
        """Its steps, and which of them can be undone."""
        return ", then ".join(step.name + (" (can be undone)" if step.undo else "") for step in self.steps)


@dataclass(frozen=True, slots=True)
class SagaDraws:
    """What one seed makes of a service's sagas, by number of the step and act.

    `seconds` have shape (m,), `draws` (m, attempts), uniform in [0, 1). m counts the sagas.
    """

    seconds: dict[tuple[int, Act], Floats]
    draws: dict[tuple[int, Act], Floats]
    rates: dict[tuple[int, Act], tuple[float, float]]  # how often an attempt fails, and how often it is rejected

    def outcome(self, at: int, act: Act, index: int, attempt: int, error_rate: float | None = None) -> ActOutcome:
        """What comes of an attempt (1-based) at an act. `error_rate` is that of a window of errors, if one holds."""
        draw = self.draws[at, act].item(index, attempt - 1)
        usual, rejected = self.rates[at, act]
        if draw < (usual if error_rate is None else error_rate):
            return "failed"
        return "rejected" if draw >= 1.0 - rejected else "done"
