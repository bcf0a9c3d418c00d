"""What every kind of fault says of itself."""

from abc import abstractmethod
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import Field

from sim.declare.callers import CALLERS, Callers
from sim.declare.declared import Declared, Floats
from sim.declare.dependencies import Dependency
from sim.declare.faults.worlds import Injection, LiveWorld, SimulatedWorld
from sim.declare.flow import Flow
from sim.declare.loads import Load
from sim.declare.service import Service

Needs = Literal["nothing", "proxy", "private server"]  # what a live run needs beside its processes
Ending = Literal["fails", "kills"]  # what every attempt at a poison message does


@dataclass(frozen=True, slots=True)
class Mark:
    """How a figure shows a fault: its label, and from when until when it lasts (inf where it never ends)."""

    label: str
    from_s: float
    until_s: float


@dataclass(frozen=True, slots=True)
class ErrorWindow:
    """Attempts that start from `from_s` on and before `until_s` fail with probability `error_rate`."""

    from_s: float
    until_s: float
    error_rate: float


@dataclass(frozen=True, slots=True)
class SlowWindow:
    """Attempts that start from `from_s` on and before `until_s` take `factor` times as long."""

    from_s: float
    until_s: float
    factor: float


@dataclass(frozen=True, slots=True)
class OutWindow:
    """Calls of a dependency that begin from `from_s` on and before `until_s` fail, or hang until it is over."""

    from_s: float
    until_s: float
    hangs: bool


@dataclass(frozen=True, slots=True)
class Poison:
    """Events of the load whose messages end every attempt at a service in this way: their numbers in the plan."""

    service: str
    ending: Ending
    events: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PoisonInParts:
    """The same where few events are known at a time: those from `first` on and below `until` that are `chosen`."""

    service: str
    ending: Ending
    first: int
    until: int
    chosen: Callable[[int], bool]


class System(Protocol):
    """What a fault is declared for: the load and the services of a scenario, what they call, and all of its faults."""

    @property
    def offered_load(self) -> Load: ...

    @property
    def services(self) -> Mapping[str, Service]: ...

    @property
    def dependencies(self) -> Mapping[str, Dependency]: ...

    @property
    def callers(self) -> Callers | None: ...

    @property
    def flow(self) -> Flow: ...

    @property
    def faults(self) -> Sequence["FaultKind"]: ...


@dataclass(frozen=True, slots=True)
class FaultySystem:
    """A System by its parts."""

    offered_load: Load
    services: Mapping[str, Service]
    dependencies: Mapping[str, Dependency]
    callers: Callers | None
    faults: Sequence["FaultKind"]

    @property
    def flow(self) -> Flow:
        """Which event reaches which service, how often."""
        return Flow.of(self.offered_load.events, self.services)


@dataclass(frozen=True, slots=True)
class Draw:
    """One fault of a random plan, to be drawn: when it begins, how long it lasts, and what else is random in it.

    `dependencies` are the names of what the services call.
    """

    services: Mapping[str, Service]
    at_s: float
    lasts_s: float
    rng: np.random.Generator
    dependencies: Sequence[str] = ()

    def service(self) -> str:
        """One of the services."""
        return list(self.services)[self.rng.integers(len(self.services))]

    def consumer(self, service: str) -> int:
        """One of a service's consumers."""
        return int(self.rng.integers(self.services[service].consumers_always))

    def share(self, low: float, high: float) -> float:
        """A number between these, to two digits after the point."""
        return round(float(self.rng.uniform(low, high)), 2)


class FaultKind(Declared):
    """A fault: what goes wrong from `at_s` on.

    It happens through `inject_live` and `inject_simulated`, or through what it changes in the plan, or through all.
    """

    kind: str
    at_s: float = Field(ge=0)

    notes: ClassVar[tuple[str, ...]] = ()  # the kinds of history rows that it notes
    needs: ClassVar[Needs] = "nothing"
    done_to_it: ClassVar[str] = "hit"  # what happens to the parts that it meets, as a participle: "killed"

    @property
    @abstractmethod
    def until_s(self) -> float:
        """When it is over, in seconds of the run; infinite where it never is."""

    @property
    @abstractmethod
    def label(self) -> str:
        """What a figure calls it, in two or three words."""

    @abstractmethod
    def in_words(self, system: System) -> str:
        """What happens, as one sentence."""

    @classmethod
    def drawn(cls, draw: Draw) -> "FaultKind | None":
        """A fault of this kind for a random plan. None where this kind is never drawn."""
        return None

    def expanded(self, system: System, kinds: Mapping[str, type["FaultKind"]]) -> Sequence["FaultKind"]:
        """The faults that this declaration stands for: itself, but for a plan of others. `kinds` has all, by name.

        Raises:
            ValueError: there are none for this system.
        """
        return (self,)

    def hits(self, name: str, system: System) -> bool:
        """Whether it concerns a service of the system, or its callers, by their name."""
        return True

    def takes_out(self, service: str, at_s: float) -> bool:
        """Whether no consumer of the service can run at `at_s`, by whatever it is started."""
        return False

    def parts(self, system: System) -> frozenset[str]:
        """What it takes out of order: no two faults may do that to one part at the same time."""
        return frozenset()

    @property
    def parts_until_s(self) -> float:
        """Until when it may take its parts out of order, in seconds of the run."""
        return self.until_s

    @property
    def planned(self) -> bool:
        """Whether a simulated run meets no more of it than what the plan says."""
        return type(self).inject_simulated is FaultKind.inject_simulated

    def mark(self) -> Mark:
        """How a figure shows it."""
        return Mark(self.label, self.at_s, self.until_s)

    def problem(self, system: System) -> str | None:
        """Why it cannot happen in this system, or None."""
        for other in system.faults:
            together = self.at_s <= other.parts_until_s and other.at_s <= self.parts_until_s
            if other is not self and together and (shared := self.parts(system) & other.parts(system)):
                return f"{min(shared)} is {self.done_to_it} while it is down; {_apart(self, other)}"
        return None

    # How it happens

    def inject_live(self, world: LiveWorld) -> Coroutine[Any, Any, None] | None:
        """Make it happen in the live world, from the start of the load on. None where there is nothing to do."""
        return None

    def inject_simulated(self, world: SimulatedWorld) -> Injection | None:
        """Make it happen in the simulated world, from the start of the load on. None where there is nothing to do."""
        return None

    def error_windows(self, service: str) -> tuple[ErrorWindow, ...]:
        """When it sets the error rate of a service; where windows overlap, the last one holds."""
        return ()

    def out_windows(self, dependency: str) -> tuple[OutWindow, ...]:
        """When it takes a dependency out of order."""
        return ()

    def slow_windows(self, service: str) -> tuple[SlowWindow, ...]:
        """When it makes a service slow; where windows overlap, their factors multiply."""
        return ()

    def poison(self, arrivals_s: Floats, rng: np.random.Generator) -> Poison | None:
        """Which events of the load it poisons. `arrivals_s` has shape (events,)."""
        return None

    def poison_in_parts(
        self, events: int, before: Callable[[float], int], rng: np.random.Generator
    ) -> PoisonInParts | None:
        """The same for a load of so many events. `before` says how many of them arrive before a time."""
        return None


class ServiceFault(FaultKind):
    """A fault at one service."""

    service: str

    def hits(self, name: str, system: System) -> bool:
        return name == self.service

    def problem(self, system: System) -> str | None:
        if self.service not in system.services:
            return f"there is no service {self.service!r}; services are {', '.join(map(repr, system.services))}"
        return super().problem(system)

    def own_handlers_problem(self, system: System) -> str | None:
        """Why it cannot meet a service whose handlers are the user's own, or None where they are not."""
        if system.services[self.service].app is None:
            return None
        return f"{self.service!r} has handlers of an App, which do what they do; kill or pause its consumers"


class ConsumerFault(ServiceFault):
    """A fault that takes one consumer out of service until `until_s`. The service may be `callers`, where it can be."""

    consumer: int = Field(default=0, ge=0)

    may_meet_callers: ClassVar = False

    def who(self, system: System) -> str:
        """Whom it meets, as a sentence says it."""
        if self._meets_a_caller(system):
            return f"caller {self.consumer}"
        return f"consumer {self.consumer} of {self.service}"

    def parts(self, system: System) -> frozenset[str]:
        return frozenset([consumer_part(self.service, self.consumer)])

    def problem(self, system: System) -> str | None:
        if system.callers is not None and self._meets_a_caller(system):
            if not self.may_meet_callers:
                return f"callers that are {self.done_to_it} are not modelled yet; give a service, or kill a caller"
            if system.callers.ask_by_answers(system.offered_load):
                return "callers that ask again, or in a closed loop, cannot be killed yet; meet a service instead"
            consumers, problem = system.callers.processes, FaultKind.problem(self, system)
        else:
            problem = super().problem(system)
            consumers = system.services[self.service].consumers_always if self.service in system.services else 0
        if consumers and self.consumer >= consumers:
            service = system.services.get(self.service)
            always = " at all times" if service is not None and service.autoscale is not None else ""
            return f"{self.service!r} has consumers 0 to {consumers - 1}{always}, no {self.consumer}"
        return problem

    def _meets_a_caller(self, system: System) -> bool:
        return system.callers is not None and self.service == CALLERS


class Lasting(FaultKind):
    """A fault that is over `for_s` seconds after it began."""

    for_s: float = Field(gt=0)

    @property
    def until_s(self) -> float:
        return self.at_s + self.for_s

    def when(self) -> str:
        """From when until when it lasts, as the beginning of a sentence."""
        return f"From {self.at_s:g} s to {self.until_s:g} s"


def _apart(one: FaultKind, other: FaultKind) -> str:
    """What to do where two faults take one part out of order at the same time."""
    over_s = min(one, other, key=lambda each: each.at_s).parts_until_s
    return f"let the later one begin after {over_s:g} s" if isfinite(over_s) else "leave one of the two out"


def consumer_part(service: str, consumer: int) -> str:
    """What `FaultKind.parts` calls one consumer."""
    return f"{service!r} consumer {consumer}"


def consumer_parts(system: System, service: str) -> frozenset[str]:
    """What `FaultKind.parts` calls all consumers of a service."""
    declared = system.services.get(service)
    return frozenset(consumer_part(service, one) for one in range(declared.consumers_most if declared else 0))


def drawn_of(of: type[FaultKind], draw: Draw, /, **fields: Any) -> FaultKind:
    """A fault of this class with these fields, its times to the millisecond."""
    return of.model_validate({"at_s": round(draw.at_s, 3)} | fields)


def out_at(windows: Sequence[OutWindow], at_s: float) -> OutWindow | None:
    """The window that a call at this time falls into; None where the dependency works."""
    return next((window for window in windows if window.from_s <= at_s < window.until_s), None)
