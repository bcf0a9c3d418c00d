"""What a consumer process of a live run does where the handlers are the user's own: they run, and are watched.

How long they hold the loop and what they publish is noted. Nothing of their code is changed: a handler is called with
its event and a delivery, whose bus notes what is published.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from math import inf, nan
from typing import Any

from eventlib import App, Batch, Delivery, Event
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
    watch = _Watch(scenario, name, recorder)

    async def handle(event: Event, delivery: Delivery) -> None:
        await watch.call(handler(event, delivery), [delivery], lambda _: None)

    async def handle_batch(batch: Batch[Any]) -> None:
        await watch.call(handler(batch), batch.deliveries, batch.error_of)

    return replace(subscription, handler=handle if subscription.batch is None else handle_batch)


class _Watch:
    """Watches the calls of the handlers of a service."""

    def __init__(self, scenario: Scenario, name: str, recorder: Recorder) -> None:
        self._scenario = scenario
        self._name = name
        self._recorder = recorder
        self._consumes = scenario.services[name].consumes
        self._in_batches = scenario.services[name].batch is not None

    async def call(
        self,
        called: Coroutine[Any, Any, None],
        deliveries: Sequence[Delivery],
        error_of: Callable[[Delivery], BaseException | None],
    ) -> None:
        """Run a call of a handler, with these deliveries. `error_of` says afterwards which of them failed alone."""
        there = [(one, sent) for one in deliveries if (sent := _number_of(one))]
        if not there:  # events that something else has published there
            await called
            return
        for delivery, sent in there:
            delivery.bus = WatchedBus(delivery, self._scenario, self._name, sent, self._recorder)
        if self._in_batches:
            self._note("batch", there[0], float(len(there)))
        meter = Meter()
        try:
            await metered(called, meter)
        except SystemExit:
            self._note("exited", there[0])
            raise
        except Exception as error:
            for one in there:
                self._note_wait(one, error)
            raise
        else:
            for one in there:
                if (failed := error_of(one[0])) is not None:
                    self._note_wait(one, failed)
        finally:
            for delivery, _ in there:
                # Infinite: it never gave the loop back.
                self._recorder.held_s[delivery] = meter.held_s if meter.steps > 1 else inf
            if meter.stolen_s >= _STOLEN_MIN_S:
                self._note("stolen", there[0], meter.stolen_s)
            if meter.longest_s >= BLOCKED_S:
                self._note("blocked", there[0], meter.longest_s)

    def _note_wait(self, one: tuple[Delivery, Numbered], error: BaseException) -> None:
        """Note the wait that a handler asks for, if its error is such a wish."""
        match cause_of(error):
            case Snooze(delay_s=delay_s):
                self._note("snoozed", one, delay_s)
            case RetryAfter(delay_s=delay_s):
                self._note("put_off", one, delay_s)

    def _note(self, kind: str, one: tuple[Delivery, Numbered], value: float = nan) -> None:
        delivery, sent = one
        self._recorder.add(kind, self._consumes, sent, delivery.attempt, value)


def _number_of(delivery: Delivery) -> Numbered | None:
    return numbered(delivery.envelope.event, delivery.envelope) if delivery.envelope else None


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
