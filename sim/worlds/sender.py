"""Sends the messages of a live run to all services that consume them: by a stream, by a task queue, or as sagas.

Handlers of the user's own get events of their own type: each has a payload, and a mark that says which message it is.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, cast

from eventlib import Bus, Event
from eventlib.queueing import PRIORITIES
from sim.declare.plan import Plan
from sim.declare.scenario import Scenario
from sim.declare.task_queue import Labels, TaskQueue
from sim.worlds.messages import (
    Mark,
    MessageSent,
    MessageTask,
    Numbered,
    declare_task,
    event_classes,
    new_traceparent,
    payloads_of,
)
from sim.worlds.payloads import Payload, payload_of
from sim.worlds.recorder import Recorder
from sim.worlds.sagas import Starter, declare_saga

_UNHELD = float("nan")


@dataclass(frozen=True, slots=True)
class _OwnMessage:
    """A message that is an event of the user's own."""

    index: int
    intended_s: float
    event: Event


class Sender:
    """Sends messages of these event types, and notes when they are sent and when the server has them.

    Raises:
        InvalidScenario: the user's own events cannot be made.
    """

    def __init__(
        self, bus: Bus, recorder: Recorder, scenario: Scenario, plan: Plan, seed: int, events: Sequence[str]
    ) -> None:
        self._bus = bus
        self._recorder = recorder
        self._classes = {event: of_event for event, of_event in event_classes(scenario).items() if event in events}
        self._payloads: dict[str, Payload] = {}
        self._keys: dict[str, list[int]] = {}  # of the events that a service keeps in order
        self._bodies = {event: payloads_of(plan) for event in scenario.offered_load.events if event in events}
        self._streams: set[str] = set()  # the events that are published
        self._queues: dict[str, list[_Enqueuer | Starter]] = {event: [] for event in self._classes}
        for event in self._classes:
            if (payload := payload_of(scenario, event, seed, plan.fields)) is not None:
                self._payloads[event] = payload
            consumers = scenario.flow.consumers.get(event, [])
            for name in consumers:
                service = scenario.services[name]
                if service.ordered_by is not None:
                    self._keys[event] = plan.keys[name].tolist()
                if service.queue is not None:
                    task = bus.app.tasks.get(name) or declare_task(bus.app, name, service)
                    self._queues[event].append(_Enqueuer(bus, task, service.queue, plan.labels[name]))
                elif service.saga is not None:
                    declared = bus.app.sagas.get((name, 1)) or declare_saga(bus.app, name, service)
                    self._queues[event].append(Starter(bus, declared))
            if len(self._queues[event]) < len(consumers) or not consumers:
                self._streams.add(event)

    def message(self, event: str, index: int, intended_s: float) -> Numbered:
        """A message of an event type, by its number.

        Raises:
            InvalidScenario: the user's own event cannot be made.
        """
        if (payload := self._payloads.get(event)) is not None:
            return _OwnMessage(index, intended_s, payload(index))
        fields: dict[str, Any] = self._bodies[event](index) if event in self._bodies else {}
        if (keys := self._keys.get(event)) is not None:
            fields["key"] = keys[index]
        return cast(type[MessageSent], self._classes[event])(index=index, intended_s=intended_s, **fields)

    async def send(self, event: str, messages: Sequence[Numbered], held_s: Sequence[float] = ()) -> None:
        """Send messages of one event type, and return when the server has them.

        `held_s` says for how long a client that sends in batches has held each, if it has.

        Raises:
            LiveRunFailed: a row could not be written.
            EventlibError: as `Bus.publish_many`, `Bus.enqueue` and `Bus.start` do.
        """
        for message, of_message_s in zip(messages, held_s or repeat(_UNHELD), strict=False):
            self._recorder.add("sent", event, message, value=of_message_s)
        sending: list[Awaitable[object]] = self._publishes(event, messages) if event in self._streams else []
        sending += [queue.enqueue(messages) for queue in self._queues[event]]
        if len(sending) == 1:
            await sending[0]
        else:
            await asyncio.gather(*sending)
        for message in messages:
            self._recorder.add("published", event, message)

    def _publishes(self, event: str, messages: Sequence[Numbered]) -> list[Awaitable[object]]:
        if event not in self._payloads:
            return [self._bus.publish_many(cast(Sequence[MessageSent], messages))]
        return [  # each has a trace state of its own; what is published in one turn of the loop is sent together
            self._bus.publish(
                message.event,
                traceparent=new_traceparent(),
                tracestate=Mark(message.index, message.intended_s).tracestate(),
            )
            for message in cast(Sequence[_OwnMessage], messages)
        ]


class _Enqueuer:
    """Enqueues the messages of one service that is a task queue."""

    def __init__(self, bus: Bus, task: MessageTask, queue: TaskQueue, labels: Labels) -> None:
        self._bus = bus
        self._task = task
        self._priorities: list[int] = labels.priority.tolist()
        self._tenants = [queue.tenant_at(place) for place in labels.tenant.tolist()]
        self._turn = asyncio.Lock()  # calls under way at the same time may overtake each other

    async def enqueue(self, messages: Sequence[Numbered]) -> None:
        """Enqueue messages behind those of earlier calls: with a call for each priority."""
        by_priority: dict[int, list[Numbered]] = {}
        for message in messages:
            by_priority.setdefault(self._priorities[message.index], []).append(message)
        async with self._turn:
            await asyncio.gather(*(self._enqueue(*part) for part in by_priority.items()))

    async def _enqueue(self, priority: int, messages: Sequence[Numbered]) -> None:
        calls = [self._task.call(one.index, one.intended_s, self._tenants[one.index]) for one in messages]
        await self._bus.tasks.enqueue_many(calls, priority=PRIORITIES[priority])
