"""A saga as it is stored, and as it is shown."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from eventlib.saga_policy import Act, SagaState, SagaStatus, StepPlan, StepStatus

_RESULT = "result:"


@dataclass(frozen=True, slots=True)
class SagaStep:
    """One step of one saga. `result` is what it returned, as plain JSON values; None if it is not done."""

    name: str
    status: StepStatus
    result: Any = None


@dataclass(frozen=True, slots=True)
class SagaNote:
    """One thing that happened to a saga. `at_s` is in Unix seconds by the server's clock."""

    at_s: float
    what: str
    step: str = ""
    attempt: int = 0
    worker: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class SagaRecord:
    """How one saga stands. Times are Unix seconds by the server's clock.

    `status` is running, cancelling (a step runs whose outcome is waited for), compensating, completed, compensated, or
    parked, which waits for an operator; `why` says why it compensates or is parked. `act` and `step` say what it does,
    or where it stopped, in attempt number `attempt`. `error` is the last failure. `waits_for` is what it needs and no
    worker has had, such as a version. `input` has plain JSON values.
    """

    id: str
    name: str
    version: int
    status: SagaStatus
    steps: tuple[SagaStep, ...]
    input: Any
    why: str
    act: Act
    step: str
    attempt: int
    running: bool
    error: str
    waits_for: str
    started_at_s: float
    updated_at_s: float
    deadline_s: float | None

    @property
    def results(self) -> dict[str, Any]:
        """What the steps returned, by their names, as plain JSON values."""
        return {step.name: step.result for step in self.steps if step.status in ("done", "undone")}


@dataclass(frozen=True, slots=True)
class StoredSaga:
    """The fields of one saga, read."""

    id: str
    version: int
    revision: int
    run: str  # unique to this run of the saga, unlike its id, which a later one may have again
    state: SagaState
    mark: str
    prior: str  # the mark that the last worker found when it began
    input: bytes
    results: Mapping[int, bytes]
    correlation_id: str
    keep_s: float
    fields: Mapping[str, bytes] = field(repr=False)

    @classmethod
    def of(cls, fields: Mapping[str, bytes]) -> "StoredSaga":
        """Read the fields of a saga."""
        text = {name: value.decode() for name, value in fields.items() if not name.startswith(_RESULT)}
        plan = tuple(StepPlan(*each) for each in json.loads(text["plan"]))
        state = SagaState(
            *(text["status"], plan, tuple(text["steps"].split(",")), text["act"]),  # type: ignore[arg-type]
            *(int(text["at"]), int(text["seq"]), int(text["begun"]), text["mark"] != ""),
            *(text["cancel"], text["why"]),
        )
        results = {int(name.removeprefix(_RESULT)): fields[name] for name in fields if name.startswith(_RESULT)}
        return cls(
            *(text["id"], int(text["version"]), int(text["revision"]), text["run"], state),
            *(text["mark"], text.get("prior", ""), fields["input"], results, text["correlation"]),
            *(float(text["keep_s"]), fields),
        )

    def record(self, name: str) -> SagaRecord:
        """The saga as it is shown."""
        text = {name: value.decode() for name, value in self.fields.items() if name not in ("input", "plan")}
        state = self.state
        steps = tuple(
            SagaStep(plan.name, status, json.loads(self.results[at]) if at in self.results else None)
            for at, (plan, status) in enumerate(zip(state.plan, state.steps, strict=True))
        )
        return SagaRecord(
            *(self.id, name, self.version, state.status, steps, json.loads(self.input), state.why),
            *(state.act, state.step.name, state.begun, state.running, text.get("error", ""), text.get("waits", "")),
            *(int(text["created"]) / 1000.0, int(text["updated"]) / 1000.0),
            int(text["deadline"]) / 1000.0 if "deadline" in text else None,
        )


def result_field(at: int) -> str:
    """The field of a saga that holds the result of step number `at`."""
    return f"{_RESULT}{at}"


def note_of(line: bytes) -> SagaNote:
    """A line of a saga's history, read."""
    ms, _, about = line.partition(b" ")
    return SagaNote(int(ms) / 1000.0, **json.loads(about))
