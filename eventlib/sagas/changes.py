"""From a move that was decided to the change that is stored."""

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from uuid import uuid4

from eventlib.broker.sagas import Change
from eventlib.events.envelope import current, trace_here, write
from eventlib.saga_policy import ENDED, Move, SagaState
from eventlib.sagas.messages import Advance, Alarm, Emitted
from eventlib.sagas.records import StoredSaga
from eventlib.tracing import NONE, TraceContext

WHY_LENGTH_MAX = 2000


class Told(NamedTuple):
    """What goes with a move: who told it and why, what the step returned, the messages about what it emitted."""

    worker: str = ""
    why: str = ""
    result: tuple[str, bytes] | None = None  # the field that keeps it, and the result
    messages: Sequence[bytes] = ()
    trace: TraceContext = NONE  # of the act that led to the move: what follows from it continues that


UNTOLD = Told()


def told_here(
    worker: str, why: str = "", result: tuple[str, bytes] | None = None, messages: Sequence[bytes] = ()
) -> Told:
    """What is told by the handler of an act: what follows continues its trace."""
    return Told(worker, why, result, messages, trace_here())


def start_of(
    saga_id: str, source: str, version: int, move: Move, input: bytes, *, timeout_s: float | None, keep_s: float
) -> Change:
    """The change that starts a saga. The events of all of its steps follow from what happens now."""
    correlation_id, run = correlation_of(saga_id), uuid4().hex
    plan = [(step.name, step.undo, step.unknown) for step in move.state.plan]
    fields = {
        **_fields_of(move.state),
        "id": saga_id,
        "version": str(version),
        "run": run,
        "plan": json.dumps(plan),
        "input": input,
        "correlation": correlation_id,
        "keep_s": repr(keep_s),
        "mark": "",
    }
    alarm = None
    if timeout_s is not None:
        alarm = timeout_s, write(Alarm(saga=saga_id, after_s=timeout_s), source, correlation_id)[1]
    messages = [_next_message(saga_id, source, version, move.state, correlation_id, trace_here())]
    history = [_line(move.what)]
    return Change(saga_id, run, 0, move.state.status, move.state.status, fields, history, messages, alarm=alarm)


def change_of(saga: StoredSaga, move: Move, source: str, told: Told = UNTOLD) -> Change:
    """The change that stores a move of a saga."""
    state, before = move.state, saga.state
    fields: dict[str, str | bytes] = dict(_fields_of(state))
    if not state.running:
        fields["mark"] = ""
    if told.why:
        fields["error"] = told.why[:WHY_LENGTH_MAX]
    if told.result is not None:
        fields[told.result[0]] = told.result[1]
    messages = list[bytes]()
    if move.begins:
        messages.append(_next_message(saga.id, source, saga.version, state, saga.correlation_id, told.trace))
    messages += told.messages
    history = [_line(move.what, before.step.name, before.begun, told.worker, told.why)]
    if state.status != before.status and state.status != "cancelling":
        history.append(_line(state.status, why=state.why if state.status in ("compensating", "parked") else ""))
    return Change(
        *(saga.id, uuid4().hex, saga.revision, before.status, state.status, fields, history, messages),
        keep_s=saga.keep_s if state.status in ENDED else None,
    )


def correlation_of(saga_id: str) -> str:
    """The correlation of a saga that starts now: that of the event being handled, or else its own."""
    cause = current.get()
    return saga_id if cause is None else cause.correlation_id or cause.id


def emission(stream: str, id_: str, body: bytes, source: str) -> bytes:
    """The message about an event that a step emits.

    Raises:
        EventTooLarge: the message takes more than 16 MiB.
    """
    return write(Emitted(stream=stream, id=id_, body=body.decode()), source)[1]


def _fields_of(state: SagaState) -> Mapping[str, str | bytes]:
    return {
        "status": state.status,
        "steps": ",".join(state.steps),
        "act": state.act,
        "at": str(state.at),
        "seq": str(state.seq),
        "begun": str(state.begun),
        "cancel": state.cancel,
        "why": state.why[:WHY_LENGTH_MAX],
    }


def _next_message(
    saga_id: str, source: str, version: int, state: SagaState, correlation_id: str, trace: TraceContext
) -> bytes:
    advance = Advance(saga=saga_id, seq=state.seq, version=version, step=state.step.name, act=state.act)
    return write(advance, source, correlation_id, None, *trace)[1]


def _line(what: str, step: str = "", attempt: int = 0, worker: str = "", why: str = "") -> bytes:
    about = {"what": what, "step": step, "attempt": attempt, "worker": worker, "why": why[:WHY_LENGTH_MAX]}
    return json.dumps({name: value for name, value in about.items() if value}).encode()
