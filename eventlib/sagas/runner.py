"""Runs the acts of sagas: what a worker does with each message."""

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import uuid4

from eventlib import policy, saga_policy
from eventlib.broker.sagas import Change
from eventlib.consume.calls import Calls
from eventlib.dead_letter import described
from eventlib.declare.sagas import Saga, Step
from eventlib.declare.subscriptions import Subscription
from eventlib.delivery import Delivery
from eventlib.events.schema import Event
from eventlib.policy import Retry
from eventlib.publish.publisher import Publisher
from eventlib.saga_context import SagaContext
from eventlib.saga_policy import Act, Move, SagaState
from eventlib.sagas.changes import emission, told_here
from eventlib.sagas.commands import Outcome, SagaCommands
from eventlib.sagas.messages import GROUP, Advance, Alarm, Emitted
from eventlib.sagas.operations import decide_and_store
from eventlib.sagas.records import StoredSaga, result_field
from eventlib.signals import Snooze

log = logging.getLogger("eventlib")

LEFT_FOR_S = 1.0  # until a message that this worker cannot handle is offered to the workers again
UNIQUE_S = 86_400.0  # for so long, an emitted event that is published again is appended once
ALWAYS = Retry(attempts=1_000_000, wait_s=0.1, wait_s_max=30.0, jitter="equal")  # what must be done in the end


class Runner:
    """The handlers of one worker, for the sagas of one name. `sagas` has the versions that this worker knows."""

    def __init__(
        self, sagas: Mapping[int, Saga[Any]], commands: SagaCommands, publisher: Publisher, source: str
    ) -> None:
        self.calls: Calls  # set when the session is made
        self._sagas = sagas
        self._commands = commands
        self._publisher = publisher
        self._source = source
        self._left = set[str]()  # what was said to be left to others
        self._others = {
            Alarm: Subscription(Alarm, GROUP, self._time_out, ALWAYS, None),
            Emitted: Subscription(Emitted, GROUP, self._publish, ALWAYS, None),
        }
        self._foreign = Subscription(Advance, GROUP, self._leave, ALWAYS, None)
        self._acts = {
            (saga.version, step.name, act): Subscription(
                Advance, GROUP, self._handler(saga, at, act), step.retry if act == "do" else step.undo_retry, None
            )
            for saga in sagas.values()
            for at, step in enumerate(saga.steps)
            for act in _acts_of(step)
        }

    @property
    def subscriptions(self) -> list[Subscription]:
        """All handlers."""
        return [*self._acts.values(), *self._others.values(), self._foreign]

    def subscription_of(self, event: Event) -> Subscription:
        """Who handles a message. One about a step that this worker does not know is left to others."""
        if isinstance(event, Advance):
            return self._acts.get((event.version, event.step, event.act), self._foreign)
        return self._others[type(event)]

    def _handler(self, saga: Saga[Any], at: int, act: Act) -> Callable[[Advance, Delivery], Awaitable[None]]:
        step = saga.steps[at]

        @functools.wraps(step.do if act == "do" else step.undo)  # type: ignore[arg-type]  # it has this act
        async def handle(advance: Advance, delivery: Delivery) -> None:
            stored = await self._begun(saga, advance, delivery)
            if stored is not None:
                await self._run(saga, at, act, stored, delivery)

        return handle

    async def _begun(self, saga: Saga[Any], advance: Advance, delivery: Delivery) -> StoredSaga | None:
        """Begin an act. None if there is nothing to run; what comes of the message is noted then."""
        entry, mark = delivery.entry, uuid4().hex
        begin = self._commands.store.begin
        fields = await self.calls.until_answered(
            lambda: begin(advance.saga, delivery.consumer, entry, mark, advance.seq)
        )
        stored = StoredSaga.of(fields) if fields else None
        if stored is None or stored.state.seq != advance.seq:
            self._commands.note(entry, "lost" if fields is None else "drop")
            return None
        if [step.name for step in stored.state.plan] != [step.name for step in saga.steps]:
            self._commands.note(entry, Outcome(stored, saga_policy.put_off, told_here(delivery.consumer)))
            self._say_left(f"version {advance.version} with other steps than here; raise version= when steps change")
            raise Snooze(LEFT_FOR_S)
        lost = stored.prior != ""
        if saga_policy.begun(stored.state, lost) is None:
            return stored
        outcome = Outcome(stored, lambda state: _begun(state, lost), told_here(delivery.consumer))
        move = await self.calls.until_answered(lambda: self._commands.move(entry, outcome))
        if move is not None and not move.ends_act:
            return outcome.saga
        self._commands.note(entry, "lost" if move is None else "settled")
        return None

    async def _run(self, saga: Saga[Any], at: int, act: Act, stored: StoredSaga, delivery: Delivery) -> None:
        step = saga.steps[at]
        worker = delivery.consumer
        timed_out = False
        try:
            context = self._context(saga, at, act, stored)
            limit_s = step.timeout_s if act == "do" else step.undo_timeout_s
            try:
                async with asyncio.timeout(limit_s) as limit:
                    result = await (step.do if act == "do" else step.undo)(context)  # type: ignore[operator,misc]
            except TimeoutError as error:
                if timed_out := limit.expired():
                    raise TimeoutError(f"it took longer than {limit_s:g} s") from error
                raise
            kept = (result_field(at), step.keep(result)) if act == "do" else None
            messages = [emission(*each, self._source) for each in context.emitted]
        except BaseException as error:
            if not (isinstance(error, asyncio.CancelledError) and self.calls.abandoned):
                self._commands.note(delivery.entry, _failure(stored, error, timed_out and act == "do", worker))
            raise
        self._commands.note(delivery.entry, Outcome(stored, saga_policy.done, told_here(worker, "", kept, messages)))

    def _context(self, saga: Saga[Any], at: int, act: Act, stored: StoredSaga) -> SagaContext[Any]:
        step, undoes = saga.steps[at], "" if act == "do" else ":undo"
        results = {saga.steps[n].name: saga.steps[n].read(kept) for n, kept in stored.results.items()}
        return SagaContext(
            *(saga.name, stored.id, saga.read_input(stored.input), results),
            step=step.name,
            act=act,
            attempt=stored.state.begun,
            idempotency_key=f"{stored.run}:{step.name}{undoes}",
            source=self._source,
        )

    async def _leave(self, advance: Advance, delivery: Delivery) -> None:
        """This worker lacks the version, or the step: others may have it."""
        wanted = f"version {advance.version}"
        self._say_left(wanted)
        store = self._commands.store
        fields = await self.calls.until_answered(lambda: store.load(advance.saga))
        stored = StoredSaga.of(fields) if fields else None
        if stored is None or stored.state.seq != advance.seq:
            self._commands.note(delivery.entry, "drop")
            return
        if (waits := f"a worker with {wanted}".encode()) != stored.fields.get("waits"):
            status = stored.state.status
            change = Change(stored.id, uuid4().hex, stored.revision, status, status, {"waits": waits})
            await self.calls.until_answered(lambda: store.apply(change))  # if the saga changed, it does not wait
        raise Snooze(LEFT_FOR_S)

    def _say_left(self, what: str) -> None:
        if what not in self._left:
            self._left.add(what)
            name = next(iter(self._sagas.values())).name
            log.warning(
                "saga %s: sagas of %s run, which this program does not have: it leaves them to others", name, what
            )

    async def _time_out(self, alarm: Alarm, delivery: Delivery) -> None:
        def decide(state: SagaState) -> Move | None:
            return saga_policy.timed_out(state, f"it took longer than {alarm.after_s:g} s")

        told = told_here(delivery.consumer)
        await self.calls.until_answered(
            lambda: decide_and_store(self._commands.store, alarm.saga, decide, self._source, told)
        )
        self._commands.note(delivery.entry, "drop")

    async def _publish(self, emitted: Emitted, delivery: Delivery) -> None:
        await self._publisher.publish_written(emitted.stream, emitted.id, emitted.body.encode(), UNIQUE_S)
        self._commands.note(delivery.entry, "drop")


def _acts_of(step: Step) -> tuple[Act, ...]:
    return ("do", "undo") if callable(step.undo) else ("do",)


def _begun(state: SagaState, lost: bool) -> Move:
    move = saga_policy.begun(state, lost)
    assert move is not None, "the act was begun, so its state is as it was"
    return move


def _failure(stored: StoredSaga, error: BaseException, timed_out: bool, worker: str) -> Outcome:
    """The outcome of a call that raised."""
    cause = policy.cause_of(error)
    why = described(cause)

    def for_now(state: SagaState) -> Move:
        if isinstance(cause, Snooze):
            return saga_policy.put_off(state)
        return saga_policy.unknown(state, why) if timed_out else saga_policy.attempt_failed(state, why)

    def for_good(state: SagaState, rejected: bool) -> Move:
        return saga_policy.failed(state, "rejected" if rejected else "unknown" if timed_out else "failed", why)

    return Outcome(stored, for_now, told_here(worker, why), for_good)
