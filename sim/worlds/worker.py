"""What the processes of a live run do: consumers run the real eventlib, the generator sends the load open-loop."""

import asyncio
import gc
import time
from bisect import bisect_right
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

from eventlib import App, Delivery, Event, connect, current_task
from sim.declare.scenario import Scenario
from sim.declare.service import Service
from sim.worlds.messages import declare_task, event_classes, numbered, set_queue
from sim.worlds.recorder import Recorder
from sim.worlds.sagas import declare_saga, runs_acts
from sim.worlds.sender import Sender

LEAVE_S = 5.0  # longest wait for handlers that run when the run is over; the owner waits longer for their process


@dataclass(frozen=True, slots=True)
class Job:
    """What one process of a run has to do.

    `consumer` is the index of a consumer or caller, -1 for the generator. `t0` is None where it comes later.
    """

    role: Literal["consumer", "generator", "caller", "describer"]
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


Tell = Callable[[str], None]  # called with "ready" and, by the generator, with "done"


async def stopped(orders: Orders, recorder: Recorder) -> None:
    """Wait for the order to stop, or until a row could not be written."""
    stop: asyncio.Future[Any] = asyncio.ensure_future(orders.stop.wait())
    failed: asyncio.Future[Any] = recorder.failed
    await asyncio.wait({stop, failed}, return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()


Work = Callable[[int, float, int], Awaitable[None]]  # called with a message's number, `intended_s` and the attempt


async def consume(job: Job, scenario: Scenario, recorder: Recorder, orders: Orders, tell: Tell) -> None:
    """Run the library's handlers for one service whose work is declared."""
    name, service, plan = job.service, scenario.services[job.service], scenario.plan(job.seed)
    service_s: list[float] = plan.service_s[name].tolist()

    async def work(index: int, intended_s: float, attempt: int) -> None:
        fails = plan.fails(name, index, attempt, orders.now_s())
        asked_s = service_s[index]
        slept_s = -time.monotonic()
        await asyncio.sleep(asked_s)
        slept_s += time.monotonic()
        recorder.overslept(service.consumes, index, attempt, slept_s - asked_s)
        if fails:
            raise RuntimeError("the scenario lets this attempt fail")
        for event, number in scenario.flow.emitted(name, service.consumes, index):
            await sender.send(event, [sender.message(event, number, intended_s)])

    app = App(name)
    if service.saga is not None:
        declare_saga(app, name, service, runs_acts(scenario, job.seed, name, recorder, orders.now_s))
    else:
        (_handle_events if service.queue is None else _run_tasks)(app, scenario, name, service, recorder, work)
    async with connect(app, job.url, namespace=job.namespace) as bus:
        sender = Sender(bus, recorder, scenario, plan, job.seed, service.emits)
        groups = None if service.queue or service.saga else [name]
        queues, sagas = [name] if service.queue else None, [name] if service.saga else None
        running = bus.running(groups=groups, queues=queues, sagas=sagas, grace_s=LEAVE_S, observe=recorder.observe)
        async with running:
            tell("ready")
            await stopped(orders, recorder)


def _handle_events(app: App, scenario: Scenario, name: str, service: Service, recorder: Recorder, work: Work) -> None:
    """Let the consumers of a service work on its events."""
    app.group(
        name,
        concurrency=service.concurrency,
        prefetch=service.prefetch,
        lease_s=service.lease_s,
        retry_budget=service.retry_budget,
    )

    @app.subscribe(event_classes(scenario)[service.consumes], group=name, retry=service.retry)
    async def handle(event: Event, delivery: Delivery) -> None:
        message = delivery.envelope and numbered(event, delivery.envelope)
        assert message, "what a scenario sends has a number"
        await work(message.index, message.intended_s, delivery.attempt)


def _run_tasks(app: App, scenario: Scenario, name: str, service: Service, recorder: Recorder, work: Work) -> None:
    """Let the consumers of a service that is a task queue work on its tasks."""

    async def run(index: int, intended_s: float, tenant: str) -> None:
        await work(index, intended_s, current_task().attempt)

    set_queue(app, name, service)
    recorder.task = declare_task(app, name, service, run)


async def generate(job: Job, scenario: Scenario, recorder: Recorder, orders: Orders, tell: Tell) -> None:
    """Send each event when it is due, even if events before it are still on their way."""
    event, plan = scenario.offered_load.event, scenario.plan(job.seed)
    due_s: list[float] = plan.arrivals_s.tolist()
    async with connect(App("load"), job.url, namespace=job.namespace) as bus, asyncio.TaskGroup() as publishing:
        sender = Sender(bus, recorder, scenario, plan, job.seed, [event])
        messages = [sender.message(event, index, at_s) for index, at_s in enumerate(due_s)]
        gc.freeze()  # or a full collection walks through all of them, and what is due meanwhile is late
        tell("ready")
        await orders.go.wait()
        sent = 0
        while sent < len(messages):
            due = bisect_right(due_s, orders.now_s(), sent)
            if due > sent:
                publishing.create_task(sender.send(event, messages[sent:due]))
                sent = due
            # Even where the next event is due already, other tasks get their turn in between.
            await asyncio.sleep(max(0.0, due_s[sent] - orders.now_s()) if sent < len(messages) else 0)
        await asyncio.sleep(max(0.0, scenario.offered_load.duration_s - orders.now_s()))
    tell("done")
    await stopped(orders, recorder)
