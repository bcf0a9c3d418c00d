"""What all parts of one simulated run share: virtual time, the plan, the rows written, and when the run is over."""

import random
from collections.abc import Callable
from typing import Protocol

import simpy

from sim.declare.plan import Plan
from sim.declare.scenario import Scenario
from sim.evidence.history import KIND
from sim.worlds.simulated.dependencies import Dependency
from sim.worlds.simulated.link import Link
from sim.worlds.simulated.machine import Machine
from sim.worlds.simulated.noting import NAN, Noted
from sim.worlds.simulated.sending import Sent

_SENT, _PUBLISHED = KIND["sent"], KIND["published"]


class Message:
    """One message at one service. The number of an attempt is `used + deliveries`, as in the library."""

    __slots__ = ("deliveries", "dispatch", "index", "intended_s", "read_at", "retried", "snoozed", "used")

    def __init__(self, index: int, intended_s: float) -> None:
        self.index = index
        self.intended_s = intended_s
        self.retried = False
        self.used = 0
        self.snoozed = 0
        self.deliveries = 1
        self.read_at = 0.0
        self.dispatch = NAN  # of a task: its number among the dispatches of its queue


class Subscriber(Protocol):
    """A service that gets every message of an event type; or the callers, who hear it."""

    def push(self, message: Message) -> None: ...


class RunState:
    """One run as far as it has come."""

    def __init__(self, scenario: Scenario, plan: Plan, machine: Machine, rng: random.Random, rows: Noted) -> None:
        self.scenario = scenario
        self.plan = plan
        self.machine = machine
        self.append_late_s = 0.0  # how much later than now the server gets to the event that is published now
        self.rng = rng
        self.env = simpy.Environment()
        self.link = Link(self.env, rng)
        self.rows = rows
        self.event_codes = {event: code for code, event in enumerate(scenario.flow.paths)}
        self.subscribers: dict[str, list[Subscriber]] = {event: [] for event in scenario.flow.paths}
        self.finished = self.env.event()
        # How many consumers each service is to have now.
        self.wanted = {name: service.consumers_first for name, service in scenario.services.items()}
        self.dependencies = {name: Dependency(self.env, one.capacity) for name, one in scenario.dependencies.items()}
        self.let_die: Callable[[str, int], None] = _leave_alive  # called where poison kills a consumer of a service
        self._bodies: list[int] | None = plan.size_bytes.tolist() if plan.size_bytes is not None else None
        self._sending = True
        self._to_settle = 0

    def body(self, index: int) -> float:
        """How many bytes the body of a message of the load has."""
        return self._bodies[index] if self._bodies is not None else 0.0

    def bodies_of(self, event: str) -> Callable[[list[Message]], float]:
        """How many bytes the bodies of messages of an event type have: those of the load alone have one."""
        bodies, paths = self._bodies, self.scenario.flow.paths[event]
        if bodies is None or event not in self.scenario.offered_load.events:
            return lambda messages: 0.0
        return lambda messages: sum(bodies[message.index // paths] for message in messages)

    def publish(
        self,
        event: str,
        index: int,
        intended_s: float,
        sent: Sent,
        service: int,
        consumer: int,
        held_s: float = NAN,
    ) -> None:
        """The server has a message now: every service that consumes it will get it."""
        code = self.event_codes[event]
        self.rows.append((sent.sent_s, _SENT, service, consumer, code, index, 0, intended_s, held_s))
        self.rows.append((sent.published_s, _PUBLISHED, service, consumer, code, index, 0, intended_s, NAN))
        self.append(event, index, intended_s, sent)

    def append(self, event: str, index: int, intended_s: float, by: object) -> None:
        """Let the stream have a message, which this call of a process adds."""
        if not self.machine.instant:
            self.append_late_s = self.machine.server.late_s(self.env.now, by)
        for subscriber in self.subscribers[event]:
            subscriber.push(Message(index, intended_s))

    def starts_s(self, service: str, many: int) -> list[float]:
        """How long each of so many processes of a service, or of callers, takes to start that begin to start now."""
        declared = self.scenario.services.get(service)
        own = declared.own if declared is not None else None
        return self.machine.starts_s(self.env.now, many, own.import_s if own is not None else 0.0)

    def open(self) -> None:
        """Something is to be settled before the run may end: a message at one service, or a caller's wait."""
        self._to_settle += 1

    def settle(self) -> None:
        """It is settled. The run ends with the last one, once the load is sent."""
        self._to_settle -= 1
        if not self._to_settle:
            self._end_if_settled()

    def end_load(self) -> None:
        """All of the load is sent."""
        self._sending = False
        self._end_if_settled()

    def _end_if_settled(self) -> None:
        if not self._to_settle and not self._sending and not self.finished.triggered:
            self.finished.succeed()


def _leave_alive(service: str, consumer: int) -> None:
    raise AssertionError("only a world knows its consumers")
