"""What waits to be sent to one stream, in the order of the calls, and the callers who wait for it."""

import asyncio
import math
from collections import deque
from collections.abc import Iterable, Sequence

from eventlib.broker.publishing import BATCH_BYTES, BATCH_LIMIT
from eventlib.errors import BrokerUnavailable
from eventlib.publish.capacity import CapacityLimit
from eventlib.records import Unique


class Slice:
    """As much of one `publish_many` as goes into one batch, and the future that its caller waits for.

    `after` is the slice before it in the same call: where that one fails, this one is not sent.
    """

    __slots__ = ("after", "bodies", "called_at_s", "sent", "size_bytes", "uniques")

    def __init__(
        self, bodies: Sequence[bytes], uniques: Sequence[Unique], size_bytes: int, after: "Slice | None" = None
    ) -> None:
        self.bodies = bodies
        self.uniques = uniques
        self.size_bytes = size_bytes
        self.after = after
        self.called_at_s = 0.0  # by the loop's clock
        self.sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def arrived(self) -> bool:
        return self.sent.done() and not self.sent.cancelled() and self.sent.exception() is None

    @property
    def wanted(self) -> bool:
        """Whether it is still to be sent: its caller waits, and no slice before it failed."""
        if self.sent.done():
            return False
        before = self.after
        while before is not None and not before.sent.done():
            before = before.after
        return before is None or before.arrived

    @property
    def waiting(self) -> bool:
        """Whether its caller still waits."""
        return not self.sent.done()

    def remove_unwanted(self) -> tuple[int, int]:
        """Empty it if it is not wanted any more. Returns how many bodies and bytes were removed."""
        if self.wanted:
            return 0, 0
        self.drop()
        removed = len(self.bodies), self.size_bytes
        self.bodies, self.size_bytes = (), 0
        return removed

    def drop(self) -> None:
        """Its caller does not wait any more: it is not sent if it is still queued."""
        self.sent.cancel()

    def settle(self, error: Exception | None) -> None:
        """Tell the caller that it was sent, or why not."""
        if self.sent.done():  # the caller was cancelled, or was told before
            return
        if error is None:
            self.sent.set_result(None)
        else:
            self.sent.set_exception(error)


class SinglePublishes:
    """The single publishes of one turn of the event loop, and the futures that their callers wait for.

    There are no more of them than go into one batch. They share one object: with one object for each, a thousand
    publishes at once take a tenth longer.
    """

    __slots__ = ("bodies", "called_at_s", "size_bytes", "uniques", "waiters")

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.waiters: list[asyncio.Future[None]] = []  # one for each body
        self.uniques: list[Unique] = []
        self.size_bytes = 0
        self.called_at_s = math.inf  # until their turn of the loop ends, or their batch is full

    @property
    def waiting(self) -> bool:
        """Whether one of the callers still waits."""
        return not all(map(asyncio.Future.done, self.waiters))

    def remove_unwanted(self) -> tuple[int, int]:
        """Remove those whose callers were cancelled. Returns how many bodies and bytes were removed."""
        if not any(map(asyncio.Future.done, self.waiters)):
            return 0, 0
        count, size_bytes = len(self.bodies), self.size_bytes
        kept = [place for place, waiter in enumerate(self.waiters) if not waiter.done()]
        new_place = {place: index for index, place in enumerate(kept)}
        self.uniques = [each._replace(place=new_place[each.place]) for each in self.uniques if each.place in new_place]
        self.bodies = [self.bodies[place] for place in kept]
        self.waiters = [self.waiters[place] for place in kept]
        self.size_bytes = sum(map(len, self.bodies))
        return count - len(kept), size_bytes - self.size_bytes

    def settle(self, error: Exception | None) -> None:
        """Tell the callers that their events were sent, or why not."""
        for waiter in self.waiters:
            if not waiter.done():
                if error is None:
                    waiter.set_result(None)
                else:
                    waiter.set_exception(error)


Queued = Slice | SinglePublishes


class Callers:
    """The callers who wait for what is queued or sent together, in the order of their calls."""

    __slots__ = ("_queued",)

    def __init__(self, queued: Iterable[Queued]) -> None:
        self._queued = queued

    def waiting_since_s(self) -> float | None:
        """When the first of the callers who still wait called, by the loop's clock. None: no caller waits."""
        return next((each.called_at_s for each in self._queued if each.waiting), None)

    def fail_those_who_called_by(self, time_s: float, error: BrokerUnavailable) -> None:
        """Raise `error` to the callers who called at this time or before."""
        for each in self._queued:
            if each.called_at_s > time_s:
                return
            each.settle(error)


class StreamQueue:
    """What waits to be sent to one stream. It counts against the capacity limit until it is settled."""

    def __init__(self, capacity: CapacityLimit) -> None:
        loop = asyncio.get_running_loop()
        self.count = 0  # bodies that wait
        self._capacity = capacity
        self._queued: deque[Queued] = deque()
        self._singles: SinglePublishes | None = None  # the last of the queue, while it takes more
        self._make_future, self._now = loop.create_future, loop.time

    @property
    def callers(self) -> Callers:
        return Callers(self._queued)

    def add(self, slice_: Slice) -> None:
        self.end_turn()
        slice_.called_at_s = self._now()
        self._queued.append(slice_)
        self.count += len(slice_.bodies)
        self._capacity.acquire(len(slice_.bodies), slice_.size_bytes)

    def add_single(self, body: bytes, id_: str, unique_for_s: float | None) -> "asyncio.Future[None]":
        """Add one body to those of the same turn of the loop. Returns what its caller awaits."""
        singles, size_bytes = self._singles, len(body)
        if singles is None or singles.size_bytes + size_bytes > BATCH_BYTES:
            self.end_turn()
            singles = self._singles = SinglePublishes()
            self._queued.append(singles)
        if unique_for_s is not None:
            singles.uniques.append(Unique(len(singles.bodies), id_, unique_for_s))
        waiter = self._make_future()
        singles.bodies.append(body)
        singles.waiters.append(waiter)
        singles.size_bytes += size_bytes
        self.count += 1
        self._capacity.acquire(1, size_bytes)
        if self.count >= BATCH_LIMIT and len(singles.bodies) >= BATCH_LIMIT:
            self.end_turn()
        return waiter

    def end_turn(self) -> None:
        """Single publishes that come later are not put together with those before."""
        if self._singles is not None:
            self._singles.called_at_s = self._now()
            self._singles = None

    def take(self) -> list[Queued]:
        """Take what goes into the next batch. What no caller waits for any more is left out."""
        self.end_turn()  # what comes from now on is too late for this batch
        taken, count, size_bytes = list[Queued](), 0, 0
        queued = self._queued
        while queued:
            head = queued[0]
            removed, removed_bytes = head.remove_unwanted()
            if removed:
                self.count -= removed
                self._capacity.release(removed, removed_bytes)
            count += len(head.bodies)
            size_bytes += head.size_bytes
            if taken and (count > BATCH_LIMIT or size_bytes > BATCH_BYTES):
                break
            if head.bodies:
                taken.append(head)
            self.count -= len(head.bodies)
            queued.popleft()
        return taken

    def settle(self, taken: Iterable[Queued], error: Exception | None) -> None:
        """Tell the callers of what was taken that it was sent, or why not."""
        count = size_bytes = 0
        for each in taken:
            count += len(each.bodies)
            size_bytes += each.size_bytes
            each.settle(error)
        self._capacity.release(count, size_bytes)


def sliced(ids: Sequence[str], bodies: Sequence[bytes], unique_for_s: float | None) -> list[Slice]:
    """Cut the events of one call for one stream into slices. Each is sent after the one before it."""
    slices, start, size_bytes = list[Slice](), 0, 0

    def cut(end: int) -> None:
        uniques: Sequence[Unique] = ()
        if unique_for_s is not None:
            uniques = [Unique(place, id_, unique_for_s) for place, id_ in enumerate(ids[start:end])]
        slices.append(Slice(bodies[start:end], uniques, size_bytes, slices[-1] if slices else None))

    for index, body in enumerate(bodies):
        if index > start and (index - start == BATCH_LIMIT or size_bytes + len(body) > BATCH_BYTES):
            cut(index)
            start, size_bytes = index, 0
        size_bytes += len(body)
    cut(len(bodies))
    return slices
