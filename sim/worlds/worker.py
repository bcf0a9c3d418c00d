"""What the processes of a live run do: consumers run the real eventlib, the generator sends the load open-loop."""

import asyncio
import gc
import os
import random
import signal
import time
from bisect import bisect_right
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

from eventlib import App, BrokerError, Bus, Delivery, Event, Settings, connect, current_task
from eventlib.reconnect import unless_denied, until_answered
from sim.declare.autoscale import LEAVE_S
from sim.declare.scenario import Scenario
from sim.declare.service import Service
from sim.worlds.batch_work import BatchWork
from sim.worlds.dependencies import DependencyClient
from sim.worlds.messages import declare_task, event_classes, numbered, set_queue
from sim.worlds.recorder import Recorder
from sim.worlds.sagas import declare_saga, runs_acts
from sim.worlds.sender import Sender


@dataclass(frozen=True, slots=True)
class Job:
    """What one process of a run has to do.

    `consumer` is the index of a consumer or caller, -1 for the generator. `t0` is None where it comes later.
    """

    role: Literal["consumer", "generator", "caller", "describer", "proxy", "dependency"]
    scenario: str  # JSON
    seed: int
    url: str
    namespace: str
    records: str
    service: str = ""
    consumer: int = -1
    t0: float | None = None
    listens: str = ""  # the socket of a proxy
    earlier: tuple[str, ...] = ()  # where the processes whose place it takes have written, in their order


class Orders:
    """What the owner of the run tells a process: when time 0 is, in monotonic seconds of the machine; and to stop.

    A proxy is told how the network is to be.
    """

    def __init__(self, t0: float | None) -> None:
        self.t0 = t0
        self.go = asyncio.Event()
        self.stop = asyncio.Event()
        # For a proxy: the fields of each `Network`, and the kind of the row that notes when it is so.
        self.network: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def now_s(self) -> float:
        """Seconds since the load began; minus infinity while time 0 is not known."""
        return time.monotonic() - self.t0 if self.t0 is not None else float("-inf")


Tell = Callable[[str], None]  # called with "ready"; by the generator with "done", before poison kills it with "dies"


async def stopped(orders: Orders, recorder: Recorder) -> None:
    """Wait for the order to stop, or until a row could not be written."""
    stop: asyncio.Future[Any] = asyncio.ensure_future(orders.stop.wait())
    failed: asyncio.Future[Any] = recorder.failed
    await asyncio.wait({stop, failed}, return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()


@asynccontextmanager
async def connected(app: App, job: Job) -> AsyncIterator[Bus]:
    """Connect to the run's server. A process that takes another one's place may come while it is away, and waits."""
    failed = _gives_up if job.t0 is None else unless_denied
    async with AsyncExitStack() as stack:

        async def once() -> Bus:
            return await stack.enter_async_context(connect(app, job.url, namespace=job.namespace, settings=Settings()))

        yield (await until_answered(once, failed, random.Random())).value


def _gives_up(error: BrokerError, _: int) -> float:
    raise error


def die(tell: Tell) -> None:
    """End this process, as a poison message does."""
    tell("dies")
    os.kill(os.getpid(), signal.SIGKILL)


Work = Callable[[int, float, int], Awaitable[None]]  # called with a message's number, `intended_s` and the attempt


async def consume(job: Job, scenario: Scenario, recorder: Recorder, orders: Orders, tell: Tell) -> None:
    """Run the library's handlers for one service whose work is declared."""
    name, service, plan = job.service, scenario.services[job.service], scenario.plan(job.seed)
    service_s: list[float] = plan.service_s[name].tolist()
    calls = [
        (await DependencyClient.connect(job.records, scenario, used, orders.now_s), seconds.tolist())
        for used, seconds in plan.dependency_s[name]
    ]

    async def work(index: int, intended_s: float, attempt: int) -> None:
        now_s = orders.now_s()
        fails = plan.fails(name, index, attempt, now_s)
        asked_s = service_s[index] * plan.slowed(name, now_s)
        slept_s = -time.monotonic()
        await asyncio.sleep(asked_s)
        slept_s += time.monotonic()
        recorder.overslept(service.consumes, index, attempt, slept_s - asked_s)
        for dependency, seconds in calls:
            await dependency.call(seconds[index])
        if plan.kills(name, index):
            die(tell)
        if fails:
            raise RuntimeError("the scenario lets this attempt fail")
        for event, number in plan.emitted(scenario.flow, name, service.consumes, index):
            await sender.send(event, [sender.message(event, number, intended_s)])

    app = App(name)
    if service.saga is not None:
        declare_saga(app, name, service, runs_acts(scenario, job.seed, name, recorder, orders.now_s))
    elif service.batch is not None:
        _set_group(app, name, service)
        batches = BatchWork(
            scenario, plan, name, recorder, orders.now_s, [(one.call, seconds) for one, seconds in calls]
        )

        async def send(event: str, messages: list[tuple[int, float]]) -> None:
            await sender.send(event, [sender.message(event, *message) for message in messages])

        batches.declare(app, lambda: die(tell), send)
    else:
        (_handle_events if service.queue is None else _run_tasks)(app, scenario, name, service, recorder, work)
    async with connected(app, job) as bus:
        sender = Sender(bus, recorder, scenario, plan, job.seed, service.emits)
        groups = None if service.queue or service.saga else [name]
        queues, sagas = [name] if service.queue else None, [name] if service.saga else None
        running = bus.running(groups=groups, queues=queues, sagas=sagas, grace_s=LEAVE_S, observe=recorder.observe)
        async with running:
            tell("ready")
            await stopped(orders, recorder)
    for dependency, _ in calls:
        dependency.close()


def _handle_events(app: App, scenario: Scenario, name: str, service: Service, recorder: Recorder, work: Work) -> None:
    """Let the consumers of a service work on its events."""
    _set_group(app, name, service)

    @app.subscribe(
        event_classes(scenario)[service.consumes], group=name, retry=service.retry, timeout_s=service.timeout_s
    )
    async def handle(event: Event, delivery: Delivery) -> None:
        message = delivery.envelope and numbered(event, delivery.envelope)
        assert message, "what a scenario sends has a number"
        await work(message.index, message.intended_s, delivery.attempt)


def _set_group(app: App, name: str, service: Service) -> None:
    app.group(
        name,
        concurrency=service.concurrency,
        prefetch=service.prefetch,
        lease_s=service.lease_s,
        retry_budget=service.retry_budget,
        ordered_by="key" if service.ordered_by is not None else None,
        circuit_breaker=service.circuit_breaker,
    )


def _run_tasks(app: App, scenario: Scenario, name: str, service: Service, recorder: Recorder, work: Work) -> None:
    """Let the consumers of a service that is a task queue work on its tasks."""

    async def run(index: int, intended_s: float, tenant: str) -> None:
        await work(index, intended_s, current_task().attempt)

    set_queue(app, name, service)
    recorder.task = declare_task(app, name, service, run)


async def generate(job: Job, scenario: Scenario, recorder: Recorder, orders: Orders, tell: Tell) -> None:
    """Send each event when it is due, even if events before it are still on their way.

    What is not sent when the run is over is noted: it is skipped, not shifted.
    """
    load, plan = scenario.offered_load, scenario.plan(job.seed)
    intended_s, due_s, events = plan.arrivals_s.tolist(), plan.due_s.tolist(), list(load.events)
    held_s = (plan.due_s - plan.arrivals_s).tolist() if load.collects else []
    of_messages = [events[0]] * len(due_s) if plan.sent_events is None else [events[one] for one in plan.sent_events]
    async with (
        connect(App("load"), job.url, namespace=job.namespace, settings=Settings()) as bus,
        asyncio.TaskGroup() as publishing,
    ):
        sender = Sender(bus, recorder, scenario, plan, job.seed, events)
        numbers = zip(of_messages, range(len(due_s)), intended_s, strict=True)
        messages = [sender.message(*one) for one in numbers]
        gc.freeze()  # or a full collection walks through all of them, and what is due meanwhile is late
        tell("ready")
        await orders.go.wait()
        sent = 0
        while sent < len(messages) and not orders.stop.is_set():
            due = bisect_right(due_s, orders.now_s(), sent)
            if due > sent:
                for event in dict.fromkeys(of_messages[sent:due]):
                    own = [index for index in range(sent, due) if of_messages[index] == event]
                    held = [held_s[index] for index in own] if held_s else []
                    publishing.create_task(sender.send(event, [messages[index] for index in own], held))
                sent = due
            # Even where the next event is due already, other tasks get their turn in between.
            await asyncio.sleep(max(0.0, due_s[sent] - orders.now_s()) if sent < len(messages) else 0)
        for event, message in zip(of_messages[sent:], messages[sent:], strict=True):
            recorder.add("skipped", event, message)
        await asyncio.sleep(max(0.0, load.duration_s - orders.now_s()))
    tell("done")
    await stopped(orders, recorder)
