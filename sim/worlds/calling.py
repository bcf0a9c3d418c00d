"""What a caller's process of a live run does: it makes requests with the library, open-loop, and hears the replies.

It notes each request before it sends it. A process that takes a killed caller's place reads these notes, and asks for
the replies that are missing.
"""

import asyncio
import contextlib
import gc
from bisect import bisect_left, bisect_right
from collections.abc import Awaitable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from eventlib import App, Bus, Event, WaitTimeout
from eventlib.replies.requesting import Requesting
from eventlib.replies.waiting import Waits
from sim.declare.callers import Callers
from sim.declare.scenario import Scenario
from sim.evidence.history import ROW, of_kind
from sim.worlds.messages import MessageSent, event_classes
from sim.worlds.recorder import Recorder
from sim.worlds.worker import Job, Orders, Tell, connected, stopped


async def call(job: Job, scenario: Scenario, recorder: Recorder, orders: Orders, tell: Tell) -> None:
    """Make each of the caller's requests when it is due, even if others still wait for their replies."""
    async with connected(App("callers"), job) as bus:
        caller = _Caller(bus, scenario, recorder)
        calling = asyncio.create_task(caller.call_all(job, scenario, orders, tell))
        until: asyncio.Task[None] = asyncio.create_task(stopped(orders, recorder))
        await asyncio.wait({calling, until}, return_when=asyncio.FIRST_COMPLETED)
        if calling.done():
            await calling
            tell("done")
            await until
        calling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await calling


class _Caller(Requesting):
    """Makes requests over a bus, and notes what becomes of them."""

    def __init__(self, bus: Bus, scenario: Scenario, recorder: Recorder) -> None:
        self._bus = bus
        self._recorder = recorder
        self._callers = cast(Callers, scenario.callers)
        self._event = scenario.offered_load.event
        classes = cast(dict[str, type[MessageSent]], event_classes(scenario))  # callers and Apps do not go together
        self._request_class, self._reply_class = classes[self._event], classes[self._callers.reply]

    async def call_all(self, job: Job, scenario: Scenario, orders: Orders, tell: Tell) -> None:
        """Ask for the replies that are missing, then make all requests that are due from now on."""
        missing = list(self._unanswered(job.earlier))
        own = [
            (index, at_s)
            for index, at_s in enumerate(scenario.plan(job.seed).arrivals_s.tolist())
            if self._callers.of(index) == job.consumer
        ]
        due_s = [at_s for _, at_s in own]
        requests = [self._request_class(index=index, intended_s=at_s) for index, at_s in own]
        gc.freeze()  # or a full collection walks through all of them, and what is due meanwhile is late
        async with asyncio.TaskGroup() as asking:
            tell("ready")
            for request, asked in missing:
                asking.create_task(self._ask_again(request, asked))
            await orders.go.wait()
            sent = bisect_left(due_s, orders.now_s())  # what was due while the caller was dead is not sent
            while sent < len(requests):
                due = bisect_right(due_s, orders.now_s(), sent)
                for request in requests[sent:due]:
                    asking.create_task(self._ask(request))
                sent = due
                await asyncio.sleep(max(0.0, due_s[sent] - orders.now_s()) if sent < len(requests) else 0)
            await asyncio.sleep(max(0.0, scenario.offered_load.duration_s - orders.now_s()))

    async def _ask(self, message: MessageSent) -> None:
        self._recorder.add("sent", self._event, message)
        id_, timeout_s = _id(message), self._callers.timeout_s
        await self._note(message, 1, self.request(message, self._reply_class, timeout_s=timeout_s, correlation_id=id_))

    async def _ask_again(self, message: MessageSent, asked: int) -> None:
        reply = self._bus.reply(_id(message), self._reply_class, timeout_s=self._callers.timeout_s)
        await self._note(message, asked, reply)

    async def _note(self, message: MessageSent, asked: int, reply: Awaitable[Any]) -> None:
        try:
            await reply
        except WaitTimeout:
            self._recorder.add("timed_out", self._event, message, asked)
        else:
            self._recorder.add("replied", self._event, message, asked)

    def _unanswered(self, files: Sequence[str]) -> Iterator[tuple[MessageSent, int]]:
        """What processes before this one have sent and noted no end of; and the number of the attempt that follows."""
        sent: dict[int, tuple[float, int]] = {}
        for number, file in enumerate(files):
            written = Path(file).read_bytes()
            rows = np.frombuffer(written[: len(written) // ROW.itemsize * ROW.itemsize], ROW)
            for row in of_kind(rows, "sent"):
                sent[int(row["message"])] = float(row["intended_s"]), 1 + len(files) - number
            for index in of_kind(rows, "replied", "timed_out")["message"].tolist():
                del sent[index]
        for index, (intended_s, asked) in sent.items():
            yield self._request_class(index=index, intended_s=intended_s), asked

    # What `request` is made of: the bus's own, and a note between its publishing and its waiting.

    def _open_waits(self) -> Waits:
        return self._bus._open_waits()

    async def publish(self, event: Event, *, correlation_id: str | None = None) -> str:
        id_ = await self._bus.publish(event, correlation_id=correlation_id)
        self._recorder.add("published", self._event, cast(MessageSent, event))
        return id_


def _id(message: MessageSent) -> str:
    """The correlation id of a request. A caller that comes back knows it from the request's number."""
    return f"request-{message.index}"
