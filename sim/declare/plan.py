"""What one seed makes of a scenario. Both worlds run the same plan.

A plan fixes every arrival, every service time and every failure before either world starts, each source from its own
random stream. So a simulated and a live run of one seed see the same work, and their difference is not sampling.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from eventlib.saga_policy import Act
from sim.declare.declared import Floats
from sim.declare.faults.kind import ErrorWindow, FaultKind
from sim.declare.loads.kind import LoadKind
from sim.declare.sagas import ActOutcome, SagaDraws
from sim.declare.service import Service
from sim.declare.task_queue import Labels, TaskQueue

MAX_PATHS = 1000  # messages that one sent event may set off at one service


@dataclass(frozen=True, slots=True)
class Flow:
    """How one sent event spreads through the services.

    Message i of the load is row i of its plan. The messages of event type T that it sets off are numbered from
    `i * paths[T]`, in the order of the ways that lead there.
    """

    paths: dict[str, int]  # by event type
    consumers: dict[str, list[str]]  # services, by event type
    offsets: dict[str, list[tuple[str, int]]]  # by service: event type and first way, for each of its emits

    @classmethod
    def of(cls, first: str, services: Mapping[str, Service]) -> Self:
        """The flow of the event type `first` through the services.

        Raises:
            ValueError: a service is never reached, the flow has a loop, or one event would become too many.
        """
        consumers: dict[str, list[str]] = {}
        for name, service in services.items():
            consumers.setdefault(service.consumes, []).append(name)
        paths = {first: 1}
        offsets: dict[str, list[tuple[str, int]]] = {}
        waiting = dict(services)
        while waiting:
            for name in _ready(waiting, paths):
                service = waiting.pop(name)
                offsets[name] = []
                for event in service.emits:
                    offsets[name].append((event, paths.get(event, 0)))
                    paths[event] = paths.get(event, 0) + paths[service.consumes]
                    if paths[event] > MAX_PATHS:
                        raise ValueError(f"services.{name}: one sent event would become over {MAX_PATHS} {event!r}")
        return cls(paths, consumers, offsets)

    def emitted(self, service: str, consumed: str, index: int) -> list[tuple[str, int]]:
        """Event types and indices of what a service publishes when it has handled message `index`."""
        root, way = divmod(index, self.paths[consumed])
        return [(event, root * self.paths[event] + first + way) for event, first in self.offsets[service]]


def draw_labels(queue: TaskQueue, seed: int, place: int, n: int) -> Labels:
    """The labels of the first n messages of the service at this place among the services."""
    stream = np.random.SeedSequence(seed, spawn_key=(1 + place, 2))  # the child after those that `Plan.draw` spawns
    return queue.draw(n, np.random.default_rng(stream))


def _ready(waiting: Mapping[str, Service], paths: Mapping[str, int]) -> list[str]:
    """The services that are next: everything that feeds them is known."""
    pending = {event for service in waiting.values() for event in service.emits}
    ready = [name for name, service in waiting.items() if service.consumes in paths and service.consumes not in pending]
    if ready:
        return ready
    for name, service in waiting.items():
        if service.consumes not in paths and service.consumes not in pending:
            raise ValueError(f"services.{name}: nothing sends {service.consumes!r}; let the load or a service emit it")
    loop = ", ".join(map(repr, sorted(waiting)))
    raise ValueError(f"services: the flow loops for ever through {loop}; take one of their emits out")


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is random in a run, except the jitter of retries and sweeps, which is the library's own.

    `arrivals_s` has shape (n,). For each service, `service_s` has shape (m,) and `failure_draws` (m, attempts), uniform
    in [0, 1): an attempt fails if its draw is below the error rate of the moment. m counts the service's messages.
    `labels` has those of the services that are task queues, `sagas` the acts of those that run sagas.
    """

    arrivals_s: Floats
    service_s: dict[str, Floats]
    failure_draws: dict[str, Floats]
    error_windows: dict[str, list[ErrorWindow]]
    error_rate: dict[str, float]  # outside the windows
    labels: dict[str, Labels]
    sagas: dict[str, SagaDraws]

    @classmethod
    def draw(
        cls, load: LoadKind, services: Mapping[str, Service], faults: Iterable[FaultKind], flow: Flow, seed: int
    ) -> Self:
        """Draw it all.

        Raises:
            InvalidTrace: the load's trace is missing or broken.
        """
        streams = np.random.SeedSequence(seed).spawn(1 + len(services))
        arrivals_s = load.arrivals_s(np.random.default_rng(streams[0]))
        service_s, failure_draws, labels, sagas = {}, {}, {}, {}
        for place, (name, service) in enumerate(services.items()):
            service_rng, failure_rng = (np.random.default_rng(s) for s in streams[1 + place].spawn(2))
            m = len(arrivals_s) * flow.paths[service.consumes]
            service_s[name] = service.service_time.draw(m, service_rng, load)
            failure_draws[name] = failure_rng.random((m, service.retry.attempts))
            if service.queue is not None:
                labels[name] = draw_labels(service.queue, seed, place, m)
            if service.saga is not None:  # from a child of its own, behind those of the others
                stream = np.random.SeedSequence(seed, spawn_key=(1 + place, 3))
                sagas[name] = service.saga.draw(m, stream, load, service.retry)
        return cls(
            arrivals_s,
            service_s,
            failure_draws,
            {name: [window for fault in faults for window in fault.error_windows(name)] for name in services},
            {name: service.error_rate for name, service in services.items()},
            labels,
            sagas,
        )

    def fails(self, service: str, index: int, attempt: int, at_s: float) -> bool:
        """Whether the attempt (1-based) that starts at `at_s` fails."""
        window = self._window(service, at_s)
        rate = self.error_rate[service] if window is None else window
        return bool(self.failure_draws[service].item(index, attempt - 1) < rate)

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
