"""The acts that one worker of sagas runs. What follows from each is decided by the library's own functions."""

from dataclasses import replace
from typing import Any, cast

import simpy

from eventlib import policy, saga_policy
from eventlib.policy import GiveUp, RetryIn
from eventlib.saga_policy import Move, Outcome
from eventlib.signals import Reject
from sim.declare.sagas import ActOutcome
from sim.evidence.history import KIND
from sim.worlds.simulated.handlers import Handlers
from sim.worlds.simulated.run_state import Message
from sim.worlds.simulated.saga_group import Advance, RunningSaga, SagaGroup

_ERRORS = {"failed": RuntimeError("the scenario lets this attempt fail"), "rejected": Reject("the scenario rejects it")}
_NO_OUTCOME = "its workers ended several times without telling the outcome"
_STARTED = {"do": KIND["step_started"], "undo": KIND["undo_started"]}
_DONE = {"do": KIND["step_done"], "undo": KIND["undo_done"]}
_FAILED = {"do": KIND["step_failed"], "undo": KIND["undo_failed"]}


class SagaHandlers(Handlers):
    """Runs acts first come first served, `concurrency` at once. Beginning one takes a round trip, like a publish."""

    def __init__(self, group: SagaGroup, *rest: Any) -> None:
        super().__init__(group, *rest)
        self._sagas = group

    def _handle(self, message: Message, after_s: float) -> None:
        saga, state, now = cast(Advance, message).saga, self._state, self._state.env.now + after_s
        attempt = message.used + message.deliveries
        refusal = policy.admit(self._sagas.retry_of(saga), None, attempt, message.used, now, state.rng)
        if refusal is not None:
            self._settle_move(message, saga, saga_policy.failed(saga.state, "unknown", _NO_OUTCOME), after_s)
            return
        lost = saga.state.running
        saga.state = replace(saga.state, begun=saga.state.begun + 1, running=True)
        move = saga_policy.begun(saga.state, lost)
        if move is not None:
            if move.ends_act:
                self._settle_move(message, saga, move, after_s)
                return
            saga.state = move.state
        after_s += self._cpu.takes_s("publish_s")
        if not self._link.works:
            after_s = self._link.done_s(state.env.now + after_s, adds=True) - state.env.now
        begins_at = state.env.now + after_s
        at, act, begun = saga.state.at, saga.state.act, saga.state.begun
        outcome = state.plan.outcome(self._group.name, at, act, saga.index, begun, begins_at)
        self._note(_STARTED[act], begins_at, saga, begun)
        takes_s = self._sagas.draws.seconds[at, act].item(saga.index) * state.plan.slowed(self._group.name, begins_at)
        self.running += 1
        end = self._timeout(after_s + takes_s, (message, attempt, saga.state, outcome))
        end.callbacks.append(self._handled)

    def _handled(self, end: simpy.Event) -> None:
        if self._process.halted:
            self._process.postpone(self._handled, end)
            return
        message, attempt, begun, outcome = cast(tuple[Advance, int, saga_policy.SagaState, ActOutcome], end.value)
        self.running -= 1
        after_s, saga = self._cpu.does_s("handle_s", self._state.env.now), message.saga
        kinds = _DONE if outcome == "done" else _FAILED
        self._note(kinds[begun.act], self._state.env.now + after_s, saga, begun.begun, begun.at)
        if (message, attempt) in self._lost:
            del self._lost[message, attempt]  # the message is another worker's, so the outcome is not stored
        elif outcome == "done":
            self._settle_move(message, saga, saga_policy.done(saga.state), after_s)
        else:
            self._fail(message, saga, attempt, outcome, after_s)
        if self.waiting:
            self._start(after_s + self._cpu.takes_s("next_s"))
        self._ended(after_s)

    def _fail(self, message: Advance, saga: RunningSaga, attempt: int, outcome: ActOutcome, after_s: float) -> None:
        error = _ERRORS[outcome]
        match policy.decide(self._sagas.retry_of(saga), attempt, error, self._state.rng):
            case RetryIn(delay_s, counts):
                move = saga_policy.attempt_failed(saga.state, str(error))
                if move.ends_act:
                    self._settle_move(message, saga, move, after_s)
                    return
                saga.state = move.state
                message.used = attempt if counts else attempt - 1
                self._let_go(message)
                late_s = after_s + self._settles_s(adds=True)[0] + self._state.machine.takes_s("retry_s")
                self._group.put_aside(message, delay_s + late_s)
            case GiveUp(reason):
                for_good: Outcome = "rejected" if reason == "rejected" else "failed"
                self._settle_move(message, saga, saga_policy.failed(saga.state, for_good, str(error)), after_s)

    def _settle_move(self, message: Message, saga: RunningSaga, move: Move, after_s: float) -> None:
        """Store a move that ends the act, in one act with the message about the next one."""
        self._let_go(message)
        saga.state = move.state
        settle_s = after_s + self._settles_s(adds=True)[0]
        if move.begins:
            stored = self._timeout(settle_s, saga)
            stored.callbacks.append(self._stored)
        else:
            self._sagas.end(saga, self._state.env.now + settle_s)

    def _stored(self, stored: simpy.Event) -> None:
        self._sagas.advance(cast(RunningSaga, stored.value))

    def _note(self, kind: int, at_s: float, saga: RunningSaga, begun: int, at: int | None = None) -> None:
        step = float(saga.state.at if at is None else at)
        row = (at_s, kind, self._code, self._index, self._event_code, saga.index, begun, saga.intended_s, step)
        self._rows.append(row)
