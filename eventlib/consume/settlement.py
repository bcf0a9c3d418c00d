"""How a delivery ends: acknowledged in batches, delayed for another attempt, or moved to the dead letters."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from typing import Any, Literal

from eventlib import dead_letter, measuring, policy, tracing
from eventlib.consume.session import Session
from eventlib.declare.subscriptions import Subscription
from eventlib.delivery import Delivery, Kind
from eventlib.errors import UnsupportedVersion
from eventlib.policy import Ack, GiveUp, RetryIn
from eventlib.records import is_queue_stream
from eventlib.signals import Signal

log = logging.getLogger("eventlib")

ACK_LIMIT = 1000
_OPERATIONS: dict[Kind, Literal["retry", "dead_letter"]] = {"retried": "retry", "dead": "dead_letter"}  # for a tracer
_LAG_OF_EVERY = 16  # while deliveries end faster than they are acknowledged, the lag of one in so many is looked at


class Settler:
    """Settles the deliveries of one consumer.

    Only the outcome of an entry's owner counts. A lost delivery is settled by the entry's new owner, which may be a
    later delivery to the same consumer.
    """

    def __init__(self, session: Session) -> None:
        self.retry_scheduled = asyncio.Event()
        self._commands = session.commands
        self._clock = session.clock
        self._calls = session.calls
        self._in_hand = session.in_hand
        self._observations = session.observations
        self._counts = session.counts
        self._where = session.identity[:2]  # stream and group
        self._of_tasks = is_queue_stream(session.identity[0])
        self._unmeasured = 0  # handled deliveries whose lag was not looked at
        self._bucket = session.bucket
        self._rng = session.rng
        self._tasks = session.tasks
        self._given_up = session.given_up
        self._done: list[Delivery] = []  # to be acknowledged in the next batch
        self._done_added = asyncio.Event()
        self._left = set[tuple[str, int]]()  # what was said to be left to newer consumers
        self._finishing = False

    def skip(self, delivery: Delivery) -> None:
        """Acknowledge an event of a type that the group has no handler for."""
        delivery.settling = True
        self._done.append(delivery)
        self._done_added.set()

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Note that deliveries were handled. They are acknowledged with the next batch."""
        if self._observations.wanted:
            for delivery in deliveries:
                self._observations.tell("handled", delivery)
        count = len(deliveries)
        self._counts.handled += count
        if not self._of_tasks:  # a task's entry does not say when it was enqueued
            self._unmeasured += count
            if not self._done or self._unmeasured >= _LAG_OF_EVERY:
                self._measure_lag(deliveries)
        if self._bucket is not None:
            self._bucket.earn(count)
        for delivery in deliveries:
            if not delivery.lost:
                delivery.settling = True
                self._done.append(delivery)
        self._done_added.set()

    async def fail(self, subscription: Subscription, delivery: Delivery, error: BaseException) -> None:
        """Settle a delivery whose attempt failed, as the retry policy decides."""
        self._counts.failed += 1
        self._observations.tell("failed", delivery, error)
        decision = policy.decide(subscription.retry, delivery.attempt, error, self._rng)
        assert not isinstance(decision, Ack), "a failed attempt is not acknowledged"
        cause, name = policy.cause_of(error), (delivery.stream, delivery.group, delivery.event_id, delivery.attempt)
        if isinstance(decision, RetryIn) and decision.counts:
            problem = "%s/%s: event %s is tried again, because attempt %d of %d failed: %r"
            log.info(problem, *name, subscription.retry.attempts, cause)
        if not isinstance(cause, Signal):  # at a level of its own: it is long, and it may be the same for many events
            log.debug("%s/%s: event %s: traceback of attempt %d", *name, exc_info=error)
        await self.settle(subscription, delivery, decision, error)

    async def leave_to_newer(self, delivery: Delivery, wait_s: float, error: UnsupportedVersion) -> None:
        """Put an event of a newer version aside, until a newer program of the group reads it. Not for ever."""
        age_s = self._age_s(delivery)
        decision = policy.for_newer_program(wait_s if age_s is None else age_s, wait_s, self._rng)
        left = error.event_type, error.version
        if isinstance(decision, RetryIn) and left not in self._left:  # told once, not for each of many events
            self._left.add(left)
            log.warning(
                "%s/%s: %s version %d is newer than this program reads (%d): left to newer consumers",
                *(delivery.stream, delivery.group, *left, error.newest),
            )
        await self.settle(None, delivery, decision, error)

    async def settle(
        self,
        subscription: Subscription | None,
        delivery: Delivery,
        decision: RetryIn | GiveUp,
        error: BaseException | None,
    ) -> None:
        """Delay a delivery for another attempt, or move it to the dead letters.

        `subscription` is None if the entry could not be read.
        """
        if delivery.lost:
            return
        delivery.settling = True
        kind: Kind = "retried" if isinstance(decision, RetryIn) else "dead"
        tracer, begun_s = tracing.active, time.perf_counter()
        with nullcontext() if tracer is None else tracer.settling(_OPERATIONS[kind], delivery):
            if isinstance(decision, RetryIn):
                kept = await self._retry(delivery, decision)
            else:
                kept = await self._give_up(subscription, delivery, decision, error)
        self._measure(_OPERATIONS[kind], begun_s)
        if kept:
            self._in_hand.settled((delivery,))
            if kind == "dead":
                self._counts.dead += 1
            else:
                self._counts.retried += 1
            self._observations.tell(kind, delivery, error)
        else:
            self._in_hand.lose(delivery, error)

    async def _retry(self, delivery: Delivery, decision: RetryIn) -> bool:
        entry, delay_s, counts = delivery.entry, decision.delay_s, decision.counts

        async def retry() -> bool:
            if delay_s > 0.0:
                await self._clock.until_known()
            return await self._commands.retry(entry, delay_s, counts=counts, expected=self._clock.expected())

        kept = await self._undisturbed(retry)
        self.retry_scheduled.set()
        return kept

    async def _give_up(
        self, subscription: Subscription | None, delivery: Delivery, decision: GiveUp, error: BaseException | None
    ) -> bool:
        why = dead_letter.describe(
            decision.reason,
            error,
            handler=_name_of(subscription),
            consumer=delivery.consumer,
        )
        log.warning(
            "%s/%s: event %s, entry %s, %s (%s) %s",
            *(delivery.stream, delivery.group, delivery.event_id, delivery.entry.origin, self._given_up),
            *(decision.reason, why["error"]),
        )
        entry, counts = delivery.entry, decision.reason != "poison"
        return await self._undisturbed(lambda: self._commands.to_dead_letters(entry, why, counts=counts))

    async def _undisturbed(self, settle: Callable[[], Awaitable[bool]]) -> bool:
        """Settle even if this worker is cancelled meanwhile: a handler may keep its task and cancel it later."""
        if self._calls.abandoned:
            return await self._calls.settled(settle)
        settling = self._tasks.create_task(self._calls.settled(settle))
        while True:
            try:
                await asyncio.wait({settling})
                return settling.result()
            except asyncio.CancelledError:
                if self._calls.abandoned:
                    raise
                if (task := asyncio.current_task()) is not None:
                    task.uncancel()

    def _measure_lag(self, deliveries: Sequence[Delivery]) -> None:
        """Note how long ago some of these were appended. They stand for all that were handled since the last time."""
        if self._clock.server_ms() is None or not deliveries:
            return
        looked_at = deliveries[::_LAG_OF_EVERY]
        each, rest = divmod(self._unmeasured, len(looked_at))
        self._unmeasured = 0
        for number, delivery in enumerate(looked_at):
            if (age_s := self._age_s(delivery)) is not None:
                self._counts.lag.add(age_s, each + (number < rest))
                if measuring.active is not None:
                    measuring.active.late(delivery.stream, delivery.group, age_s, each + (number < rest))

    def _measure(self, operation: str, begun_s: float) -> None:
        """Tell the meter, if there is one, how long it took to settle something."""
        if measuring.active is not None:
            measuring.active.asked(operation, *self._where, time.perf_counter() - begun_s, None)

    def _age_s(self, delivery: Delivery) -> float | None:
        """How long ago an event was appended, by the server's clock. None if its entry does not say when."""
        now_ms = self._clock.server_ms()
        try:
            added_ms = int(delivery.entry.origin.partition("-")[0])
        except ValueError:  # another program may have written any origin
            return None
        return 0.0 if now_ms is None else max(0.0, now_ms - added_ms) / 1000.0

    # Acknowledging: while one batch is on its way, the next one gathers

    def finish(self) -> None:
        """Let `run` end after the last acknowledgement. To be called when no handler runs any more."""
        self._finishing = True
        self._done_added.set()

    async def run(self) -> None:
        """Acknowledge handled deliveries, until `finish`."""
        while True:
            await self._done_added.wait()
            self._done_added.clear()
            while self._done:
                batch, self._done = self._done[:ACK_LIMIT], self._done[ACK_LIMIT:]
                if self._unmeasured:
                    self._measure_lag(batch[-1:])
                await self._acknowledge(batch)
            if self._finishing:
                return

    async def _acknowledge(self, batch: list[Delivery]) -> None:
        entries, begun_s = [delivery.entry for delivery in batch], time.perf_counter()
        lost = await self._calls.until_answered(lambda: self._commands.ack(entries))
        self._measure("ack", begun_s)
        if lost:
            for delivery in batch:
                if delivery.entry.place in lost:
                    self._in_hand.lose(delivery)
            batch = [delivery for delivery in batch if delivery.entry.place not in lost]
        self._in_hand.settled(batch)
        if self._observations.wanted:
            for delivery in batch:
                if delivery.envelope is not None and not delivery.lost:
                    self._observations.tell("acked", delivery)


def _name_of(subscription: Subscription | None) -> str:
    if subscription is None:
        return ""
    handler: Any = subscription.handler
    return f"{handler.__module__}.{getattr(handler, '__qualname__', repr(handler))}"
