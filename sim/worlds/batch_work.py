"""What a batch handler of a live run does: it takes the time of a call. Then each message fails, or is sent on."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from eventlib import App, Batch, Delivery
from sim.declare.plan import Plan
from sim.declare.scenario import Scenario
from sim.worlds.messages import Numbered, event_classes, numbered
from sim.worlds.recorder import Recorder

Call = tuple[Callable[[float], Awaitable[None]], Sequence[float]]  # of a dependency; what it takes, by message
Send = Callable[[str, list[tuple[int, float]]], Awaitable[None]]  # an event type; numbers and `intended_s` of events


class BatchWork:
    """The work of a service whose handlers take batches."""

    def __init__(
        self,
        scenario: Scenario,
        plan: Plan,
        name: str,
        recorder: Recorder,
        now_s: Callable[[], float],
        calls: Sequence[Call],
    ) -> None:
        self._scenario = scenario
        self._service = scenario.services[name]
        self._plan = plan
        self._name = name
        self._recorder = recorder
        self._now_s = now_s
        self._calls = calls

    def declare(self, app: App, die: Callable[[], None], send: Send) -> None:
        """Declare the handler. `die` ends the process, and `send` sends events on."""
        service, batching = self._service, self._service.batch
        assert batching is not None, "a service without batches has another handler"

        @app.subscribe_batch(
            event_classes(self._scenario)[service.consumes],
            group=self._name,
            size=batching.size,
            wait_s=batching.wait_s,
            retry=service.retry,
            timeout_s=service.timeout_s,
        )
        async def handle(batch: Batch[Any]) -> None:
            messages = [(_message(delivery), delivery) for delivery in batch.deliveries]
            (first, of_first), plan, name = messages[0], self._plan, self._name
            self._recorder.add("batch", service.consumes, first, of_first.attempt, float(len(messages)))
            now_s = self._now_s()
            fails = [plan.fails(name, message.index, one.attempt, now_s) for message, one in messages]
            own_s = plan.service_s[name].item(first.index) + len(messages) * batching.per_message_s
            await self._sleep(own_s * plan.slowed(name, now_s), messages)
            for call, seconds in self._calls:
                await call(seconds[first.index])
            if any(plan.kills(name, message.index) for message, _ in messages):
                die()
            sent: dict[str, list[tuple[int, float]]] = {}
            for (message, delivery), failed in zip(messages, fails, strict=True):
                if failed:
                    batch.fail(delivery, RuntimeError("the scenario lets this attempt fail"))
                    continue
                for event, number in plan.emitted(self._scenario.flow, name, service.consumes, message.index):
                    sent.setdefault(event, []).append((number, message.intended_s))
            for event, numbers in sent.items():
                await send(event, numbers)

    async def _sleep(self, asked_s: float, messages: Sequence[tuple[Numbered, Delivery]]) -> None:
        slept_s = -time.monotonic()
        await asyncio.sleep(asked_s)
        slept_s += time.monotonic()
        for message, delivery in messages:
            self._recorder.overslept(self._service.consumes, message.index, delivery.attempt, slept_s - asked_s)


def _message(delivery: Delivery) -> Numbered:
    message = delivery.envelope and numbered(delivery.envelope.event, delivery.envelope)
    assert message, "what a scenario sends has a number"
    return message
