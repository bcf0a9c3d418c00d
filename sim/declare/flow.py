"""How one sent event spreads through the services: which messages it sets off, and how they are numbered."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self, TypeVar

import numpy as np

from sim.declare.declared import Numbers
from sim.declare.own_handlers import MAX_SLOTS, Emitted
from sim.declare.service import Service

N = TypeVar("N", int, Numbers)

MAX_PATHS = 1000  # messages that one sent event may set off at one service


@dataclass(frozen=True, slots=True)
class Flow:
    """How one sent event spreads through the services. Where the load mixes event types, it is one of them.

    Message i of the load is row i of its plan. The messages of event type T that it sets off are numbered from
    `i * paths[T]`, in the order of the ways that lead there.

    Of what own handlers publish, it is seen how many events there are. So there are numbers for as many as there may
    be (`Emitted.slots`), and only those have a message that are sent. So it is with a service that publishes one of
    several types: each message has a number for each type, and one of these is used.
    """

    paths: dict[str, int]  # by event type
    means: dict[
        str, float
    ]  # by event type: how many messages one sent event becomes on average, if nothing is given up
    consumers: dict[str, list[str]]  # services, by event type
    emitted_by: dict[str, list[Emitted]]  # by service, in the order of the flow
    seen: frozenset[str]  # event types whose messages are known only when own handlers send them
    drawn: frozenset[str]  # event types of whose numbers only some are used, as the seed decides

    @classmethod
    def of(cls, first: Mapping[str, float], services: Mapping[str, Service]) -> Self:
        """The flow of what the load sends through the services. `first` has the share of each of its event types.

        Raises:
            ValueError: a service is never reached, the flow has a loop, or one event would become too many.
        """
        consumers: dict[str, list[str]] = {}
        for name, service in services.items():
            consumers.setdefault(service.consumes, []).append(name)
        paths, means = dict.fromkeys(first, 1), dict(first)
        emitted_by: dict[str, list[Emitted]] = {}
        seen, drawn = set[str](), set(first) if len(first) > 1 else set[str]()
        emits = {name: _emits(name, first, services) for name in services}
        waiting = dict(services)
        while waiting:
            for name in _ready(waiting, emits, paths):
                service = waiting.pop(name)
                emitted_by[name] = []
                for event, slots, mean in emits[name]:
                    emitted_by[name].append(Emitted(event, paths.get(event, 0), slots))
                    paths[event] = paths.get(event, 0) + paths[service.consumes] * slots
                    means[event] = means.get(event, 0.0) + means[service.consumes] * mean
                    if service.app is not None or service.consumes in seen:
                        seen.add(event)
                    if service.emits_shares or service.consumes in drawn:
                        drawn.add(event)
                    if paths[event] > MAX_PATHS:
                        raise ValueError(f"services.{name}: one sent event would become over {MAX_PATHS} {event!r}")
        return cls(paths, means, consumers, emitted_by, frozenset(seen), frozenset(drawn))

    def emitted(self, service: str, consumed: str, index: int) -> list[tuple[str, int]]:
        """Event types and indices of what a declared service may publish when it has handled message `index`."""
        return [(one.event, self.number(one, consumed, index, 0)) for one in self.emitted_by[service]]

    def number(self, emitted: Emitted, consumed: str, index: N, place: int) -> N:
        """The index of the event at this place (from 0) of those that handling message `index` sets off."""
        root, way = divmod(index, self.paths[consumed])
        number: N = root * self.paths[emitted.event] + emitted.first + way * emitted.slots + place
        return number

    def causes(self, emitted: Emitted, consumed: str, numbers: Numbers) -> Numbers:
        """The indices of the messages whose handling set these off; -1 for what another service published."""
        root, place = np.divmod(numbers, self.paths[emitted.event])
        way = (place - emitted.first) // emitted.slots
        own = (way >= 0) & (way < self.paths[consumed])
        return np.asarray(np.where(own, root * self.paths[consumed] + way, -1), np.int64)


def _emits(name: str, first: Mapping[str, float], services: Mapping[str, Service]) -> list[tuple[str, int, float]]:
    """The event types that a service publishes; for each, how many numbers a message has, and how many are used.

    As long as own handlers have not been seen, they may publish whatever services behind them in the file consume and
    nothing else sends. What they publish beside that reaches no service.
    """
    service, places = services[name], list(services)
    if service.app is None:
        shares = service.emits_shares or (1.0,) * len(service.emits)
        return [(event, 1, share) for event, share in zip(service.emits, shares, strict=True)]
    behind = [services[other].consumes for other in places[places.index(name) + 1 :]]
    if service.own is not None and service.own.learned is not None:
        emits = service.own.learned.emits
        known = [(event, emits[event]) for event in dict.fromkeys(behind) if event in emits]
        return [(event, of_event.slots, of_event.mean) for event, of_event in known]
    sent = {*first, service.consumes, *(event for other in services.values() for event in other.emits)}
    events = [event for event in dict.fromkeys(behind) if event not in sent]
    hops = max(1, sum(other.app is not None for other in services.values()))
    return [(event, min(MAX_SLOTS, max(2, int(MAX_PATHS ** (1 / hops)))), 1.0) for event in events]


def _ready(
    waiting: Mapping[str, Service], emits: Mapping[str, list[tuple[str, int, float]]], paths: Mapping[str, int]
) -> list[str]:
    """The services that are next: everything that feeds them is known."""
    pending = {event for name in waiting for event, *_ in emits[name]}
    ready = [name for name, service in waiting.items() if service.consumes in paths and service.consumes not in pending]
    if ready:
        return ready
    for name, service in waiting.items():
        if service.consumes not in paths and service.consumes not in pending:
            raise ValueError(f"services.{name}: nothing sends {service.consumes!r}; let the load or a service emit it")
    loop = ", ".join(map(repr, sorted(waiting)))
    raise ValueError(f"services: the flow loops for ever through {loop}; take one of their emits out")
