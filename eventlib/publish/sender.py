"""The sender of one stream: one numbered batch under way at a time.

The server takes a number that is not above the last one for a repeat, so no batch may overtake another. What is
published while a batch is under way, or in the same turn of the event loop, goes together into the next one. A single
publish waits for nothing else.
"""

import asyncio
from collections.abc import Sequence

from eventlib import measuring
from eventlib.broker.publishing import BATCH_LIMIT
from eventlib.counts import PublishCounts
from eventlib.errors import BrokerUnavailable, BusClosed
from eventlib.publish.batches import Callers, Queued, Slice, StreamQueue
from eventlib.publish.capacity import CapacityLimit
from eventlib.publish.routes import Route, Sending
from eventlib.reconnect import Answer
from eventlib.records import NumberedBatch, Unique

_UnderWay = tuple[list[Queued], Sending]  # what a batch was made of, and the batch on its way


class Sender:
    """Sends what is published to one stream."""

    def __init__(self, where: str, stream: str, route: Route, capacity: CapacityLimit) -> None:
        loop = asyncio.get_running_loop()
        self.task: asyncio.Task[None] | None = None  # while a batch is under way
        self.counts = PublishCounts()
        self._where = where
        self._stream = stream
        self._route = route
        self._next_number = route.first_number
        self._queue = StreamQueue(capacity)
        self._under_way: _UnderWay | None = None
        self._begun_s = 0.0  # when the batch under way was sent
        self._starts_after_turn = False  # `start` is called when this turn of the loop is over
        self._now, self._call_soon = loop.time, loop.call_soon

    @property
    def waiting_since_s(self) -> float | None:
        """When the first of the callers who still wait called, by the loop's clock. None: no caller waits."""
        under_way = None if self._under_way is None else Callers(self._under_way[0]).waiting_since_s()
        return self._queue.callers.waiting_since_s() if under_way is None else under_way

    def add(self, slice_: Slice) -> None:
        """Queue a slice. Its future says when it was sent."""
        self._queue.add(slice_)
        if not self._starts_after_turn:
            self._start_after_turn()
        if self._queue.count >= BATCH_LIMIT:
            self._begin_full_batch()

    def add_single(self, body: bytes, id_: str, unique_for_s: float | None) -> "asyncio.Future[None]":
        """Queue one body. Returns what its caller awaits."""
        sent = self._queue.add_single(body, id_, unique_for_s)
        if not self._starts_after_turn:
            self._start_after_turn()
        if self._queue.count >= BATCH_LIMIT:
            self._begin_full_batch()
        return sent

    def start(self) -> None:
        """Send what is queued.

        The batch is put on its way here and not in the task that waits for it: that would be a turn of the loop later.
        """
        if not self._starts_after_turn:  # it was started or closed before the turn was over
            return
        self._starts_after_turn = False
        self._queue.end_turn()
        if self.task is not None:  # it sends what is queued after the batch under way
            return
        if self._under_way is None:
            self._begin()
        if self._under_way is not None:
            task = asyncio.create_task(self._send_all())
            if not task.done():  # an eager task may have ended already
                self.task = task
                task.add_done_callback(self._task_ended)

    def close(self) -> None:
        """Send nothing more. Something is left only where the publisher's own `close` was cancelled."""
        self._starts_after_turn = False
        if self.task is not None:
            self.task.cancel()
        self._fail_all()

    def _start_after_turn(self) -> None:
        self._starts_after_turn = True
        self._call_soon(self.start)

    def _begin_full_batch(self) -> None:
        """Begin before the turn of the loop is over: the server works on this batch while callers add to the next."""
        if self._under_way is None:
            self._begin()

    def _begin(self) -> None:
        """Put the next batch on its way, if anything is queued. No other may be under way."""
        while taken := self._queue.take():
            try:
                batch = self._numbered(taken)
                self._next_number += len(batch.bodies)
                self._begun_s = self._now()
                self._under_way = taken, self._route.send(batch, Callers(taken))
                return
            except Exception as error:  # whatever it is, the callers must hear of it
                self._settle(taken, error)

    def _numbered(self, taken: Sequence[Queued]) -> NumberedBatch:
        if len(taken) == 1:
            return NumberedBatch(self._stream, self._next_number, taken[0].bodies, taken[0].uniques)
        bodies: list[bytes] = []
        uniques: list[Unique] = []
        for each in taken:
            if each.uniques:
                uniques += [unique._replace(place=len(bodies) + unique.place) for unique in each.uniques]
            bodies += each.bodies
        return NumberedBatch(self._stream, self._next_number, bodies, uniques)

    async def _send_all(self) -> None:
        try:
            while self._under_way is not None:
                await self._finish(*self._under_way)
        finally:
            self.task = None
            self._fail_all()

    async def _finish(self, taken: list[Queued], sending: Sending) -> None:
        """Wait for the batch under way, begin the next one, tell the callers."""
        begun_s = self._begun_s
        try:
            answer = await sending
        except Exception as error:  # whatever it is, the callers must hear of it
            self._measure(begun_s, error)
            # Before the next one begins: what follows in the same call is not sent.
            self._settle(taken, error)
            self._under_way = None
            if isinstance(error, BrokerUnavailable):  # those who are queued have waited for the same server
                self._queue.callers.fail_those_who_called_by(self._now() - self._route.patience_s, error)
            self._begin()
            return
        self._measure(begun_s, None)
        self._under_way = None
        try:
            self._begin()  # before the callers go on, so that the server works meanwhile
        finally:
            if isinstance(answer, Answer):  # the spool cannot tell
                self.counts.duplicates += max(0, _count(taken) - answer.value)
            self._settle(taken, None)

    def _measure(self, begun_s: float, error: Exception | None) -> None:
        if measuring.active is not None:
            measuring.active.asked("publish", self._stream, "", self._now() - begun_s, error)

    def _task_ended(self, task: "asyncio.Task[None]") -> None:
        if task is self.task:  # it was cancelled before it ran
            self.task = None
            self._fail_all()

    def _fail_all(self) -> None:
        """Give up the batch under way and what is queued. After a task that ended by itself, there is nothing."""
        if self._under_way is not None:
            (interrupted, sending), self._under_way = self._under_way, None
            sending.cancel()
            self._settle(interrupted, BrokerUnavailable(self._where, "publishing was interrupted"))
        while taken := self._queue.take():
            self._settle(taken, BusClosed())

    def _settle(self, taken: list[Queued], error: Exception | None) -> None:
        """Tell the callers that their events were sent, or why not."""
        if error is None:
            self.counts.published += _count(taken)
        else:
            self.counts.failed += _count(taken)
        self._queue.settle(taken, error)


def _count(taken: Sequence[Queued]) -> int:
    return sum(len(each.bodies) for each in taken)
