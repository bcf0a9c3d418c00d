"""What one seed makes of a scenario. Both worlds run the same plan.

A plan fixes every arrival, every service time and every failure before either world starts, each source from its own
random stream. So a simulated and a live run of one seed see the same work, and their difference is not sampling.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from eventlib.saga_policy import Act
from sim.declare.callers import Callers
from sim.declare.declared import Floats, Numbers, places_among
from sim.declare.dependencies import Dependency
from sim.declare.faults.kind import Ending, ErrorWindow, FaultKind, SlowWindow
from sim.declare.flow import Flow
from sim.declare.loads.kind import LoadKind
from sim.declare.own_handlers import Counts, FailingDraws
from sim.declare.payload_fields import draw_fields
from sim.declare.sagas import ActOutcome, SagaDraws
from sim.declare.service import Service
from sim.declare.task_queue import Labels, TaskQueue

_OF_MIX, _OF_SIZES, _OF_FIELDS = 1 << 20, (1 << 20) + 1, (1 << 20) + 2


def draw_labels(queue: TaskQueue, seed: int, place: int, n: int) -> Labels:
    """The labels of the first n messages of the service at this place among the services."""
    stream = np.random.SeedSequence(seed, spawn_key=(1 + place, 2))  # the child after those that `Plan.draw` spawns
    return queue.draw(n, np.random.default_rng(stream))


def draw_chosen(service: Service, seed: int, place: int, n: int) -> Numbers:
    """For the first n messages of the service at this place, the place in `emits` of what it publishes."""
    return chosen_among(service, n, np.random.default_rng(chosen_stream(seed, place)))


def chosen_among(service: Service, n: int, rng: np.random.Generator) -> Numbers:
    """The places in `emits` of what a service publishes for each of n messages, shape (n,)."""
    return places_among(rng.random(n), np.cumsum(service.emits_shares))


def chosen_stream(seed: int, place: int) -> np.random.SeedSequence:
    """What the choices of the service at this place among its `emits` are drawn from."""
    return np.random.SeedSequence(seed, spawn_key=(1 + place, 6))


def load_stream(seed: int) -> np.random.SeedSequence:
    """What the arrivals of a load are drawn from."""
    return np.random.SeedSequence(seed, spawn_key=(0,))


def mix_stream(seed: int) -> np.random.SeedSequence:
    """What the event types of a load that mixes some are drawn from: far behind what a load may spawn of its own."""
    return np.random.SeedSequence(seed, spawn_key=(0, _OF_MIX))


def sizes_stream(seed: int) -> np.random.SeedSequence:
    """What the sizes of the messages of a load are drawn from."""
    return np.random.SeedSequence(seed, spawn_key=(0, _OF_SIZES))


def calls_stream(seed: int, place: int, number: int) -> np.random.SeedSequence:
    """What the calls of the service at this place take, of the dependency with this number among those that it uses."""
    return np.random.SeedSequence(seed, spawn_key=(1 + place, 6, number))


def keys_stream(seed: int, place: int) -> np.random.SeedSequence:
    """What the keys of the messages of the service at this place are drawn from."""
    return np.random.SeedSequence(seed, spawn_key=(1 + place, 7))


def poison_stream(seed: int, services: int, place: int) -> np.random.SeedSequence:
    """What the fault at this place poisons: behind the streams of so many services."""
    return np.random.SeedSequence(seed, spawn_key=(1 + services, place))


def error_windows(services: Iterable[str], faults: Sequence[FaultKind]) -> dict[str, list[ErrorWindow]]:
    """When faults change how often each service fails, by its name."""
    return {name: [window for fault in faults for window in fault.error_windows(name)] for name in services}


def slow_windows(services: Iterable[str], faults: Sequence[FaultKind]) -> dict[str, list[SlowWindow]]:
    """When faults make services slow, by the name of each that they do this to."""
    found = {name: [window for fault in faults for window in fault.slow_windows(name)] for name in services}
    return {name: windows for name, windows in found.items() if windows}


def service_streams(service: Service, place: int, seed: int, repeat: int = 0) -> list[np.random.Generator]:
    """What a service's times, its failures and what own handlers publish are drawn from, one generator each."""
    key = (1 + place,) if service.own is None else (1 + place, 4, repeat)
    return [np.random.default_rng(one) for one in np.random.SeedSequence(seed, spawn_key=key).spawn(3)]


@dataclass(slots=True)
class _Drawn:
    """What is drawn for one service: see `Plan`."""

    service_s: Floats
    cpu_s: Floats | None
    failure_draws: Floats
    dependency_s: list[tuple[str, Floats]]
    emits: dict[str, Counts] | None = None
    failing: FailingDraws | None = None
    chosen: Numbers | None = None
    labels: Labels | None = None
    keys: Numbers | None = None
    saga: SagaDraws | None = None


def _draw_service(
    service: Service,
    dependencies: Mapping[str, Dependency],
    load: LoadKind,
    m: int,
    place: int,
    seed: int,
    repeat: int,
) -> _Drawn:
    """Draw what becomes of the m messages of the service at this place in the scenario."""
    service_rng, failure_rng, emits_rng = service_streams(service, place, seed, repeat)
    service_s, cpu_s = service.service_time.draw_parts(m, service_rng, load)
    failures, called = failure_rng.random((m, service.retry.attempts)), []
    for number, used in enumerate(service.uses):
        rng = np.random.default_rng(calls_stream(seed, place, number))
        called.append((used, dependencies[used].service_time.draw(m, rng, load)))
    drawn = _Drawn(service_s, cpu_s, failures, called)
    if service.own is not None and (learned := service.own.learned) is not None:
        drawn.emits = {event: one.draw(m, emits_rng) for event, one in learned.emits.items()}
        drawn.failing = learned.draw_failing(m, emits_rng, load)
        if service.follows is not None:
            said = load.said_by(service.follows, m)
            drawn.service_s = drawn.service_s + learned.per_unit_s * said
            drawn.cpu_s = (np.zeros(m) if cpu_s is None else cpu_s) + learned.cpu_per_unit_s * said
    if service.emits_shares:
        drawn.chosen = draw_chosen(service, seed, place, m)
    if service.queue is not None:
        drawn.labels = draw_labels(service.queue, seed, place, m)
    if service.ordered_by is not None:
        drawn.keys = service.ordered_by.draw(m, np.random.default_rng(keys_stream(seed, place)))
    if service.saga is not None:  # from a child of its own, behind those of the others
        stream = np.random.SeedSequence(seed, spawn_key=(1 + place, 3))
        drawn.saga = service.saga.draw(m, stream, load, service.retry)
    return drawn


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is random in a run, except the jitter of retries and sweeps, which is the library's own.

    `arrivals_s` has shape (n,), and so have `due_s`, when the load hands each message over, and `sent_events`, the
    place of its type among the events of the load (None where that is one). For each service, `service_s` has shape
    (m,) and `failure_draws` (m, attempts), uniform in [0, 1): an attempt fails if its draw is
    below the error rate of the moment. m counts the service's messages.
    `labels` has those of the services that are task queues, `sagas` the acts of those that run sagas.

    `slow_windows` say when attempts take longer, and `poison` which messages end every attempt badly, of the services
    that faults meet in this way.

    `cpu_s` says for how long of `service_s` a handler computes, and `emits` how many events of each type it publishes,
    both of shape (m,), for the services whose handlers are known to do so. `chosen` has, for the services that publish
    one of several types, the place of that type in `emits`, of shape (m,) too. `failing` has the same two times of
    attempts that fail, and how often each message is snoozed, of shape (m,) each, for own handlers that were seen to.
    """

    arrivals_s: Floats
    due_s: Floats
    service_s: dict[str, Floats]
    failure_draws: dict[str, Floats]
    error_windows: dict[str, list[ErrorWindow]]
    error_rate: dict[str, float]  # outside the windows
    labels: dict[str, Labels]
    sagas: dict[str, SagaDraws]
    cpu_s: dict[str, Floats]
    emits: dict[str, dict[str, Counts]]
    chosen: dict[str, Numbers]
    slow_windows: dict[str, list[SlowWindow]]
    poison: dict[str, dict[int, Ending]]  # by message
    sent_events: Numbers | None
    failing: dict[str, FailingDraws]
    dependency_s: dict[str, list[tuple[str, Floats]]]  # what each call takes, for each dependency that a service uses
    keys: dict[str, Numbers]  # of the services that keep the order of keys: shape (m,)
    think_s: Floats | None  # in a closed loop: how long its client thinks before each request, shape (n,)
    size_bytes: Numbers | None  # of the body of each message of the load; None where they have none
    fields: dict[str, Floats]  # what each message of the load says, shape (n,) each

    @classmethod
    def draw(
        cls,
        load: LoadKind,
        services: Mapping[str, Service],
        dependencies: Mapping[str, Dependency],
        faults: Sequence[FaultKind],
        callers: Callers | None,
        flow: Flow,
        seed: int,
        repeat: int = 0,
    ) -> Self:
        """Draw it all.

        Callers that ask again send a message for each attempt at a request: attempt a (from 0) at request i is message
        `i * attempts + a` of the load.

        What own handlers will do is drawn anew for each `repeat`, because a seed does not decide it: it decides what
        their events say.

        Raises:
            InvalidTrace: the load's trace is missing or broken.
        """
        arrivals = load.draw(np.random.default_rng(load_stream(seed)))
        sent_events = None
        if load.mix:
            sent_events = load.draw_events(arrivals.intended_s.size, np.random.default_rng(mix_stream(seed)))
        sizes, fields = _draw_payloads(load, arrivals.intended_s.size, sent_events, seed)
        load, drawn = load.carrying(sizes, fields), dict[str, _Drawn]()
        tries = callers.retry.attempts if callers is not None else 1
        for place, (name, service) in enumerate(services.items()):
            m = len(arrivals.intended_s) * tries * flow.paths[service.consumes]
            drawn[name] = _draw_service(service, dependencies, load, m, place, seed, repeat)
        return cls(
            arrivals.intended_s,
            arrivals.due_s,
            {name: one.service_s for name, one in drawn.items()},
            {name: one.failure_draws for name, one in drawn.items()},
            error_windows(services, faults),
            {name: service.error_rate for name, service in services.items()},
            {name: one.labels for name, one in drawn.items() if one.labels is not None},
            {name: one.saga for name, one in drawn.items() if one.saga is not None},
            {name: one.cpu_s for name, one in drawn.items() if one.cpu_s is not None},
            {name: one.emits for name, one in drawn.items() if one.emits is not None},
            {name: one.chosen for name, one in drawn.items() if one.chosen is not None},
            slow_windows(services, faults),
            _poison(arrivals.intended_s, tries, services, faults, flow, seed),
            sent_events,
            {name: one.failing for name, one in drawn.items() if one.failing is not None},
            {name: one.dependency_s for name, one in drawn.items()},
            {name: one.keys for name, one in drawn.items() if one.keys is not None},
            arrivals.think_s,
            np.repeat(sizes, tries) if sizes is not None else None,
            {name: np.repeat(numbers, tries) for name, numbers in fields.items()},
        )

    def emitted(self, flow: Flow, service: str, consumed: str, index: int) -> list[tuple[str, int]]:
        """Event types and indices of what a declared service publishes when it has handled message `index`."""
        found = flow.emitted(service, consumed, index)
        return found if (chosen := self.chosen.get(service)) is None else [found[chosen.item(index)]]

    def fails(self, service: str, index: int, attempt: int, at_s: float) -> bool:
        """Whether the attempt (1-based) that starts at `at_s` fails."""
        if self.poison and index in self.poison.get(service, ()):
            return True
        window = self._window(service, at_s)
        rate = self.error_rate[service] if window is None else window
        return bool(self.failure_draws[service].item(index, attempt - 1) < rate)

    def kills(self, service: str, index: int) -> bool:
        """Whether every attempt at the message kills its consumer."""
        return bool(self.poison) and self.poison.get(service, {}).get(index) == "kills"

    def slowed(self, service: str, at_s: float) -> float:
        """How many times as long as usual the attempt takes that starts at `at_s`."""
        factor = 1.0
        for window in self.slow_windows.get(service, ()):
            if window.from_s <= at_s < window.until_s:
                factor *= window.factor
        return factor

    def outcome(self, service: str, at: int, act: Act, index: int, attempt: int, at_s: float) -> ActOutcome:
        """What comes of an attempt (1-based) at an act of a saga, step number `at`, that starts at `at_s`."""
        return self.sagas[service].outcome(at, act, index, attempt, self._window(service, at_s))

    def _window(self, service: str, at_s: float) -> float | None:
        """The error rate of the window of errors at this time. None: the usual one holds."""
        rate = None
        for window in self.error_windows[service]:
            if window.from_s <= at_s < window.until_s:
                rate = window.error_rate
        return rate


def _draw_payloads(
    load: LoadKind, n: int, sent_events: Numbers | None, seed: int
) -> tuple[Numbers | None, dict[str, Floats]]:
    """How large each of the n messages of the load is, and what it says, shape (n,) each."""
    sizes = load.draw_sizes(n, sent_events, np.random.default_rng(sizes_stream(seed)))
    return sizes, draw_fields(load.fields, n, np.random.SeedSequence(seed, spawn_key=(0, _OF_FIELDS)))


def _poison(
    arrivals_s: Floats,
    tries: int,
    services: Mapping[str, Service],
    faults: Sequence[FaultKind],
    flow: Flow,
    seed: int,
) -> dict[str, dict[int, Ending]]:
    """How the messages end their attempts that faults poison, each fault from a stream of its own.

    `tries` is how many messages an event of the load may be.
    """
    found: dict[str, dict[int, Ending]] = {}
    for place, fault in enumerate(faults):
        poison = fault.poison(arrivals_s, np.random.default_rng(poison_stream(seed, len(services), place)))
        if poison is not None:
            paths = tries * flow.paths[services[poison.service].consumes]
            messages = (poison.events[:, None] * paths + np.arange(paths)).ravel().tolist()
            found.setdefault(poison.service, {}).update(dict.fromkeys(messages, poison.ending))
    return found
