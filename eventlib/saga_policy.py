"""Decides what happens next to a saga. Pure functions: no clock, no chance, no I/O.

Both worlds call them: the workers with what really happened, the simulator with what it drew. A saga does one act at a
time: it does a step, or undoes one. A `Move` says how the saga stands after something happened, and whether another act
begins. A move is stored only if the saga's revision is unchanged, so two moves from one state never both count.
"""

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

SagaStatus = Literal["running", "cancelling", "compensating", "completed", "compensated", "parked"]
StepStatus = Literal["waiting", "registered", "done", "rejected", "failed", "unknown", "undone"]
Act = Literal["do", "undo"]
Undo = Literal["undo", "nothing", "none"]  # the step has an undo, has nothing to undo, or says nothing of it
Unknown = Literal["retry", "undo", "park"]
Outcome = Literal["rejected", "failed", "unknown"]
Resolution = Literal["completed", "compensated", "done", "undone"]

ENDED: frozenset[SagaStatus] = frozenset({"completed", "compensated"})
RESTING: frozenset[SagaStatus] = ENDED | {"parked"}  # it does not go on by itself
_MAY_HAVE_HAPPENED: frozenset[StepStatus] = frozenset({"done", "failed", "unknown"})


@dataclass(frozen=True, slots=True)
class StepPlan:
    """What is pinned of a step when its saga starts."""

    name: str
    undo: Undo
    unknown: Unknown


@dataclass(frozen=True, slots=True)
class SagaState:
    """How a saga stands. `seq` counts its acts: a message about an earlier act is out of date."""

    status: SagaStatus
    plan: tuple[StepPlan, ...]
    steps: tuple[StepStatus, ...]
    act: Act = "do"
    at: int = 0  # the step that the act is about
    seq: int = 0
    begun: int = 0  # how often a worker has begun the act
    running: bool = False  # a worker has begun the act and told no outcome yet
    cancel: str = ""  # why the saga has to be compensated, from when that is known
    why: str = ""  # why it compensates, or is parked

    @property
    def step(self) -> StepPlan:
        """The step that the act is about."""
        return self.plan[self.at]


class Move(NamedTuple):
    """What follows: how the saga stands then, whether the act in `state` begins, and what happened, in a word or two.

    `ends_act` is false if the act goes on, or waits for another attempt.
    """

    state: SagaState
    begins: bool
    what: str
    ends_act: bool = True


def started(plan: tuple[StepPlan, ...]) -> Move:
    """A saga starts: the undo of its first step is registered, then the step may begin."""
    steps = list[StepStatus]("waiting" for _ in plan)
    steps[0] = "registered"
    return Move(SagaState("running", plan, tuple(steps), seq=1), True, "started")


def begun(state: SagaState, lost: bool) -> Move | None:
    """A worker has begun the act. `lost`: so had another one, which told no outcome. None: the act may run."""
    if lost:
        if state.act == "undo":
            return _goes_on(state, "undo unknown", running=True)
        move = unknown(state, "its worker ended without telling the outcome")
        return move if move.ends_act else move._replace(state=replace(move.state, running=True))
    if state.act == "undo":
        return None
    return _compensate(_with_step(state, "failed"), state.cancel, "cancelled") if state.cancel else None


def unknown(state: SagaState, why: str) -> Move:
    """The outcome of doing the step is not known: its worker ended silently, or the step timed out."""
    state = _with_step(state, "unknown")
    if state.cancel or state.step.unknown == "undo":
        return _compensate(state, state.cancel or f"step {state.step.name}: {why}", "unknown")
    if state.step.unknown == "park":
        return _park(state, f"the outcome of step {state.step.name} is not known: {why}", "unknown")
    return _goes_on(state, "unknown")


def done(state: SagaState) -> Move:
    """The act has been done. The undo of the next step is registered before that step begins."""
    if state.act == "undo":
        return _compensate(_with_step(state, "undone"), state.cancel, "undone")
    state = _with_step(state, "done")
    if state.cancel:
        return _compensate(state, state.cancel, "done")
    if state.at + 1 == len(state.plan):
        return _settled(replace(state, status="completed"), "done")
    state = _with_step(replace(state, at=state.at + 1), "registered")
    return Move(_next_act(state), True, "done")


def attempt_failed(state: SagaState, why: str) -> Move:
    """An attempt failed, and the retry policy allows another one. A saga that has to be compensated waits for none."""
    if state.act == "do" and state.cancel:
        return failed(state, "failed", why)
    return _goes_on(state, "attempt failed" if state.act == "do" else "undo failed")


def put_off(state: SagaState) -> Move:
    """The act wants to be tried later, without an attempt being counted."""
    return attempt_failed(state, "it was put off")._replace(what="put off")


def failed(state: SagaState, outcome: Outcome, why: str) -> Move:
    """The act has failed for good. A step that was `rejected` certainly did not happen, so it is not undone.

    A step that failed in another way may have happened, so its undo runs, if it has one.
    """
    if state.act == "undo":
        return _park(state, f"the undo of step {state.step.name} failed: {why}", "undo failed")
    if outcome == "rejected":
        return _compensate(_with_step(state, "rejected"), f"step {state.step.name} was rejected: {why}", "rejected")
    not_known = outcome == "unknown" or state.steps[state.at] == "unknown"
    state = _with_step(state, "unknown" if not_known else "failed")
    if outcome == "unknown" and state.step.unknown == "park" and not state.cancel:
        return _park(state, f"the outcome of step {state.step.name} is not known: {why}", "unknown")
    return _compensate(state, state.cancel or f"step {state.step.name} failed: {why}", "failed")


def cancelled(state: SagaState, why: str) -> Move | None:
    """A caller asked to cancel the saga, or it timed out. None: it has ended, or is compensated anyway.

    Where a step runs, its outcome is waited for. Otherwise compensation begins now.
    """
    if state.status in ENDED or state.cancel or state.act == "undo":
        return None
    state = replace(state, cancel=why)
    if state.running:
        return Move(replace(state, status="cancelling"), False, "cancelled", ends_act=False)
    if state.begun and state.steps[state.at] == "registered":
        state = _with_step(state, "failed")  # each of its attempts failed, but may have done something
    return _compensate(state, why, "cancelled")


def timed_out(state: SagaState, why: str) -> Move | None:
    """The saga's time is over. One that is parked waits for its operator all the same."""
    return None if state.status == "parked" else cancelled(state, why)


def retried(state: SagaState) -> Move | str:
    """An operator has a parked saga try again where it stopped. Text: why that cannot be."""
    if state.status != "parked":
        return f"it is {state.status}; only a parked saga can be tried again"
    if state.act == "undo" and state.step.undo == "none":
        return f"step {state.step.name} has no undo; undo it by hand, then resolve the saga as `undone`"
    status: SagaStatus = "running" if state.act == "do" else "compensating"
    return Move(_next_act(replace(state, status=status, why=state.cancel)), True, "retried")


def resolved(state: SagaState, as_: Resolution) -> Move | str:
    """An operator says what became of a parked saga, or of the step where it stopped. Text: why that cannot be.

    `completed` and `compensated` end the saga as it stands. After `done` it goes on behind the step, after `undone` it
    compensates the steps before it.
    """
    if state.status != "parked":
        return f"it is {state.status}; only a parked saga can be resolved"
    if as_ in ("completed", "compensated"):
        return _settled(replace(state, status=as_), f"resolved as {as_}")
    if as_ == "done":
        if state.act == "undo":
            return "it stopped while it compensated; resolve it as `undone`, `compensated` or `completed`"
        return done(replace(state, status="running", why=""))._replace(what="resolved as done")
    why = state.cancel or f"step {state.step.name} was resolved as undone"
    return _compensate(_with_step(state, "undone"), why, "resolved as undone")


def _with_step(state: SagaState, status: StepStatus) -> SagaState:
    """The same saga, with another status of the step that the act is about."""
    steps = (*state.steps[: state.at], status, *state.steps[state.at + 1 :])
    return replace(state, steps=steps)


def _goes_on(state: SagaState, what: str, *, running: bool = False) -> Move:
    return Move(replace(state, running=running), False, what, ends_act=False)


def _next_act(state: SagaState) -> SagaState:
    return replace(state, seq=state.seq + 1, begun=0, running=False)


def _settled(state: SagaState, what: str) -> Move:
    """No act follows."""
    return Move(replace(state, seq=state.seq + 1, running=False), False, what)


def _park(state: SagaState, why: str, what: str) -> Move:
    return _settled(replace(state, status="parked", why=why), what)


def _compensate(state: SagaState, why: str, what: str) -> Move:
    """Undo the last step that is done, or may have been done. Steps are done one by one, so their order is the plan's.

    A step that failed and has no undo is left: it said itself that it failed. One that is done, or of which that is not
    known, cannot be left, so the saga is parked.
    """
    state = replace(state, status="compensating", act="undo", cancel=why, why=why)
    for at in reversed(range(len(state.plan))):
        state = replace(state, at=at)
        status, undo = state.steps[at], state.step.undo
        if status not in _MAY_HAVE_HAPPENED or (status == "failed" and undo == "none"):
            continue
        if undo == "undo":
            return Move(_next_act(state), True, what)
        if undo == "none":
            state_is = "is done" if status == "done" else "may be done"
            return _park(state, f"step {state.step.name} {state_is} and has no undo; to be undone because: {why}", what)
        state = _with_step(state, "undone")
    return _settled(replace(state, status="compensated"), what)
