"""Sends the messages of a live run to all services that consume them: by a stream, by a task queue, or as sagas."""

import asyncio
from collections.abc import Awaitable, Sequence

from eventlib import Bus
from eventlib.queueing import PRIORITIES
from sim.declare.plan import Plan
from sim.declare.scenario import Scenario
from sim.declare.task_queue import Labels, TaskQueue
from sim.worlds.messages import MessageSent, MessageTask, declare_task, event_classes
from sim.worlds.recorder import Recorder
from sim.worlds.sagas import Starter, declare_saga


class Sender:
    """Sends messages, and notes when they are sent and when the server has them."""

    def __init__(self, bus: Bus, recorder: Recorder, scenario: Scenario, plan: Plan) -> None:
        self._bus = bus
        self._recorder = recorder
        self._classes = event_classes(scenario)
        self._streams: set[str] = set()  # the events that are published
        self._queues: dict[str, list[_Enqueuer | Starter]] = {event: [] for event in self._classes}
        for event in self._classes:
            consumers = scenario.flow.consumers.get(event, [])
            for name in consumers:
                service = scenario.services[name]
                if service.queue is not None:
                    task = bus.app.tasks.get(name) or declare_task(bus.app, name, service)
                    self._queues[event].append(_Enqueuer(bus, task, service.queue, plan.labels[name]))
                elif service.saga is not None:
                    declared = bus.app.sagas.get((name, 1)) or declare_saga(bus.app, name, service)
                    self._queues[event].append(Starter(bus, declared))
            if len(self._queues[event]) < len(consumers) or not consumers:
                self._streams.add(event)

    def message(self, event: str, index: int, intended_s: float) -> MessageSent:
        """A message of an event type, by its number."""
        return self._classes[event](index=index, intended_s=intended_s)

    async def send(self, event: str, messages: Sequence[MessageSent]) -> None:
        """Send messages of one event type, and return when the server has them.

        Raises:
            LiveRunFailed: a row could not be written.
            EventlibError: as `Bus.publish_many`, `Bus.enqueue` and `Bus.start` do.
        """
        for message in messages:
            self._recorder.add("sent", event, message)
        sending: list[Awaitable[object]] = [self._bus.publish_many(messages)] if event in self._streams else []
        sending += [queue.enqueue(messages) for queue in self._queues[event]]
        if len(sending) == 1:
            await sending[0]
        else:
            await asyncio.gather(*sending)
        for message in messages:
            self._recorder.add("published", event, message)


class _Enqueuer:
    """Enqueues the messages of one service that is a task queue."""

    def __init__(self, bus: Bus, task: MessageTask, queue: TaskQueue, labels: Labels) -> None:
        self._bus = bus
        self._task = task
        self._priorities: list[int] = labels.priority.tolist()
        self._tenants = [queue.tenant_at(place) for place in labels.tenant.tolist()]
        self._turn = asyncio.Lock()  # calls under way at the same time may overtake each other

    async def enqueue(self, messages: Sequence[MessageSent]) -> None:
        """Enqueue messages behind those of earlier calls: with a call for each priority."""
        by_priority: dict[int, list[MessageSent]] = {}
        for message in messages:
            by_priority.setdefault(self._priorities[message.index], []).append(message)
        async with self._turn:
            await asyncio.gather(*(self._enqueue(*part) for part in by_priority.items()))

    async def _enqueue(self, priority: int, messages: Sequence[MessageSent]) -> None:
        calls = [self._task.call(one.index, one.intended_s, self._tenants[one.index]) for one in messages]
        await self._bus.tasks.enqueue_many(calls, priority=PRIORITIES[priority])
