"""Autoscaling in virtual time: consumers are started and stopped as the rule of their service decides."""

from collections.abc import Callable, Generator, MutableMapping
from math import inf
from typing import Any

import simpy

from sim.declare.autoscale import Autoscaler, moves
from sim.evidence.history import KIND
from sim.worlds.simulated.callers import Caller
from sim.worlds.simulated.consumer import Consumer
from sim.worlds.simulated.group import Group
from sim.worlds.simulated.noting import NAN
from sim.worlds.simulated.run_state import RunState


class Scaling:
    """How many consumers each service is to have; those that run are in `consumers`, by service and index."""

    def __init__(self, state: RunState, consumers: MutableMapping[tuple[str, int], Consumer | Caller]) -> None:
        self._wanted = state.wanted
        self._state = state
        self._consumers = consumers

    def may_start(self, service: str, index: int) -> bool:
        """Whether a consumer, or caller, of this index is to run and does not."""
        there = self._consumers.get((service, index))
        leaving = isinstance(there, Consumer) and there.leaving
        return (there is None or there.killed or leaving) and index < self._wanted.get(service, index + 1)

    def scale(
        self, group: Group, start: Callable[[str, int], None], sees_backlogs: Callable[[], bool]
    ) -> Generator[simpy.Event, Any, None]:
        """Scale a service that has a rule. What cannot be seen is not acted on."""
        rule, name, env = group.service.autoscale, group.name, self._state.env
        assert rule is not None, "a service without a rule is not scaled"
        scaler, present, looks = Autoscaler(rule, self._wanted[name], env.now), set(range(self._wanted[name])), 0
        self._note("scaled", group, -1, self._wanted[name])
        while True:
            looks += 1
            due_s = looks * rule.every_s
            yield env.timeout(due_s - env.now)
            if not sees_backlogs():
                continue
            wanted = scaler.decide(float(group.backlog), self._wanted[name], due_s)
            if wanted != self._wanted[name]:
                self._wanted[name] = wanted
                self._note("scaled", group, -1, wanted)
            if any(fault.takes_out(name, env.now) for fault in self._state.scenario.faults):
                continue
            to_start, to_stop = moves(present, wanted)
            for index, one_s in zip(to_start, self._state.starts_s(name, len(to_start)), strict=True):
                self._start_later(name, index, start, one_s)
            for index in to_stop:
                self._stop(group, index)
            present = set(range(wanted))

    def _start_later(self, service: str, index: int, start: Callable[[str, int], None], takes_s: float) -> None:
        env = self._state.env

        def begin(_: simpy.Event) -> None:
            out = [fault.until_s for fault in self._state.scenario.faults if fault.takes_out(service, env.now)]
            if out:  # it was met while it started, and is back with the others
                if max(out) < inf:
                    self._start_later(service, index, start, max(out) - env.now + takes_s)
            elif self.may_start(service, index):
                start(service, index)

        started = env.timeout(takes_s)
        started.callbacks.append(begin)

    def _stop(self, group: Group, index: int) -> None:
        consumer = self._consumers.get((group.name, index))
        if isinstance(consumer, Consumer) and not consumer.killed:
            consumer.leave(lambda: self._note("left", group, index))

    def _note(self, kind: str, group: Group, consumer: int, value: float = NAN) -> None:
        self._state.rows.append((self._state.env.now, KIND[kind], group.code, consumer, -1, -1, 0, NAN, value))
