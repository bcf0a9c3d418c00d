"""The one delivery loop: read, run, decide, then ack, retry or bury.

One `GroupConsumer` works for one group on one stream. It asks for as many entries as concurrency + prefetch leave room
for; a read and a sweep may each bring that many new and as many retried ones. It renews the lease of everything held,
takes over what dead consumers held, and leaves by finishing or giving back, so nothing waits for a lease that nobody
renews.
"""

import asyncio
import itertools
import logging
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeVar

from eventlib import keys, policy
from eventlib.app import GroupSettings, Subscription
from eventlib.broker import Broker, Entry
from eventlib.envelope import Envelope, decode
from eventlib.errors import (
    AccessDenied,
    BrokerError,
    DataError,
    DecodeError,
    MissingGroup,
    Signal,
    UnsupportedVersion,
)
from eventlib.policy import Ack, DeadLetter, Decision, Retry, RetryIn
from eventlib.schema import spec_of

log = logging.getLogger("eventlib")

BLOCK_S = 1.0  # longest blocking read: bounds how late a dead connection is noticed
PROMOTE_S = 0.5  # longest wait between two looks at the delayed entries, some of which dead consumers scheduled
PROMOTE_LIMIT = 100
ACK_LIMIT = 1000
STILL = "others take over what is held then: move blocking work to a thread (asyncio.to_thread) or set a longer lease_s"
RECONNECT = Retry(wait_s=0.05, wait_s_max=2.0, jitter="equal")

T = TypeVar("T")
Kind = Literal["started", "handled", "failed", "acked", "retried", "dead", "lost"]


@dataclass(slots=True, eq=False)
class Delivery:
    """One entry in the hands of one consumer: what a handler may know beside the event.

    `attempt` counts from 1. `lost` turns true when another consumer took the entry over, because this one was silent
    for a lease: what the handler then does will be done again elsewhere.
    """

    stream: str
    group: str
    consumer: str
    attempt: int
    entry: Entry = field(repr=False)
    envelope: Envelope | None = field(default=None, repr=False)  # None: the entry could not be read
    lost: bool = False
    read_at: float = field(default_factory=time.monotonic, repr=False)
    settling: bool = field(default=False, repr=False)  # it ended; who owns the entry is the server's to say

    @property
    def event_id(self) -> str | None:
        return self.envelope.id if self.envelope else None

    @property
    def correlation_id(self) -> str | None:
        return self.envelope.correlation_id if self.envelope else None


class Happening(NamedTuple):
    """One thing that happened to a delivery, for whoever observes."""

    kind: Kind
    delivery: Delivery
    error: BaseException | None = None


Observer = Callable[[Happening], None]


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
        observe: Observer,
    ) -> None:
        self._broker = broker
        self._stream = stream
        self._group = broker.keys.group(stream, group)
        self._consumer = consumer
        self._settings = settings
        self._subscriptions = {spec_of(s.event_class).type: s for s in subscriptions}
        self._classes = {type_: s.event_class for type_, s in self._subscriptions.items()}
        self._observe = observe
        self._rng = random.Random()
        self._tasks = asyncio.TaskGroup()
        self._held: dict[tuple[bool, str], Delivery] = {}
        self._waiting: deque[Delivery] = deque()  # held, but their handlers have not started
        self._handlers: set[asyncio.Task[None]] = set()
        self._done: list[Delivery] = []  # to be acked in the next batch
        self._done_added = asyncio.Event()
        self._has_room = asyncio.Event()
        self._retry_scheduled = asyncio.Event()
        self._stopping = False
        self._abandoned = False
        self._reading: asyncio.Task[None] | None = None
        self._renewed_at = time.monotonic()

    # Life

    async def run(self) -> None:
        """Consume until `stop` is called; then finish what runs and give the rest back."""
        await self._steadily(lambda: self._broker.ensure_group(self._group))
        async with self._tasks:
            loops = [self._begin(loop()) for loop in (self._promote, self._renew, self._sweep)]
            acks = self._begin(self._ack())
            if not self._stopping:
                self._reading = self._begin(self._read())
            try:
                await self._finish_all(acks)
            except asyncio.CancelledError:
                self._abandoned = True  # a sibling failed: the handlers' cancellation is ours
                raise
            for loop in loops:
                loop.cancel()
        await self._steadily(self._leave)

    async def _leave(self) -> None:
        """Give back until nothing is held: for a moment, the server may still serve the read that was cut off.

        Even with what was just given back, which nobody would then take over before a lease.
        """
        await self._broker.leave(self._group, self._consumer)
        while await self._broker.leave(self._group, self._consumer):
            pass

    def _begin(self, loop: Coroutine[None, None, None]) -> asyncio.Task[None]:
        async def run() -> None:
            try:
                await loop
            except Exception:
                self._abandoned = True  # before the task group cancels the handlers: that cancellation is ours
                raise

        return self._tasks.create_task(run())

    async def _finish_all(self, acks: asyncio.Task[None]) -> None:
        """Until reading has stopped, then the handlers, then the acks."""
        if self._reading is not None:
            await asyncio.wait({self._reading})
        while self._handlers:
            await asyncio.wait(set(self._handlers))
        self._done_added.set()
        await asyncio.wait({acks})

    def stop(self) -> None:
        """Stop reading; `run` returns when the running handlers have ended.

        A read cut off in the middle may leave entries pending that this process never saw: leaving gives them back.
        """
        self._stopping = True
        if self._reading is not None:
            self._reading.cancel()

    def abandon(self) -> None:
        """The grace is over: cancel the running handlers, try nothing twice. Their entries go back uncounted."""
        self._abandoned = True
        for task in self._handlers:
            task.cancel()

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
                self._abandoned = True
                raise
            except BrokerError as error:
                if self._abandoned:
                    raise
                if failures == 1:
                    log.warning("%s/%s waits for the server: %s", self._stream, self._group.group, error)
                await asyncio.sleep(RECONNECT.delay_s(failures, self._rng))
                if isinstance(error, MissingGroup):
                    await self._steadily(lambda: self._broker.ensure_group(self._group))
        raise AssertionError("unreachable")

    # Reading

    async def _read(self) -> None:
        reader = self._broker.reader(BLOCK_S)
        try:
            while not self._stopping:
                count = await self._room()
                for entry in await self._steadily(lambda: reader.read(self._group, self._consumer, count)):  # noqa: B023
                    self._accept(entry)
        finally:
            await reader.close()

    async def _room(self) -> int:
        """Wait until there is room for entries; how many."""
        while True:
            settings = self._settings
            held = len(self._waiting) + len(self._handlers)
            if count := policy.room(settings.concurrency, settings.prefetch, held):
                return count
            self._has_room.clear()
            await self._has_room.wait()

    def _accept(self, entry: Entry) -> None:
        if (entry.retried, entry.id) in self._held:
            return  # in hand already: a sweep found our own lease expired, or the group was made anew
        attempt = entry.attempts + entry.deliveries
        delivery = Delivery(self._stream, self._group.group, self._consumer, attempt, entry)
        self._held[entry.retried, entry.id] = delivery
        try:
            delivery.envelope = self._open(entry)
        except DataError as error:
            reason: policy.DeadReason = (
                "unsupported_version" if isinstance(error, UnsupportedVersion) else "undecodable"
            )
            self._start(self._settle(delivery, DeadLetter(reason), error))
            return
        if delivery.envelope is None:  # a type that this group has no handler for
            delivery.settling = True
            self._finish(delivery)
        else:
            self._waiting.append(delivery)
            self._start_handlers()

    def _open(self, entry: Entry) -> Envelope | None:
        try:
            raw = entry.fields[keys.EVENT]
        except KeyError:
            raise DecodeError("the entry has no field 'event'") from None
        return decode(raw, self._classes)

    # Handling

    def _start_handlers(self) -> None:
        while self._waiting and len(self._handlers) < self._settings.concurrency and not self._stopping:
            self._start(self._handle(self._waiting.popleft()))

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = self._tasks.create_task(work)
        self._handlers.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._handlers.discard(task)
        self._start_handlers()
        self._has_room.set()

    async def _handle(self, delivery: Delivery) -> None:
        if time.monotonic() - max(delivery.read_at, self._renewed_at) > self._settings.lease.duration_s:
            await self._steadily(self._renew_held)  # this process stood still: who owns the entry now?
        if delivery.lost:
            return
        assert delivery.envelope is not None
        subscription = self._subscriptions[spec_of(type(delivery.envelope.event)).type]
        if dead := policy.admit(subscription.retry, delivery.attempt):
            await self._settle(delivery, dead, None)
            return
        self._tell("started", delivery)
        error = await self._attempt(subscription, delivery)
        self._tell("failed" if error else "handled", delivery, error)
        decision = policy.decide(subscription.retry, delivery.attempt, error, self._rng)
        await self._settle(delivery, decision, error)

    async def _attempt(self, subscription: Subscription, delivery: Delivery) -> BaseException | None:
        """Run the handler once; what it raised. Only our own cancellation passes through."""
        assert delivery.envelope is not None
        try:
            async with asyncio.timeout(subscription.timeout_s):
                await subscription.handler(delivery.envelope.event, delivery)
        except asyncio.CancelledError as error:
            if self._abandoned:
                raise
            # Not ours: the handler cancelled itself, or awaited what was cancelled. A failure like any other.
            if (task := asyncio.current_task()) is not None:
                while task.cancelling():
                    task.uncancel()
            return error
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # a handler's sys.exit() fails its attempt, it does not end the consumer
            if not isinstance(error, Signal):
                log.debug("handler of %s failed", delivery, exc_info=error)
            return error
        return None

    async def _settle(self, delivery: Delivery, decision: Decision, error: BaseException | None) -> None:
        if delivery.lost:
            return  # its new owner decides, and that may be a later delivery to this very consumer
        delivery.settling = True
        match decision:
            case Ack():
                self._finish(delivery)
                return
            case RetryIn(delay_s, counts):
                used = delivery.attempt if counts else delivery.attempt - 1
                kept = await self._once(
                    lambda: self._broker.retry(self._group, self._consumer, delivery.entry, used, delay_s)
                )
                self._retry_scheduled.set()
                kind: Kind = "retried"
            case DeadLetter(reason):
                why: dict[str, str | int] = {
                    "reason": reason,
                    "error": _described(error) if error else "",
                    "attempts": delivery.attempt if reason != "poison" else delivery.attempt - 1,
                    "handler": self._handler_name(delivery),
                    "consumer": self._consumer,
                }
                kept = await self._once(lambda: self._broker.bury(self._group, self._consumer, delivery.entry, why))
                kind = "dead"
        if kept:
            self._let_go(delivery)
            self._tell(kind, delivery, error)
        else:
            self._lose(delivery, error)

    async def _once(self, settle: Callable[[], Awaitable[bool]]) -> bool:
        """Settle steadily; was it this consumer that did? After a lost reply, the repeat finds its own work done."""
        tries = 0

        def count() -> Awaitable[bool]:
            nonlocal tries
            tries += 1
            return settle()

        return await self._steadily(count) or tries > 1

    def _let_go(self, delivery: Delivery) -> None:
        key = (delivery.entry.retried, delivery.entry.id)
        if self._held.get(key) is delivery:
            del self._held[key]

    def _handler_name(self, delivery: Delivery) -> str:
        if delivery.envelope is None:
            return ""
        handler = self._subscriptions[spec_of(type(delivery.envelope.event)).type].handler
        return f"{handler.__module__}.{getattr(handler, '__qualname__', repr(handler))}"

    def _tell(self, kind: Kind, delivery: Delivery, error: BaseException | None = None) -> None:
        try:
            self._observe(Happening(kind, delivery, error))
        except Exception:
            log.exception("the observer failed; deliveries go on")

    # Acknowledging: while one batch is on its way, the next one gathers

    def _finish(self, delivery: Delivery) -> None:
        self._done.append(delivery)
        self._done_added.set()

    async def _ack(self) -> None:
        while True:
            await self._done_added.wait()
            self._done_added.clear()
            while self._done:
                batch, self._done = self._done[:ACK_LIMIT], self._done[ACK_LIMIT:]
                entries = [delivery.entry for delivery in batch]
                lost = await self._steadily(lambda: self._broker.ack(self._group, self._consumer, entries))  # noqa: B023
                for delivery in batch:
                    if (delivery.entry.retried, delivery.entry.id) in lost:
                        self._lose(delivery)
                    self._let_go(delivery)
                    if delivery.envelope is not None and not delivery.lost:
                        self._tell("acked", delivery)
            if self._stopping and not self._handlers:
                return

    # Keeping what is held, taking over what others dropped, bringing back what waited

    async def _renew(self) -> None:
        lease = self._settings.lease
        while True:
            asked_at = time.monotonic()
            await asyncio.sleep(lease.renew_every_s)
            if (still_s := time.monotonic() - asked_at) > lease.duration_s:
                place = f"{self._stream}/{self._group.group}"
                log.warning(
                    "%s: the event loop stood still for %.1f s, longer than the lease; %s", place, still_s, STILL
                )
            await self._steadily(self._renew_held)

    async def _renew_held(self) -> None:
        now = time.monotonic()
        held = list(self._held.values())
        lost = await self._broker.renew(self._group, self._consumer, [d.entry for d in held]) if held else set()
        self._renewed_at = now
        for delivery in held:
            # One that is being settled may be gone because it is done: its script says whether it was lost.
            if (delivery.entry.retried, delivery.entry.id) in lost and not delivery.settling:
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
            more, taken = True, list[Entry]()
            while more or taken:
                more, taken = await self._take_over()
                for entry in taken:
                    self._accept(entry)

    async def _take_over(self) -> tuple[bool, list[Entry]]:
        count, lease = await self._room(), self._settings.lease
        if self._stopping:
            return False, []
        return await self._steadily(
            lambda: self._broker.sweep(self._group, self._consumer, lease.duration_s, count, lease.sweep_every_s)
        )

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


def _described(error: BaseException) -> str:
    """What a dead letter says of its error, whatever the error is: bounded, and of characters that can be stored."""
    try:
        text = str(error)
    except Exception:
        text = "(its text cannot be had)"
    return f"{type(error).__name__}: {text}"[:2000].encode(errors="backslashreplace").decode()
