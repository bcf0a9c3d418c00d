"""What the processes of a live run send each other: each message is an event, and at a task queue a task."""

import secrets
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from types import new_class
from typing import Any, Protocol, Self

from eventlib import App, Event, Rate, Task
from eventlib.events.envelope import Envelope
from eventlib.queueing import PRIORITIES
from eventlib.signals import Reject
from sim.declare.plan import Plan
from sim.declare.scenario import Scenario
from sim.declare.service import Service

MessageTask = Task[[int, float, str], None]  # the message's number, `intended_s` and tenant

_MARK = "workbench"  # the key of our member of the W3C trace state
_DISPATCHES_MAX = 4096  # in one millisecond: more than a server can do


class MessageSent(Event):
    """The event of live runs: its number in the plan, and when the load meant to send the event that set it off."""

    index: int
    intended_s: float


class MessageOfKey(MessageSent):
    """The same where a service keeps the order of each key."""

    key: int


class MessageOfSize(MessageSent):
    """The same where a load says how large its messages are."""

    body: str = ""


class MessageOfKeyAndSize(MessageOfKey, MessageOfSize):
    """Both."""


class Numbered(Protocol):
    """A message, as far as a history needs it: an event that says so itself, or what a mark says of the user's own."""

    @property
    def index(self) -> int: ...

    @property
    def intended_s(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Mark:
    """The number of a message, and when the load meant to send the event that set it off.

    An event of the user's own has no fields for these. It carries them in the trace state of its envelope, which no
    handler needs to know of, and beside whatever else the trace state says.
    """

    index: int
    intended_s: float

    def tracestate(self, others: str | None = None) -> str:
        """The trace state that has this mark. `others` is what it says beside."""
        rest = [one for one in (others or "").split(",") if one.strip() and not one.strip().startswith(f"{_MARK}=")]
        return ",".join((f"{_MARK}={self.index}:{self.intended_s!r}", *rest))

    @classmethod
    def of(cls, envelope: Envelope) -> Self | None:
        """The mark that an event came with. None if it has none."""
        for member in (envelope.tracestate or "").split(","):
            key, _, value = member.strip().partition("=")
            if key == _MARK:
                index, _, intended_s = value.partition(":")
                return cls(int(index), float(intended_s))
        return None


def new_traceparent(cause: str | None = None) -> str:
    """The trace parent of a publish: of the trace that its cause belongs to, or of a new one."""
    trace = cause.split("-")[1] if cause else secrets.token_hex(16)
    return f"00-{trace}-{secrets.token_hex(8)}-01"


def event_classes(scenario: Scenario) -> dict[str, type[Event]]:
    """An event class for each event type of a scenario, each with a stream of its own.

    That of an event of the user's own has no fields: what reads it wants to know its number alone.
    """
    wires = {service.consumes: service.wire for service in scenario.services.values() if service.wire is not None}
    load = scenario.offered_load
    ordered = {service.consumes for service in scenario.services.values() if service.ordered_by is not None}
    classes: dict[str, type[Event]] = {}
    for event in scenario.flow.paths:
        names: dict[str, Any] = {"type": event, "stream": event}
        if wire := wires.get(event):
            names |= {"version": wire.version, "stream": wire.stream}
        of_load = event in load.events
        of_declared = _CLASSES[event in ordered, of_load and load.size_bytes is not None]
        says = partial(_add_fields, load.fields) if of_load and not wire else None
        classes[event] = new_class("MessageSent", (Event if wire else of_declared,), names, says)
    return classes


def _add_fields(fields: Iterable[str], namespace: dict[str, Any]) -> None:
    """Let an event class have these fields. A message that a caller only asks about says nothing."""
    namespace["__annotations__"] = dict.fromkeys(fields, float)
    namespace |= dict.fromkeys(fields, 0.0)


_CLASSES = {  # by whether a service keeps its order, and whether it has a size
    (False, False): MessageSent,
    (True, False): MessageOfKey,
    (False, True): MessageOfSize,
    (True, True): MessageOfKeyAndSize,
}


def payloads_of(plan: Plan) -> Callable[[int], dict[str, Any]]:
    """What a message of the load has beside its number and time, by its number: the fields that it says, and a body."""
    said = {name: numbers.tolist() for name, numbers in plan.fields.items()}
    if plan.size_bytes is None:
        return lambda index: {name: numbers[index] for name, numbers in said.items()}
    sizes, text = plan.size_bytes.tolist(), "x" * int(plan.size_bytes.max(initial=0))
    shared = {size: text[:size] for size in set(sizes)}  # of messages of one size there is one text
    return lambda index: {"body": shared[sizes[index]]} | {name: numbers[index] for name, numbers in said.items()}


def numbered(event: Event, envelope: Envelope) -> Numbered | None:
    """The number of the message that an event is. None if it is none."""
    return event if isinstance(event, MessageSent) else Mark.of(envelope)


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
        timeout_s=service.timeout_s,
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
