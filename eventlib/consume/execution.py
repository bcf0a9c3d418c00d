"""Runs the handlers, a limited number at once. A call takes one event, or the events that are there as a batch."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

from eventlib import measuring, policy, tracing
from eventlib.consume.leases import Leases
from eventlib.consume.session import Session
from eventlib.consume.settlement import Settler
from eventlib.consume.workers import Workers
from eventlib.declare.subscriptions import Subscription
from eventlib.delivery import Batch, Delivery
from eventlib.errors import DataError, UnknownTask, UnsupportedVersion
from eventlib.events.envelope import current
from eventlib.policy import GiveUp, RetryIn

log = logging.getLogger("eventlib")

_TIMED_OF_EVERY = 4  # while others wait, one call in so many is timed: that takes 0.4 us


@dataclass(eq=False)
class BatchQueue:
    """The waiting events of one batch handler. `called` is true while a worker is going to take them.

    `timer` runs while a batch that is not full waits for more.
    """

    subscription: Subscription
    waiting: deque[Delivery] = field(default_factory=deque)
    called: bool = False
    timer: asyncio.TimerHandle | None = None

    def wait_s(self) -> float:
        """How much longer the next batch waits to fill."""
        oldest, of = self.waiting[0], self.subscription
        if not of.batch_wait_s or oldest.suspect:
            return 0.0
        return policy.batch_wait_s(len(self.waiting), of.batch or 1, of.batch_wait_s, oldest.read_at, time.monotonic())

    def wait_no_more(self) -> None:
        """End the wait of the next batch."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class Executor:
    """Runs the handlers of one consumer and passes their outcome to the settler."""

    def __init__(self, session: Session, leases: Leases, settler: Settler) -> None:
        self._subscription_of = session.subscription_of
        self._batch_queues = {event_class: BatchQueue(s) for event_class, s in session.subscriptions.items() if s.batch}
        self._calls = session.calls
        self._in_hand = session.in_hand
        self._observations = session.observations
        self._handling = session.counts.handling
        self._untimed = 0  # calls that began since the last one that is timed
        self._tell_all = True  # the meter, of every call: they are few
        self._newer_version_wait_s = session.settings.newer_version_wait_s
        self._bucket = session.bucket
        self._rng = session.rng
        self._leases = leases
        self._settler = settler
        self._gate = session.gate
        self._workers = Workers[Delivery | BatchQueue](self._work, session.settings.concurrency, session.start)

    def put(self, delivery: Delivery) -> None:
        """Queue a delivery. Batches are begun by `begin_batches`."""
        if delivery.envelope is not None and (queue := self._batch_queues.get(type(delivery.envelope.event))):
            queue.waiting.append(delivery)
        else:
            self._workers.put(delivery)

    def begin_batches(self) -> None:
        """Have workers take the queued batches. To be called when all entries that arrived together are queued."""
        for queue in self._batch_queues.values():
            self._call_for(queue)

    def stop(self) -> None:
        """Begin no further handler."""
        self._workers.stop()
        for queue in self._batch_queues.values():
            queue.wait_no_more()
        if self._gate is not None:
            self._gate.stop()

    def cancel(self) -> None:
        """Cancel the handlers that run."""
        self._workers.cancel()

    async def join(self) -> None:
        """Wait for the handlers that run."""
        await self._workers.join()

    def _call_for(self, queue: BatchQueue) -> None:
        if not queue.waiting or queue.called:
            return
        queue.wait_no_more()
        if (wait_s := queue.wait_s()) > 0.0:
            queue.timer = asyncio.get_running_loop().call_later(wait_s, self._call_for, queue)
            return
        queue.called = True
        self._workers.put(queue)

    async def _work(self, item: Delivery | BatchQueue) -> None:
        """Handle one item of a worker."""
        if isinstance(item, BatchQueue):
            await self._handle_batch(item)
            return
        try:
            await self._handle(item)
        finally:
            self._in_hand.free_capacity(1)

    async def _handle(self, delivery: Delivery) -> None:
        envelope = delivery.envelope
        if envelope is None:
            await self._settle_unread(delivery)
            return
        began = 0
        if self._gate is not None:
            if (passed := await self._gate.passage()) is None:
                return  # it leaves, and gives the entry back
            began = passed
        event, now_s = envelope.event, time.monotonic()
        subscription = self._subscription_of(event)
        if self._leases.in_doubt(delivery, now_s):
            await self._leases.renew_all()
        refusal = None if delivery.lost else self._refusal(subscription, delivery, now_s)
        if delivery.lost or refusal:
            if self._gate is not None:
                self._gate.ended(began, delivery, [], 0)
            if refusal:
                await self._settler.settle(subscription, delivery, refusal, None)
            return
        if self._observations.wanted:
            self._observations.tell("started", delivery)
        token = current.set(envelope)  # the cause of the events that the handler publishes
        try:
            error = await self._attempt(subscription, (delivery,), event, delivery)
        finally:
            current.reset(token)
        if self._gate is not None:
            self._gate.ended(began, delivery, [] if error is None else [error])
        if error is None:
            self._settler.acknowledge((delivery,))
        else:
            await self._settler.fail(subscription, delivery, error)

    async def _settle_unread(self, delivery: Delivery) -> None:
        fault = delivery.fault
        if isinstance(fault, UnsupportedVersion) and fault.version > fault.newest:
            await self._settler.leave_to_newer(delivery, self._newer_version_wait_s, fault)
        else:
            await self._settler.settle(None, delivery, GiveUp(_reason(fault)), fault)

    async def _handle_batch(self, queue: BatchQueue) -> None:
        began = 0
        if self._gate is not None:
            if (passed := await self._gate.passage()) is None:
                return  # it leaves, and gives the entries back
            began = passed
        queue.called = False
        subscription = queue.subscription
        taken = policy.take_batch(queue.waiting, subscription.batch or 1, _is_suspect)
        self._call_for(queue)
        try:
            admitted = await self._admitted(subscription, taken)
            if admitted:
                await self._attempt_batch(subscription, Batch[Any](admitted), began)
            elif self._gate is not None:
                self._gate.ended(began, taken[0], [], 0)
        finally:
            self._in_hand.free_capacity(len(taken))
        await asyncio.sleep(0)  # so that the next read is requested before the next batch is handled

    async def _admitted(self, subscription: Subscription, taken: list[Delivery]) -> list[Delivery]:
        """The deliveries that may run now. The others are settled."""
        admitted, refused = list[Delivery](), list[Awaitable[None]]()
        now_s = time.monotonic()
        for delivery in taken:
            # A first attempt always runs: the look saves a call for nearly every event of a batch.
            if delivery.attempt > 1 and (refusal := self._refusal(subscription, delivery, now_s)):
                refused.append(self._settler.settle(subscription, delivery, refusal, None))
            else:
                admitted.append(delivery)
        if refused:
            await asyncio.gather(*refused)
        if self._leases.in_doubt(taken[0], time.monotonic()):  # the first was read before the others
            await self._leases.renew_all()
        return [delivery for delivery in admitted if not delivery.lost]

    async def _attempt_batch(self, subscription: Subscription, batch: Batch[Any], began: int) -> None:
        if self._observations.wanted:
            for delivery in batch.deliveries:
                self._observations.tell("started", delivery)
        error = await self._attempt(subscription, batch.deliveries, batch)
        if error is None and not batch.failed:
            if self._gate is not None:
                self._gate.ended(began, batch.deliveries[0], [], len(batch))
            self._settler.acknowledge(batch.deliveries)
            return
        errors = ((delivery, batch.error_of(delivery) if error is None else error) for delivery in batch.deliveries)
        failed = {delivery: found for delivery, found in errors if found is not None}
        if self._gate is not None:
            self._gate.ended(began, next(iter(failed), batch.deliveries[0]), list(failed.values()), len(batch))
        self._settler.acknowledge([delivery for delivery in batch.deliveries if delivery not in failed])
        await asyncio.gather(*(self._settler.fail(subscription, *each) for each in failed.items()))

    def _refusal(self, subscription: Subscription, delivery: Delivery, now_s: float) -> RetryIn | GiveUp | None:
        """What to do with a delivery that must not run now. None if it may run."""
        return policy.admit(
            subscription.retry, self._bucket, delivery.attempt, delivery.entry.attempts, now_s, self._rng
        )

    async def _attempt(
        self, subscription: Subscription, deliveries: Sequence[Delivery], *args: object
    ) -> BaseException | None:
        """Call the handler once and return what it raised. Only a cancellation by the consumer itself is passed on."""
        error: BaseException | None = None
        stands_for = self._untimed = self._untimed + 1
        meter = measuring.active  # it is told of every failure, and which call will fail is not known before
        if stands_for < _TIMED_OF_EVERY and self._workers.waiting and (meter is None or not self._tell_all):
            stands_for = 0  # it is not timed
        else:
            self._untimed = 0
        begun_s = time.perf_counter() if stands_for or meter is not None else 0.0
        try:
            if subscription.timeout_s is None and tracing.active is None:
                await subscription.handler(*args)
            else:
                await _limited(subscription, deliveries, args)
        except asyncio.CancelledError as cancelled:
            if self._calls.abandoned:
                for delivery in deliveries:
                    name = (delivery.stream, delivery.group, delivery.event_id, delivery.attempt)
                    log.info("%s/%s: event %s: attempt %d was cut short, so it does not count", *name)
                raise
            error = cancelled  # the handler cancelled itself, or awaited something that was cancelled: it failed
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as raised:  # a handler's sys.exit() fails its attempt, but does not end the consumer
            error = raised
        if stands_for or (meter is not None and error is not None):
            took_s = time.perf_counter() - begun_s
            if stands_for:
                self._handling.add(took_s, stands_for)
            if meter is not None:
                where = deliveries[0].stream, deliveries[0].group
                self._tell_all = meter.handled(*where, took_s, error, stands_for if error is None else 1)
        if (task := asyncio.current_task()) is not None and task.cancelling():
            await self._uncancel(task)
        return error

    async def _uncancel(self, task: "asyncio.Task[Any]") -> None:
        """End the cancellation of a handler that cancelled its own task, whether it has taken effect or not."""
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            if self._calls.abandoned:
                raise
        while task.cancelling():
            task.uncancel()


async def _limited(subscription: Subscription, deliveries: Sequence[Delivery], args: Sequence[object]) -> None:
    """Call the handler within its time, seen by the tracer."""
    tracer = tracing.active
    with nullcontext() if tracer is None else tracer.processing(deliveries):
        async with asyncio.timeout(subscription.timeout_s):
            await subscription.handler(*args)


def _is_suspect(delivery: Delivery) -> bool:
    return delivery.suspect


def _reason(fault: DataError | None) -> policy.DeadReason:
    """The reason for the dead letter of an entry that was not opened."""
    if fault is None:
        return "poison"
    if isinstance(fault, UnknownTask):
        return "unknown_task"
    return "unsupported_version" if isinstance(fault, UnsupportedVersion) else "undecodable"
