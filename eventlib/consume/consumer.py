"""The one delivery loop: read, run, decide, then ack, retry or bury.

One `GroupConsumer` works for one group on one stream. It asks for as many entries as concurrency + prefetch leave room
for; a read and a sweep may each bring that many new and as many retried ones. Workers run the handlers. It renews the
lease of everything held, takes over what dead consumers held, and leaves by finishing or giving back, so nothing waits
for a lease that nobody renews.
"""

import asyncio
import itertools
import logging
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from eventlib import dead_letter, policy
from eventlib.app import GroupSettings, Subscription
from eventlib.broker.commands import Broker, Found, Reader
from eventlib.consume.liveness import ConsumerHealth, Liveness
from eventlib.consume.workers import Workers
from eventlib.delivery import Batch, Delivery, Kind, Observation, Observer
from eventlib.errors import (
    AccessDenied,
    BrokerError,
    BrokerUnavailable,
    DataError,
    DecodeError,
    MissingGroup,
    Signal,
    UnsupportedVersion,
)
from eventlib.events.envelope import Decoder, Envelope, current
from eventlib.events.schema import spec_of
from eventlib.policy import RECONNECT, Ack, FetchSize, GiveUp, RetryIn, TokenBucket
from eventlib.records import Entry, Place

log = logging.getLogger("eventlib")

BLOCK_S = 1.0  # longest blocking read: a dead connection is noticed so much, and a reply's time, later
PROMOTE_S = 0.5  # longest wait between two looks at the delayed entries, some of which dead consumers scheduled
PROMOTE_LIMIT = 100
ACK_LIMIT = 1000

FIRST_FETCH = 100  # entries asked for while nothing is known of their size...
FIRST_TAKEN_OVER = 10  # ...and taken over: a takeover that is too large for a reply in time still counts as a delivery
READ_ON = 100  # after a read of so many entries the next one is asked for while these are opened
STILL = "others take over what is held then: move blocking work to a thread (asyncio.to_thread) or set a longer lease_s"

T = TypeVar("T")


@dataclass(eq=False)
class _Line:
    """Where the events of one batch handler queue; `called` while a worker is to come for them."""

    subscription: Subscription
    waiting: deque[Delivery] = field(default_factory=deque)
    called: bool = False


class GroupConsumer:
    """One consumer of one group on one stream. `run` it as a task; `stop` ends it gracefully, `abandon` at once."""

    def __init__(
        self,
        broker: Broker,
        stream: str,
        group: str,
        consumer: str,
        settings: GroupSettings,
        subscriptions: Sequence[Subscription],
        observe: Observer | None,
    ) -> None:
        self._broker = broker
        self.stream = stream
        self._group = broker.keys.group(stream, group)
        self._consumer = consumer
        self._settings = settings
        self._subscriptions = {s.event_class: s for s in subscriptions}
        self._decoder = Decoder({spec_of(s.event_class).type: s.event_class for s in subscriptions})
        self._lines = {s.event_class: _Line(s) for s in subscriptions if s.batch}
        self._capacity = settings.concurrency * max(s.batch or 1 for s in subscriptions)
        self._observe = observe
        self._attempts_max = max(s.retry.attempts for s in subscriptions)
        self._bucket = TokenBucket(settings.retry_budget, time.monotonic()) if settings.retry_budget else None
        self._rng = random.Random()
        self._tasks = asyncio.TaskGroup()
        self._workers = Workers[Delivery | _Line](self._work, settings.concurrency, self._start)
        self._held: tuple[dict[str, Delivery], dict[str, Delivery]] = ({}, {})  # by id: of the stream, retried
        self._settled_meanwhile: set[Place] | None = None  # while a sweep is under way
        self._unhandled = 0  # deliveries accepted whose handlers have not ended
        self._done: list[Delivery] = []  # to be acked in the next batch
        self._done_added = asyncio.Event()
        self._has_room = asyncio.Event()
        self._retry_scheduled = asyncio.Event()
        self._stopping = False
        self._abandoned = False
        self._reading: asyncio.Task[None] | None = None
        self._renewed_at = time.monotonic()
        first = max(FIRST_FETCH, *(s.batch or 1 for s in subscriptions))  # a batch is what is there
        self._to_read, self._to_take_over = FetchSize(first), FetchSize(FIRST_TAKEN_OVER)
        self._accepted: list[Entry] | None = None  # what a read brought, if it was accepted as soon as it came
        self._asked_at = 0.0
        self._woke_at = 0.0  # when this process had last stood still for a lease
        self._liveness = Liveness()

    # Life

    async def run(self) -> None:
        """Consume until `stop` is called; then finish what runs and give the rest back."""
        await self._steadily(lambda: self._broker.ensure_group(self._group))
        async with self._tasks:
            loops = [self._start(loop) for loop in (self._promote, self._renew, self._sweep)]
            acks = self._start(self._ack)
            if not self._stopping:
                self._reading = self._start(self._read)
            try:
                await self._wind_down(acks)
            except asyncio.CancelledError:
                self._give_up()  # a sibling failed: the handlers' cancellation is ours
                raise
            for loop in loops:
                loop.cancel()
        try:
            await self._steadily(self._leave)
        except AccessDenied:
            raise
        except BrokerError as error:  # to stop while the server is away, or full, is no failure
            place = f"{self.stream}/{self._group.group}"
            log.warning("%s: could not give back what it held; others take it over after a lease: %s", place, error)

    async def _leave(self) -> None:
        """Give back until nothing is held: for a moment, the server may still serve the read that was cut off.

        Even with what was just given back, which nobody would then take over before a lease.
        """
        await self._broker.leave(self._group, self._consumer)
        while await self._broker.leave(self._group, self._consumer):
            pass

    def _start(self, work: Callable[[], Coroutine[None, None, None]]) -> asyncio.Task[None]:
        async def run() -> None:  # cancelled before it begins, it leaves no coroutine that nobody awaits
            try:
                await work()
            except asyncio.CancelledError:
                raise
            except BaseException:
                self._give_up()  # before the task group cancels the handlers: that cancellation is ours
                raise

        return self._tasks.create_task(run())

    async def _wind_down(self, acks: asyncio.Task[None]) -> None:
        """Until reading has stopped, then the handlers, then the acks."""
        if self._reading is not None:
            await asyncio.wait({self._reading})
        await self._workers.join()
        self._done_added.set()
        await asyncio.wait({acks})

    def stop(self) -> None:
        """Stop reading; `run` returns when the running handlers have ended.

        A read cut off in the middle may leave entries pending that this process never saw: leaving gives them back.
        """
        self._stopping = True
        self._workers.stop()
        if self._reading is not None:
            self._reading.cancel()

    def abandon(self) -> None:
        """The grace is over: cancel the running handlers, try nothing twice. Their entries go back uncounted."""
        self._give_up()
        self._workers.cancel()

    def _give_up(self) -> None:
        self._abandoned = True
        self._workers.stop()

    async def _steadily(self, call: Callable[[], Awaitable[T]]) -> T:
        """Repeat until the server answers. All that goes through here is safe to repeat.

        Raises:
            AccessDenied: waiting would not mend it.
            BrokerError: still no answer when abandoned.
        """
        for failures in itertools.count(1):
            try:
                return await call()
            except AccessDenied:
                self._give_up()
                raise
            except BrokerError as error:
                self._liveness.fails(error)
                if self._abandoned:
                    raise
                if failures == 1:
                    log.warning("%s/%s waits for the server: %s", self.stream, self._group.group, error)
                await asyncio.sleep(RECONNECT.delay_s(failures, self._rng))
                if isinstance(error, MissingGroup):
                    await self._steadily(lambda: self._broker.ensure_group(self._group))
        raise AssertionError("unreachable")

    def health(self, running: bool) -> ConsumerHealth:
        """How well it hears."""
        return self._liveness.look(self.stream, self._group.group, self._consumer, running)

    # Reading

    async def _read(self) -> None:
        reader = self._broker.reader(BLOCK_S, self._settings.ordered_by)
        under_way: asyncio.Task[list[Entry]] | None = None
        try:
            while not self._stopping:
                entries = await (under_way or self._read_some(reader))
                under_way = None
                if len(entries) >= READ_ON:
                    under_way = asyncio.create_task(self._read_some(reader))
                    await asyncio.sleep(0)
                self._accept(entries)
                await asyncio.sleep(0)  # what was accepted begins before the next read is sent, which takes as long
        finally:
            if under_way is not None:
                under_way.cancel()
                await asyncio.wait({under_way})
            await reader.close()

    async def _read_some(self, reader: Reader) -> list[Entry]:
        if not (room := self._room()):
            self._liveness.rests()
            room = await self._room_again()
            self._liveness.resumes()
        self._asked_at = time.monotonic()
        found = await self._ask(
            lambda n: reader.read(self._group, self._consumer, n, self._accept_few), self._to_read, room
        )
        self._liveness.hears()
        entries = [] if found.entries is self._accepted else found.entries
        self._accepted = None
        if entries and self._stood_still():  # while the server gave it these: are they still its own?
            lost = await self._steadily(lambda: self._broker.renew(self._group, self._consumer, entries))
            entries = [entry for entry in entries if entry.place not in lost]
        self._unhandled += len(entries)
        return entries

    async def _ask(self, ask: Callable[[int], Awaitable[Found]], fetch_size: FetchSize, room: int) -> Found:
        """Ask for no more entries than there is room for and than are a good fetch_size."""

        async def once() -> Found:
            asked = min(room, fetch_size.count)
            try:
                found = await ask(asked)
            except BrokerUnavailable:
                fetch_size.failed()
                raise
            fetch_size.came(asked, [len(entry.event or b"") for entry in found.entries])
            return found

        return await self._steadily(once)

    def _room(self) -> int:
        """How many more entries there is room for."""
        return policy.room(self._capacity, self._settings.prefetch, self._unhandled)

    async def _room_again(self) -> int:
        """Wait until there is room for entries; how many."""
        while not (count := self._room()):
            self._has_room.clear()
            await self._has_room.wait()
        return count

    def _accept_few(self, entries: list[Entry]) -> None:
        """Where the stream is quiet, a handler begins a turn of the loop earlier for it."""
        if 0 < len(entries) < READ_ON and not self._stood_still():
            self._accepted = entries
            self._unhandled += len(entries)
            self._accept(entries)

    def _accept(self, entries: Sequence[Entry]) -> None:
        """Open them, and queue them for the workers. They are among the unhandled already."""
        now_s = time.monotonic()
        for entry in entries:
            held = self._held[entry.retried]
            if entry.id in held:
                self._handled(1)  # in hand already: a sweep found our own lease expired, or the group was made anew
                continue
            attempt = entry.attempts + entry.deliveries
            delivery = Delivery(self.stream, self._group.group, self._consumer, attempt, entry, read_at=now_s)
            held[entry.id] = delivery
            try:
                if attempt > self._attempts_max + 1:  # even so it came back: opening it may be what ends its consumers
                    self._workers.put(delivery)
                    continue
                delivery.envelope = envelope = self._open(entry)
            except DataError as error:
                delivery.fault = error
            else:
                if envelope is None:  # a type that this group has no handler for
                    delivery.settling = True
                    self._done.append(delivery)
                    self._done_added.set()
                    self._handled(1)
                    continue
                if line := self._lines.get(type(envelope.event)):
                    line.waiting.append(delivery)
                    continue
            self._workers.put(delivery)
        for line in self._lines.values():
            self._call_for(line)

    def _open(self, entry: Entry) -> Envelope | None:
        if entry.event is None:
            raise DecodeError("the entry has no field 'event'")
        try:
            return self._decoder.decode(entry.event)
        except (DataError, KeyboardInterrupt):
            raise
        except BaseException as error:  # of a validator that exits or cancels: its event is bad, not this consumer
            raise DecodeError(f"{type(error).__name__} while reading it: {error}") from error

    # Handling

    def _call_for(self, line: _Line) -> None:
        if line.waiting and not line.called:
            line.called = True
            self._workers.put(line)

    async def _work(self, item: Delivery | _Line) -> None:
        """What a worker does with its turn: one event, or as many of a line as make a batch."""
        if isinstance(item, _Line):
            await self._handle_batch(item)
            return
        try:
            if item.envelope is None:
                await self._settle(item, GiveUp(_reason(item.fault)), item.fault)
                return
            event, now_s = item.envelope.event, time.monotonic()
            subscription = self._subscriptions[type(event)]
            if self._in_doubt(item, now_s):
                await self._steadily(self._renew_held)
            if item.lost:
                return
            if refusal := self._refusal(subscription, item, now_s):
                await self._settle(item, refusal, None)
                return
            self._tell("started", item)
            token = current.set(item.envelope)  # what the handler publishes was caused by this
            try:
                error = await self._attempt(subscription, event, item)
            finally:
                current.reset(token)
            if error is None:
                self._acknowledge((item,))
            else:
                await self._fail(subscription, item, error)
        finally:
            self._handled(1)

    async def _handle_batch(self, line: _Line) -> None:
        line.called = False
        subscription, now_s = line.subscription, time.monotonic()
        taken = [line.waiting.popleft() for _ in range(min(subscription.batch or 1, len(line.waiting)))]
        self._call_for(line)
        try:
            admitted, refused = list[Delivery](), list[Awaitable[None]]()
            for delivery in taken:
                if delivery.attempt > 1 and (refusal := self._refusal(subscription, delivery, now_s)):  # never a first
                    refused.append(self._settle(delivery, refusal, None))
                else:
                    admitted.append(delivery)
            if refused:
                await asyncio.gather(*refused)
            if self._in_doubt(taken[0], time.monotonic()):  # read before the others
                await self._steadily(self._renew_held)
            admitted = [delivery for delivery in admitted if not delivery.lost]
            if admitted:
                await self._attempt_batch(subscription, Batch[Any](admitted))
        finally:
            self._handled(len(taken))
        await asyncio.sleep(0)  # the next read is asked for while the next batch is handled

    async def _attempt_batch(self, subscription: Subscription, batch: Batch[Any]) -> None:
        if self._observe is not None:
            for delivery in batch.deliveries:
                self._tell("started", delivery)
        error = await self._attempt(subscription, batch)
        if error is None and not batch.failed:
            self._acknowledge(batch.deliveries)
            return
        errors = ((delivery, batch.error_of(delivery) if error is None else error) for delivery in batch.deliveries)
        failed = [(delivery, found) for delivery, found in errors if found is not None]
        spared = {delivery for delivery, _ in failed}
        self._acknowledge([delivery for delivery in batch.deliveries if delivery not in spared])
        await asyncio.gather(*(self._fail(subscription, delivery, found) for delivery, found in failed))

    def _handled(self, count: int) -> None:
        self._unhandled -= count
        self._has_room.set()

    def _stood_still(self) -> bool:
        """Whether this process or the line did while it read: for a lease no renewal, three of them, or no reply."""
        lease_s, now_s = self._settings.lease.duration_s, time.monotonic()
        return now_s - min(self._renewed_at, self._asked_at) > lease_s or self._asked_at < self._woke_at

    def _in_doubt(self, delivery: Delivery, now_s: float) -> bool:
        """Whether this process stood still for a lease: who owns the entries now?"""
        return now_s - max(delivery.read_at, self._renewed_at) > self._settings.lease.duration_s

    def _refusal(self, subscription: Subscription, delivery: Delivery, now_s: float) -> RetryIn | GiveUp | None:
        """Is it poison, or beyond the budget? Then what becomes of it."""
        return policy.admit(
            subscription.retry, self._bucket, delivery.attempt, delivery.entry.attempts, now_s, self._rng
        )

    async def _attempt(self, subscription: Subscription, *args: object) -> BaseException | None:
        """Call the handler once; what it raised. Only our own cancellation passes through."""
        error: BaseException | None = None
        try:
            if subscription.timeout_s is None:
                await subscription.handler(*args)
            else:
                async with asyncio.timeout(subscription.timeout_s):
                    await subscription.handler(*args)
        except asyncio.CancelledError as cancelled:
            if self._abandoned:
                raise
            error = cancelled  # not ours: it cancelled itself, or awaited what was cancelled. A failure like any other
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as raised:  # a handler's sys.exit() fails its attempt, it does not end the consumer
            if not isinstance(raised, Signal):
                log.debug("a handler of group %s failed", self._group.group, exc_info=raised)
            error = raised
        if (task := asyncio.current_task()) is not None and task.cancelling():
            await self._uncancel(task)
        return error

    async def _uncancel(self, task: "asyncio.Task[Any]") -> None:
        """A handler cancelled the task it ran in: whether it noticed or not, that ends here."""
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            if self._abandoned:
                raise
        while task.cancelling():
            task.uncancel()

    def _acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """They were handled. Of a lost one its new owner decides, and that may be a later delivery to this consumer."""
        if self._observe is not None:
            for delivery in deliveries:
                self._tell("handled", delivery)
        if self._bucket is not None:
            self._bucket.earn(len(deliveries))
        for delivery in deliveries:
            if not delivery.lost:
                delivery.settling = True
                self._done.append(delivery)
        self._done_added.set()

    async def _fail(self, subscription: Subscription, delivery: Delivery, error: BaseException) -> None:
        self._tell("failed", delivery, error)
        decision = policy.decide(subscription.retry, delivery.attempt, error, self._rng)
        assert not isinstance(decision, Ack), "what failed is not done"
        if isinstance(decision, RetryIn) and decision.counts:
            log.info(
                "%s/%s: event %s is tried again, for attempt %d of %d failed: %r",
                *(self.stream, self._group.group, delivery.event_id, delivery.attempt, subscription.retry.attempts),
                error,
            )
        await self._settle(delivery, decision, error)

    async def _settle(self, delivery: Delivery, decision: RetryIn | GiveUp, error: BaseException | None) -> None:
        if delivery.lost:
            return  # its new owner decides, and that may be a later delivery to this very consumer
        delivery.settling = True
        match decision:
            case RetryIn(delay_s, counts):
                used = delivery.attempt if counts else delivery.attempt - 1
                kept = await self._undisturbed(
                    lambda: self._broker.retry(self._group, self._consumer, delivery.entry, used, delay_s)
                )
                self._retry_scheduled.set()
                kind: Kind = "retried"
            case GiveUp(reason):
                why = dead_letter.describe(
                    reason,
                    error,
                    attempts=delivery.attempt if reason != "poison" else delivery.attempt - 1,
                    handler=self._handler_name(delivery),
                    consumer=self._consumer,
                )
                log.warning(
                    "%s/%s: event %s, entry %s, is dead (%s) %s",
                    *(self.stream, self._group.group, delivery.event_id, delivery.entry.origin, reason, why["error"]),
                )
                kept = await self._undisturbed(
                    lambda: self._broker.bury(self._group, self._consumer, delivery.entry, why)
                )
                kind = "dead"
        if kept:
            self._settled((delivery,))
            self._tell(kind, delivery, error)
        else:
            self._lose(delivery, error)

    async def _undisturbed(self, settle: Callable[[], Awaitable[bool]]) -> bool:
        """Settle, whoever cancels this worker meanwhile: a handler may have kept its task, to cancel it later."""
        if self._abandoned:
            return await self._once(settle)
        settling = self._tasks.create_task(self._once(settle))
        while True:
            try:
                await asyncio.wait({settling})
                return settling.result()
            except asyncio.CancelledError:
                if self._abandoned:
                    raise
                if (task := asyncio.current_task()) is not None:
                    task.uncancel()

    async def _once(self, settle: Callable[[], Awaitable[bool]]) -> bool:
        """Settle steadily; was it this consumer that did? After a lost reply, the repeat finds its own work done."""
        tries = 0

        def count() -> Awaitable[bool]:
            nonlocal tries
            tries += 1
            return settle()

        return await self._steadily(count) or tries > 1

    def _settled(self, deliveries: Sequence[Delivery]) -> None:
        """The server knows: what a sweep that is under way brings of them is out of date."""
        if self._settled_meanwhile is not None:
            self._settled_meanwhile.update(delivery.entry.place for delivery in deliveries)
        for delivery in deliveries:
            self._let_go(delivery)

    def _let_go(self, delivery: Delivery) -> None:
        entry = delivery.entry
        held = self._held[entry.retried]
        if held.get(entry.id) is delivery:
            del held[entry.id]

    def _handler_name(self, delivery: Delivery) -> str:
        if delivery.envelope is None:
            return ""
        handler = self._subscriptions[type(delivery.envelope.event)].handler
        return f"{handler.__module__}.{getattr(handler, '__qualname__', repr(handler))}"

    def _tell(self, kind: Kind, delivery: Delivery, error: BaseException | None = None) -> None:
        if self._observe is None:
            return
        try:
            self._observe(Observation(kind, delivery, error))
        except Exception:
            log.exception("the observer failed; deliveries go on")

    # Acknowledging: while one batch is on its way, the next one gathers

    async def _ack(self) -> None:
        while True:
            await self._done_added.wait()
            self._done_added.clear()
            while self._done:
                batch, self._done = self._done[:ACK_LIMIT], self._done[ACK_LIMIT:]
                entries = [delivery.entry for delivery in batch]
                lost = await self._steadily(lambda: self._broker.ack(self._group, self._consumer, entries))  # noqa: B023
                if lost:
                    for delivery in batch:
                        if delivery.entry.place in lost:
                            self._lose(delivery)
                    batch = [delivery for delivery in batch if delivery.entry.place not in lost]
                self._settled(batch)
                if self._observe is not None:
                    for delivery in batch:
                        if delivery.envelope is not None and not delivery.lost:
                            self._tell("acked", delivery)
            if self._stopping and not self._workers.busy:
                return

    # Keeping what is held, taking over what others dropped, bringing back what waited

    async def _renew(self) -> None:
        lease = self._settings.lease
        while True:
            asked_at = time.monotonic()
            await asyncio.sleep(lease.renew_every_s)
            if (still_s := time.monotonic() - asked_at) > lease.duration_s:
                self._woke_at = time.monotonic()
                place = f"{self.stream}/{self._group.group}"
                log.warning(
                    "%s: the event loop stood still for %.1f s, longer than the lease; %s", place, still_s, STILL
                )
            await self._steadily(self._renew_held)

    async def _renew_held(self) -> None:
        now = time.monotonic()
        held = [delivery for part in self._held for delivery in part.values()]
        lost = set[Place]()
        if held:
            lost = await self._broker.renew(self._group, self._consumer, [delivery.entry for delivery in held])
            self._liveness.renews()
        self._renewed_at = now
        for delivery in held:
            # One that is being settled may be gone because it is done: its script says whether it was lost.
            if delivery.entry.place in lost and not delivery.settling:
                self._lose(delivery)

    def _lose(self, delivery: Delivery, error: BaseException | None = None) -> None:
        """Another consumer has claimed it: what its handler did here will be done again there. Told once."""
        if not delivery.lost:
            delivery.lost = True
            self._let_go(delivery)
            self._tell("lost", delivery, error)

    async def _sweep(self) -> None:
        lease = self._settings.lease
        while True:
            await asyncio.sleep(lease.sweep_wait_s(self._rng))
            await self._steadily(lambda: self._broker.free_key_queues(self._group))
            more, found = True, list[Entry]()
            while more or found:
                room = await self._room_again()
                if self._stopping:
                    break
                settled = self._settled_meanwhile = set[Place]()
                more, found = await self._ask(self._take_over, self._to_take_over, room)
                self._settled_meanwhile = None
                # Not what was ours, its lease over, and was settled after the sweep although that reply came first.
                taken = [entry for entry in found if entry.place not in settled]
                self._unhandled += len(taken)
                self._accept(taken)

    def _take_over(self, count: int) -> Awaitable[Found]:
        lease = self._settings.lease
        return self._broker.sweep(self._group, self._consumer, lease.duration_s, count, lease.sweep_every_s)

    async def _promote(self) -> None:
        while True:
            self._retry_scheduled.clear()
            moved, next_s = await self._steadily(lambda: self._broker.promote(self._group, PROMOTE_LIMIT))
            if moved == PROMOTE_LIMIT:
                continue
            wait_s = PROMOTE_S if next_s is None else min(next_s, PROMOTE_S)
            try:
                async with asyncio.timeout(wait_s):
                    await self._retry_scheduled.wait()
            except TimeoutError:
                pass


def _reason(fault: DataError | None) -> policy.DeadReason:
    """Why an entry that was not opened is dead."""
    if fault is None:
        return "poison"
    return "unsupported_version" if isinstance(fault, UnsupportedVersion) else "undecodable"
