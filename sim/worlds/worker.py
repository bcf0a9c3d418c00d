"""What the processes of a live run do: consumers run the real eventlib, the generator sends the load open-loop.

Each process notes what happens in a file of its own, with one write for each row. What was written is there even after
SIGKILL.
"""

import asyncio
import gc
import os
import struct
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import new_class
from typing import Any, Literal, cast

from eventlib import App, Bus, Delivery, Event, Observation, connect
from sim.declare.scenario import Scenario
from sim.errors import LiveRunFailed
from sim.evidence.history import KIND, ROW

_PACK = struct.Struct("<idBhhhqhdd").pack
assert struct.calcsize("<idBhhhqhdd") == ROW.itemsize
_NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Job:
    """What one process of a run has to do.

    `consumer` is the index of a consumer or caller, -1 for the generator. `t0` is None where it comes later.
    """

    role: Literal["consumer", "generator", "caller"]
    scenario: str  # JSON
    seed: int
    url: str
    namespace: str
    records: str
    service: str = ""
    consumer: int = -1
    t0: float | None = None
    earlier: tuple[str, ...] = ()  # where the processes whose place it takes have written, in their order


class Orders:
    """What the owner of the run tells a process: when time 0 is, in monotonic seconds of the machine; and to stop."""

    def __init__(self, t0: float | None) -> None:
        self.t0 = t0
        self.go = asyncio.Event()
        self.stop = asyncio.Event()

    def now_s(self) -> float:
        """Seconds since the load began; minus infinity while time 0 is not known."""
        return time.monotonic() - self.t0 if self.t0 is not None else float("-inf")


class MessageSent(Event):
    """The event of live runs: its number in the plan, and when the load meant to send the event that set it off."""

    index: int
    intended_s: float


def event_classes(scenario: Scenario) -> dict[str, type[MessageSent]]:
    """An event class for each event type of a scenario, each with a stream of its own."""
    return {
        event: cast(type[MessageSent], new_class("MessageSent", (MessageSent,), {"type": event, "stream": event}))
        for event in scenario.flow.paths
    }


class Recorder:
    """Appends history rows to a file. Times are monotonic seconds; the owner of the run subtracts its time 0 later.

    A row that cannot be written ends the run: without it, what was handled would look lost. `failed` is done then.
    """

    def __init__(self, file: str, scenario: Scenario, service: str, consumer: int) -> None:
        self.failed: asyncio.Future[OSError] = asyncio.get_running_loop().create_future()
        try:
            self.file = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise _not_written(error) from error
        self._service = list(scenario.services).index(service) if service else -1
        self._consumer = consumer
        self._events = {event: code for code, event in enumerate(scenario.flow.paths)}

    def add(self, kind: str, event: str, message: MessageSent, attempt: int = 0) -> None:
        """Write a row.

        Raises:
            LiveRunFailed: it could not be written.
        """
        row = (KIND[kind], self._service, self._consumer, self._events[event], message.index, attempt)
        unwritten = _PACK(0, time.monotonic(), *row, message.intended_s, _NAN)
        try:
            while unwritten:  # a disk that is about to be full takes a part of a row
                unwritten = unwritten[os.write(self.file, unwritten) :]
        except OSError as error:
            if not self.failed.done():
                self.failed.set_result(error)
            raise _not_written(error) from error

    def check(self) -> None:
        """Raise the error of a row that could not be written. `observe` raised it too, but the library only logs that.

        Raises:
            LiveRunFailed: a row could not be written.
        """
        if self.failed.done():
            raise _not_written(self.failed.result())

    def observe(self, observation: Observation) -> None:
        envelope = observation.delivery.envelope
        if envelope is not None and isinstance(envelope.event, MessageSent) and envelope.event.event_spec:
            self.add(observation.kind, envelope.event.event_spec.type, envelope.event, observation.delivery.attempt)


def _not_written(error: OSError) -> LiveRunFailed:
    reason = error.strerror or error
    return LiveRunFailed("evidence", f"a row could not be written: {reason}; free the disk, or name another by TMPDIR")


Tell = Callable[[str], None]  # called with "ready" and, by the generator, with "done"


async def stopped(orders: Orders, recorder: Recorder) -> None:
    """Wait for the order to stop, or until a row could not be written."""
    stop: asyncio.Future[Any] = asyncio.ensure_future(orders.stop.wait())
    failed: asyncio.Future[Any] = recorder.failed
    await asyncio.wait({stop, failed}, return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()


async def consume(job: Job, scenario: Scenario, recorder: Recorder, orders: Orders, tell: Tell) -> None:
    """Run the library's handlers for one service."""
    name, service, plan = job.service, scenario.services[job.service], scenario.plan(job.seed)
    service_s, classes = plan.service_s[name].tolist(), event_classes(scenario)
    app = App(name)
    app.group(
        name,
        concurrency=service.concurrency,
        prefetch=service.prefetch,
        lease_s=service.lease_s,
        retry_budget=service.retry_budget,
    )
    async with connect(app, job.url, namespace=job.namespace) as bus:

        @app.subscribe(classes[service.consumes], group=name, retry=service.retry)
        async def handle(message: MessageSent, delivery: Delivery) -> None:
            fails = plan.fails(name, message.index, delivery.attempt, orders.now_s())
            await asyncio.sleep(service_s[message.index])
            if fails:
                raise RuntimeError("the scenario lets this attempt fail")
            for event, index in scenario.flow.emitted(name, service.consumes, message.index):
                emitted = classes[event](index=index, intended_s=message.intended_s)
                await _publish(bus, recorder, event, [emitted])

        async with bus.running(observe=recorder.observe):
            tell("ready")
            await stopped(orders, recorder)


async def generate(job: Job, scenario: Scenario, recorder: Recorder, orders: Orders, tell: Tell) -> None:
    """Send each event when it is due, even if events before it are still on their way."""
    event, due_s = scenario.offered_load.event, scenario.plan(job.seed).arrivals_s.tolist()
    event_class = event_classes(scenario)[event]
    messages = [event_class(index=index, intended_s=at_s) for index, at_s in enumerate(due_s)]
    gc.freeze()  # or a full collection walks through all of them, and what is due meanwhile is late
    async with connect(App("load"), job.url, namespace=job.namespace) as bus, asyncio.TaskGroup() as publishing:
        tell("ready")
        await orders.go.wait()
        sent = 0
        while sent < len(messages):
            due = bisect_right(due_s, orders.now_s(), sent)
            if due > sent:
                publishing.create_task(_publish(bus, recorder, event, messages[sent:due]))
                sent = due
            # Even where the next event is due already, other tasks get their turn in between.
            await asyncio.sleep(max(0.0, due_s[sent] - orders.now_s()) if sent < len(messages) else 0)
        await asyncio.sleep(max(0.0, scenario.offered_load.duration_s - orders.now_s()))
    tell("done")
    await stopped(orders, recorder)


async def _publish(bus: Bus, recorder: Recorder, event: str, messages: Sequence[MessageSent]) -> None:
    for message in messages:
        recorder.add("sent", event, message)
    await bus.publish_many(messages)
    for message in messages:
        recorder.add("published", event, message)
