"""What a consumer process of a live run does where the handlers are the user's own: they run, and are watched.

How long they hold the loop and what they publish is noted. Nothing of their code is changed: a handler is called with
its event and a delivery, whose bus notes what is published.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from math import inf
from typing import Any

from eventlib import App, Delivery, Event
from eventlib.declare.subscriptions import Subscription
from eventlib.delivery import Publishing
from eventlib.events.schema import spec_of
from eventlib.policy import cause_of
from eventlib.signals import RetryAfter, Snooze
from sim.declare.autoscale import LEAVE_S
from sim.declare.scenario import Scenario
from sim.errors import LiveRunFailed
from sim.evidence.history import BLOCKED_S
from sim.worlds.importing import app_of, subscription_of
from sim.worlds.messages import Mark, Numbered, new_traceparent, numbered
from sim.worlds.metering import HandlerTasks, Meter, metered
from sim.worlds.recorder import Recorder
from sim.worlds.worker import Job, Orders, Tell, connected, stopped

_STOLEN_MIN_S = 0.0001  # less is what it takes to look at two clocks

Handler = Callable[[Event, Delivery], Coroutine[Any, Any, None]]


async def consume_own(job: Job, scenario: Scenario, recorder: Recorder, orders: Orders, tell: Tell) -> None:
    """Run the handlers of a service's App until the order to stop; then end the process, whatever they left running."""
    name, service = job.service, scenario.services[job.service]
    app, _ = app_of(name, service)
    subscription = subscription_of(name, service, app)
    tasks = HandlerTasks()
    asyncio.get_running_loop().set_task_factory(tasks)
    watched = _watched(subscription, scenario, name, recorder)
    group = service.group or name
    async with (
        connected(_with(app, group, watched), job) as bus,
        bus.running(groups=[group], grace_s=LEAVE_S, observe=recorder.observe),
    ):
        tell("ready")
        await stopped(orders, recorder)
    if leaked := tasks.left():
        recorder.add("leaked", service.consumes, Mark(-1, float("nan")), value=float(leaked))
    recorder.check()
    os._exit(0)  # tasks and threads that the handlers have left would hold it up


def _with(app: App, group: str, subscription: Subscription) -> App:
    """The App with this group alone, and with this handler in it."""
    groups = {group: app.groups[group]} if group in app.groups else {}
    return replace(app, groups=groups, subscriptions=[subscription])


def _watched(subscription: Subscription, scenario: Scenario, name: str, recorder: Recorder) -> Subscription:
    """The same subscription; its handler is called in the same way, and watched."""
    handler: Any = subscription.handler
    consumes = scenario.services[name].consumes

    async def handle(event: Event, delivery: Delivery) -> None:
        sent = delivery.envelope and numbered(event, delivery.envelope)
        if not sent:  # an event that something else has published there
            await handler(event, delivery)
            return
        delivery.bus = WatchedBus(delivery, scenario, name, sent, recorder)
        meter = Meter()
        try:
            await metered(handler(event, delivery), meter)
        except SystemExit:
            recorder.add("exited", consumes, sent, delivery.attempt)
            raise
        except Exception as error:
            match cause_of(error):
                case Snooze(delay_s=delay_s):
                    recorder.add("snoozed", consumes, sent, delivery.attempt, delay_s)
                case RetryAfter(delay_s=delay_s):
                    recorder.add("put_off", consumes, sent, delivery.attempt, delay_s)
            raise
        finally:
            recorder.held_s[delivery] = meter.held_s if meter.steps > 1 else inf  # it never gave the loop back
            if meter.stolen_s >= _STOLEN_MIN_S:
                recorder.add("stolen", consumes, sent, delivery.attempt, meter.stolen_s)
            if meter.longest_s >= BLOCKED_S:
                recorder.add("blocked", consumes, sent, delivery.attempt, meter.longest_s)

    return replace(subscription, handler=handle)


class WatchedBus:
    """The bus that a handler publishes by. What services of the scenario consume gets a number, and is noted."""

    def __init__(self, delivery: Delivery, scenario: Scenario, name: str, cause: Numbered, recorder: Recorder) -> None:
        self._bus: Publishing = delivery.bus
        self._trace = (
            (delivery.envelope.traceparent, delivery.envelope.tracestate) if delivery.envelope else (None, None)
        )
        self._flow = scenario.flow
        self._name = name
        self._consumes = scenario.services[name].consumes
        self._emitted = {one.event: one for one in scenario.flow.emitted_by[name]}
        self._cause = cause
        self._recorder = recorder
        self._published: Counter[str] = Counter()

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._bus, attribute)

    async def publish(self, event: Event, **options: Any) -> str:
        """As `Bus.publish`."""
        type_ = spec_of(type(event)).type
        if type_ not in self._flow.paths:
            return await self._bus.publish(event, **options)
        message = self._number(type_)
        if options.get("traceparent") is None:
            options |= {"traceparent": new_traceparent(self._trace[0]), "tracestate": self._trace[1]}
        options["tracestate"] = message.tracestate(options.get("tracestate"))
        self._recorder.add("sent", type_, message)
        id_ = await self._bus.publish(event, **options)
        self._recorder.add("published", type_, message)
        return id_

    async def publish_many(
        self, events: Sequence[Event], *, ids: Sequence[str] | None = None, **options: Any
    ) -> list[str]:
        """As `Bus.publish_many`. Each event has a number, so each is published by itself, in the same round trip."""
        if not any(spec_of(type(event)).type in self._flow.paths for event in events):
            return await self._bus.publish_many(events, ids=ids, **options)
        own_ids: Sequence[str | None] = ids or [None] * len(events)
        each = [self.publish(event, id=id_, **options) for event, id_ in zip(events, own_ids, strict=True)]
        return list(await asyncio.gather(*each))

    def _number(self, type_: str) -> Mark:
        emitted, place = self._emitted.get(type_), self._published[type_]
        self._published[type_] += 1
        if emitted is None:
            problem = (
                f"its handlers publish {type_!r}, which the load, a declared service or a service before it sends or "
                "consumes; list the services in the order in which events flow, without loops"
            )
        elif place >= emitted.slots:
            problem = f"its handlers publish over {emitted.slots} {type_!r} for one message; that many are numbered"
        else:
            number = self._flow.number(emitted, self._consumes, self._cause.index, place)
            return Mark(number, self._cause.intended_s)
        error = LiveRunFailed(f"services.{self._name}", problem)
        self._recorder.fail(error)
        raise error
