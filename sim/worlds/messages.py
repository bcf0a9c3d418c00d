"""What the processes of a live run send each other: each message is an event, and at a task queue a task."""

from collections.abc import Awaitable, Callable
from types import new_class
from typing import cast

from eventlib import App, Event, Rate, Task
from eventlib.errors import Reject
from eventlib.queueing import PRIORITIES
from sim.declare.scenario import Scenario
from sim.declare.service import Service

MessageTask = Task[[int, float, str], None]  # the message's number, `intended_s` and tenant

_DISPATCHES_MAX = 4096  # in one millisecond: more than a server can do


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


async def _run_elsewhere(index: int, intended_s: float, tenant: str) -> None:
    """What a task does in a process that only enqueues it."""
    raise Reject("no worker of this queue runs here")


def declare_task(
    app: App, name: str, service: Service, function: Callable[[int, float, str], Awaitable[None]] = _run_elsewhere
) -> MessageTask:
    """Declare what a message is at a service that is a task queue. Queue and task have the service's name."""
    assert service.queue is not None
    queue = service.queue
    return app.task(
        name=name,
        queue=name,
        retry=service.retry,
        fair_by="tenant" if queue.takes_turns_by_tenant else None,
        limit=queue.limit,
        limit_by="tenant" if queue.limit_per_tenant is not None else None,
        limit_per_key=queue.limit_per_tenant,
        rate=Rate(queue.rate.starts, queue.rate.per_s) if queue.rate else None,
    )(function)


def set_queue(app: App, name: str, service: Service) -> None:
    """Set how the workers of a task queue work."""
    assert service.queue is not None
    app.queue(
        name,
        concurrency=service.concurrency,
        prefetch=service.prefetch,
        lease_s=service.lease_s,
        retry_budget=service.retry_budget,
        weights=dict(zip(PRIORITIES, service.queue.weights.in_order(), strict=True)),
        fair_weights=service.queue.fair_weights,
    )


def message_of(task: MessageTask, event: Event) -> MessageSent:
    """The message that a task was enqueued for."""
    given = task.arguments_of(event)
    return MessageSent(index=given["index"], intended_s=given["intended_s"])


def dispatch_number(entry_id: str) -> float:
    """A number that is higher for each later dispatch of a queue, by the id that the server gave the task's entry."""
    milliseconds, _, number = entry_id.partition("-")
    return float(int(milliseconds) * _DISPATCHES_MAX + int(number))
