"""simulate(), and the world of one run: its load, its groups and consumers, its faults and its samples."""

import random
from collections.abc import Generator, Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import simpy

from sim.calibration import Calibration
from sim.declare.callers import CALLERS
from sim.declare.faults.worlds import Injection, Network
from sim.declare.order import run_order
from sim.declare.plan import Plan
from sim.declare.scenario import Progress, Scenario
from sim.declare.service import Service
from sim.errors import InvalidScenario
from sim.evidence.history import KIND, History, Left, Rows, Run
from sim.worlds.simulated.callers import Caller, Callers
from sim.worlds.simulated.calm import CalmRun, is_calm
from sim.worlds.simulated.consumer import Consumer
from sim.worlds.simulated.group import Group
from sim.worlds.simulated.machine import Machine
from sim.worlds.simulated.noting import NAN, Noted, note_unsent
from sim.worlds.simulated.ordered_group import OrderedGroup
from sim.worlds.simulated.queue_group import QueueGroup
from sim.worlds.simulated.run_state import RunState
from sim.worlds.simulated.saga_group import SagaGroup
from sim.worlds.simulated.scaling import Scaling
from sim.worlds.simulated.sending import Sending, Upcoming


def simulate(
    scenario: Scenario,
    seeds: Iterable[int],
    *,
    repeats: int = 1,
    calibration: Calibration | None = None,
    progress: Progress | None = None,
) -> History:
    """Run the scenario in virtual time, `repeats` times for each seed.

    Repeats of one seed have the same arrivals, service times and failures, as in `run_live`. They differ in the jitter
    of retries and sweeps and in what the machine adds: each repeat after the first takes the calibration as it might
    have been measured too (`Calibration.resampled`). Without a calibration, the machine is infinitely fast. The same
    scenario, seeds and calibration give the same rows on every machine. `progress` is called after each run.

    Raises:
        InvalidTrace: the load's trace is missing or broken.
        InvalidScenario: no seeds or repeats, or too many rows would be recorded, or own handlers are not learned.
    """
    refuse_unlearned(scenario)
    order = run_order(seeds, repeats)
    about = calibration.about() if calibration is not None else {}
    scenario.check_size(len(order))
    runs: list[Run] = []
    rows: list[Rows] = []
    measured = calibration
    for index, (seed, repeat) in enumerate(order):
        plan = scenario.plan(seed, repeat)
        scenario.check_size(len(order), events=plan.arrivals_s.size)
        if calibration is not None and repeat and seed == order[0][0]:
            measured = calibration.resampled(repeat)
        noted = Noted()
        world = world_of(scenario, plan, Machine(measured, seed, repeat), rng_of(seed, repeat), noted)
        ended_s = world.run()
        runs.append(Run(seed, repeat, ended_s, world.left()))
        rows.append(noted.sorted(index))
        if progress:
            progress((index + 1) / len(order))
    return History("simulated", scenario, "none", tuple(runs), np.concatenate(rows), about)


def refuse_unlearned(scenario: Scenario) -> None:
    """Refuse a scenario with own handlers that no run has shown yet.

    Raises:
        InvalidScenario: it is one.
    """
    if unlearned := [name for name, service in scenario.services.items() if not service.learned]:
        raise InvalidScenario(
            f"services.{unlearned[0]}",
            "its own handlers are not learned yet; `workbench compare SCENARIO --learned FILE` learns them in a short "
            "run and keeps that in FILE, which `workbench simulate` takes too (in Python: sim.learn_services)",
        )


def rng_of(seed: int, repeat: int) -> random.Random:
    """The model's own stream: jitter of retries and sweeps. Python's generator draws single numbers fastest."""
    stream = np.random.SeedSequence((seed, 1, repeat))
    return random.Random(int.from_bytes(stream.generate_state(4).tobytes(), "little"))


def world_of(scenario: Scenario, plan: Plan, machine: Machine, rng: random.Random, rows: Noted) -> "World | CalmRun":
    """One run of a scenario, which notes its rows in `rows`: by the faster way, where nothing breaks."""
    if machine.instant and is_calm(scenario):
        return CalmRun(scenario, plan, rng, rows)
    return World(scenario, plan, machine, rng, rows)


class World:
    """One run in virtual time, whatever breaks in it."""

    def __init__(self, scenario: Scenario, plan: Plan, machine: Machine, rng: random.Random, rows: Noted) -> None:
        self._scenario = scenario
        self._plan = plan
        self._state = RunState(scenario, plan, machine, rng, rows)
        self._env = self._state.env
        self._events = list(scenario.offered_load.events)
        # The messages of the load that have not been sent, with their times; and the one whose turn it is, if it is so.
        self._due = Upcoming(plan.due_s.tolist())
        self._unsent = enumerate(zip(plan.arrivals_s.tolist(), self._due, strict=True))
        self._turn: list[tuple[int, tuple[float, float]]] = []
        self._groups: dict[str, Group] = {}
        self._consumers: dict[tuple[str, int], Consumer | Caller] = {}
        self._deaths = {name: simpy.Store(self._env) for name in scenario.services}  # of consumers that poison killed
        self._state.let_die = self._let_die
        self._scaling = Scaling(self._state, self._consumers)
        self._callers = Callers(self._state, scenario.callers) if scenario.callers is not None else None
        for code, (name, service) in enumerate(scenario.services.items()):
            self._groups[name] = group = _group_of(service)(self._state, code, name, service)
            self._state.subscribers[service.consumes].append(group)
            for index in range(service.consumers_first):
                self._start(name, index)
        if self._callers is not None and scenario.callers is not None:
            for index in range(scenario.callers.processes):
                self._start(CALLERS, index)

    def run(self) -> float:
        """Run until all is settled or the drain is over; returns when that was."""
        env, scenario = self._env, self._scenario
        env.process(self._load())
        env.process(self._sample())
        for group in self._groups.values():
            if group.service.autoscale is not None:
                env.process(self._scaling.scale(group, self._start, self._sees_backlogs))
        for fault in scenario.faults:
            if (injection := fault.inject_simulated(self)) is not None:
                env.process(injection)
        env.run(until=self._state.finished | env.timeout(scenario.offered_load.duration_s + scenario.drain_s))
        self._look_at_dependencies()
        self._note_unsent()
        return float(env.now)

    def left(self) -> dict[str, Left]:
        """What each service has left to do."""
        return {name: group.left() for name, group in self._groups.items()}

    def _load(self) -> Generator[simpy.Event, Any, None]:
        env, load = self._env, self._scenario.offered_load
        if self._callers is not None and load.looping:
            self._callers.begin_loop()
            self._unsent = enumerate(())  # what the clients do not ask for is not skipped
        else:
            yield from self._send_all()
        yield env.timeout(max(0.0, load.duration_s - env.now))
        self._state.end_load()

    def _send_all(self) -> Generator[simpy.Event, Any, None]:
        """Send each message of the plan when it is due."""
        env, tries = self._env, self._tries
        sending = Sending(self._state.machine, self._state.link, self._state.body, self._due.until)
        # With faults it is not known before how the server is reached then.
        unforeseen = any(fault.needs != "nothing" for fault in self._scenario.faults)
        for turn in self._unsent:
            self._turn, (index, (at_s, due_s)) = [turn], turn
            if self._callers is not None:
                if at_s > env.now:
                    yield env.timeout(at_s - env.now)
                self._turn = []
                self._callers.ask(index * tries)
                continue
            if unforeseen:
                yield env.timeout(max(0.0, due_s - env.now))
            sent = sending.send(due_s)
            yield env.timeout(max(0.0, sent.appended_s - env.now))
            self._turn = []
            self._state.publish(self._event(index), index, at_s, sent, -1, -1, self._held_s(at_s, due_s))

    @property
    def _tries(self) -> int:
        """How many messages an event of the load may be: one for each attempt of its caller."""
        return self._callers.declared.retry.attempts if self._callers is not None else 1

    def _event(self, index: int) -> str:
        """The type of a message that the load sends."""
        return self._events[0 if self._plan.sent_events is None else self._plan.sent_events.item(index)]

    def _note_unsent(self) -> None:
        """Note what waits for the server as sent, since nothing stops the load; and as skipped what was not due."""
        now = self._env.now
        for index, (at_s, due_s) in chain(self._turn, self._unsent):
            code, caller = self._state.event_codes[self._event(index)], -1
            if self._callers is not None:
                caller = self._callers.declared.of(index * self._tries)
                if self._consumers[CALLERS, caller].killed:  # it sends nothing
                    continue
            number, collects = index * self._tries, self._scenario.offered_load.collects
            note_unsent(self._state.rows, now, code, number, at_s, due_s, held=collects, caller=caller)

    def _held_s(self, at_s: float, due_s: float) -> float:
        """How long the load's client has held a message, if it collects them."""
        return due_s - at_s if self._scenario.offered_load.collects else NAN

    def _sample(self) -> Generator[simpy.Event, Any, None]:
        sampled, every_s = KIND["sampled"], self._scenario.sample_every_s
        while True:
            self._state.rows.pack_if_many()
            for group in self._groups.values():
                self._state.rows.append((self._env.now, sampled, group.code, -1, -1, -1, 0, NAN, float(group.backlog)))
            self._look_at_dependencies()
            yield self._env.timeout(every_s)

    def _look_at_dependencies(self) -> None:
        for number, dependency in enumerate(self._state.dependencies.values()):
            for kind, value in dependency.look():
                self._state.rows.append((self._env.now, KIND[kind], -1, number, -1, -1, 0, NAN, value))

    def _start(self, service: str, index: int) -> None:
        if self._callers is not None and service == CALLERS:
            self._consumers[service, index] = self._callers.start(index)
            return
        self._consumers[service, index] = consumer = Consumer(self._groups[service], index)
        consumer.start()

    # What a fault may do: `sim.declare.faults.worlds.SimulatedWorld`

    def consumers(self, service: str) -> range:
        return range(self._state.wanted[service])

    def wait_until(self, at_s: float) -> simpy.Event:
        return self._env.timeout(max(0.0, at_s - self._env.now))

    def kill(self, service: str, *consumers: int) -> None:
        for one in self._there(service, consumers):
            one.kill()

    def start(self, service: str, *consumers: int, after_s: float = 0.0) -> simpy.Event:
        chosen = consumers or range(self._scenario.services[service].consumers_most)
        if service not in self._groups:  # a caller that comes back has replies to ask for: the run waits for it
            for _ in chosen:
                self._state.open()
        return self._env.process(self._start_together(service, chosen, after_s))

    def _start_together(
        self, service: str, consumers: Sequence[int], after_s: float
    ) -> Generator[simpy.Event, Any, None]:
        if after_s > 0.0:
            yield self._env.timeout(after_s)
        takes_s = self._state.starts_s(service, len(consumers))
        starts = [self._start_after(service, *one) for one in zip(consumers, takes_s, strict=True)]
        yield simpy.AllOf(self._env, starts)

    def _start_after(self, service: str, consumer: int, takes_s: float) -> simpy.Event:
        def replace(_: simpy.Event) -> None:
            if self._scaling.may_start(service, consumer):
                self._start(service, consumer)
            if service not in self._groups:
                self._state.settle()

        started = self._env.timeout(takes_s)
        started.callbacks.append(replace)
        return started

    def _sees_backlogs(self) -> bool:
        return not self._state.link.blocks()

    def suspend(self, service: str, *consumers: int) -> None:
        for one in self._there(service, consumers):
            assert isinstance(one, Consumer), "a fault that meets callers only kills them"
            one.suspend()

    def resume(self, service: str, *consumers: int) -> None:
        for one in self._there(service, consumers):
            assert isinstance(one, Consumer), "a fault that meets callers only kills them"
            one.resume()

    def set_network(self, network: Network, until_s: float) -> None:
        link = self._state.link
        lost_replies = link.loses_replies  # until now
        link.set(network, until_s)
        if network.cut or network.away or network.silent or lost_replies:
            for consumer in self._each_consumer():
                consumer.cut_off()
            if self._callers is not None:
                self._callers.lose_connections()

    def lose_data(self) -> None:
        for consumer in self._each_consumer():
            consumer.forget()
        for group in self._groups.values():
            group.lose_all()

    def fill_server(self, until_s: float | None) -> None:
        self._state.link.fill(until_s)

    def _each_consumer(self) -> list[Consumer]:
        return [consumer for consumer in self._consumers.values() if isinstance(consumer, Consumer)]

    def death(self, service: str) -> simpy.Event:
        return self._deaths[service].get()

    def begin(self, what: Injection) -> None:
        self._env.process(what)

    def note(self, kind: str, service: str = "", *consumers: int) -> None:
        code = self._groups[service].code if service in self._groups else -1
        for consumer in consumers or (-1,):
            self._state.rows.append((self._env.now, KIND[kind], code, consumer, -1, -1, 0, NAN, NAN))

    def _there(self, service: str, consumers: Iterable[int]) -> list[Consumer | Caller]:
        """Those of them that have started: `Scaling` sees to the others."""
        return [self._consumers[service, one] for one in consumers if (service, one) in self._consumers]

    def _let_die(self, service: str, consumer: int) -> None:
        self._consumers[service, consumer].kill()
        self._deaths[service].put(consumer)


def _group_of(service: Service) -> type[Group]:
    if service.saga is not None:
        return SagaGroup
    if service.queue is not None:
        return QueueGroup
    return Group if service.ordered_by is None else OrderedGroup
