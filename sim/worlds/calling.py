"""What a caller's process of a live run does: it makes requests with the library, and hears the replies.

Requests are made when they are due, whatever became of those before (an open loop), or by clients that each wait for an
answer before they ask again (a closed one). A request that is not answered in time is sent again, as another message.

It notes each request before it sends it. A process that takes a killed caller's place reads these notes, and asks for
the replies that are missing.
"""

import asyncio
import contextlib
import gc
import random
from bisect import bisect_left, bisect_right
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from eventlib import App, Bus, Event, WaitTimeout
from eventlib.replies.requesting import Requesting
from eventlib.replies.waiting import Waits
from sim.declare.callers import Callers
from sim.declare.scenario import Scenario
from sim.evidence.history import ROW, of_kind
from sim.worlds.messages import MessageSent, event_classes, payloads_of
from sim.worlds.recorder import Recorder
from sim.worlds.worker import Job, Orders, Tell, connected, stopped


async def call(job: Job, scenario: Scenario, recorder: Recorder, orders: Orders, tell: Tell) -> None:
    """Make the caller's requests, until the load and its waits are over."""
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
        self._load = scenario.offered_load
        self._tries = self._callers.retry.attempts
        self._rng = random.Random()  # of the waits before retries, which are each world's own
        self._body: Callable[[int], dict[str, Any]] = lambda _: {}
        self._event = scenario.offered_load.event
        classes = cast(dict[str, type[MessageSent]], event_classes(scenario))  # callers and Apps do not go together
        self._request_class, self._reply_class = classes[self._event], classes[self._callers.reply]

    async def call_all(self, job: Job, scenario: Scenario, orders: Orders, tell: Tell) -> None:
        """Ask for the replies that are missing, then make all requests that are due from now on."""
        plan = scenario.plan(job.seed)
        self._body = payloads_of(plan)
        missing = list(self._unanswered(job.earlier))
        clients = [client for client in range(self._load.looping) if client % self._callers.processes == job.consumer]
        think_s = plan.think_s.tolist() if plan.think_s is not None else []
        requests = [] if self._load.looping else list(self._own_requests(job, plan.arrivals_s.tolist()))
        gc.freeze()  # or a full collection walks through all of them, and what is due meanwhile is late
        async with asyncio.TaskGroup() as asking:
            tell("ready")
            for request, asked in missing:
                asking.create_task(self._ask_again(request, asked))
            await orders.go.wait()
            for client in clients:
                asking.create_task(self._ask_in_a_loop(client, think_s, orders))
            # What was due while the caller was dead is not sent; what is due while it begins late is.
            from_s = float("-inf") if job.t0 is None else orders.now_s()
            await self._ask_when_due(requests, orders, asking, from_s)
            await asyncio.sleep(max(0.0, self._load.duration_s - orders.now_s()))

    def _own_requests(self, job: Job, arrivals_s: Sequence[float]) -> Iterator[MessageSent]:
        for request, at_s in enumerate(arrivals_s):
            message = request * self._tries
            if self._callers.of(message) == job.consumer:
                yield self._message(message, at_s)

    async def _ask_when_due(
        self, requests: Sequence[MessageSent], orders: Orders, asking: asyncio.TaskGroup, from_s: float
    ) -> None:
        """Make the requests of an open loop that are due from a time on, each in a task of its own."""
        due_s = [request.intended_s for request in requests]
        sent = bisect_left(due_s, from_s)
        while sent < len(requests):
            due = bisect_right(due_s, orders.now_s(), sent)
            for request in requests[sent:due]:
                asking.create_task(self._ask(request, orders))
            sent = due
            await asyncio.sleep(max(0.0, due_s[sent] - orders.now_s()) if sent < len(requests) else 0)

    async def _ask_in_a_loop(self, client: int, think_s: Sequence[float], orders: Orders) -> None:
        """Be a client of a closed loop: think, ask until that is answered or given up, and think again."""
        at_s = 0.0
        for request in range(client, len(think_s), self._load.looping):
            due_s = at_s + think_s[request]
            if due_s >= self._load.duration_s:
                return
            await asyncio.sleep(max(0.0, due_s - orders.now_s()))
            await self._ask(self._message(request * self._tries, due_s), orders)
            at_s = orders.now_s()

    async def _ask(self, message: MessageSent, orders: Orders) -> None:
        """Make a request, as often as it takes and is allowed."""
        for attempt in range(1, self._tries + 1):
            if await self._ask_once(message) or attempt == self._tries:
                return
            due_s = orders.now_s() + self._callers.retry.delay_s(attempt, self._rng)
            await asyncio.sleep(max(0.0, due_s - orders.now_s()))
            message = self._message(message.index + 1, due_s)

    def _message(self, index: int, intended_s: float) -> MessageSent:
        return self._request_class(index=index, intended_s=intended_s, **self._body(index))

    async def _ask_once(self, message: MessageSent) -> bool:
        self._recorder.add("sent", self._event, message)
        id_, timeout_s = _id(message), self._callers.timeout_s
        request = self.request(message, self._reply_class, timeout_s=timeout_s, correlation_id=id_)
        return await self._note(message, 1, request)

    async def _ask_again(self, message: MessageSent, asked: int) -> None:
        reply = self._bus.reply(_id(message), self._reply_class, timeout_s=self._callers.timeout_s)
        await self._note(message, asked, reply)

    async def _note(self, message: MessageSent, asked: int, reply: Awaitable[Any]) -> bool:
        """Note how the wait for a reply ends: True where there is one."""
        try:
            await reply
        except WaitTimeout:
            self._recorder.add("timed_out", self._event, message, asked)
            return False
        self._recorder.add("replied", self._event, message, asked)
        return True

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
