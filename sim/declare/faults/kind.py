"""What every kind of fault says of itself."""

from abc import abstractmethod
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from pydantic import Field

from sim.declare.callers import CALLERS, Callers
from sim.declare.declared import Declared
from sim.declare.faults.worlds import Injection, LiveWorld, SimulatedWorld
from sim.declare.service import Service


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


class System(Protocol):
    """What a fault is declared for: the services of a scenario, its callers, and all of its faults."""

    @property
    def services(self) -> Mapping[str, Service]: ...

    @property
    def callers(self) -> Callers | None: ...

    @property
    def faults(self) -> Sequence["FaultKind"]: ...


class FaultKind(Declared):
    """A fault: what goes wrong at one service, from `at_s` on.

    It happens through `inject_live` and `inject_simulated`, or through the plan's `error_windows`, or through all.
    """

    kind: str
    service: str
    at_s: float = Field(ge=0)

    notes: ClassVar[tuple[str, ...]] = ()  # the kinds of history rows that it notes

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

    def mark(self) -> Mark:
        """How a figure shows it."""
        return Mark(self.label, self.at_s, self.until_s)

    def problem(self, system: System) -> str | None:
        """Why it cannot happen in this system, or None."""
        if self.service not in system.services:
            return f"there is no service {self.service!r}; services are {', '.join(map(repr, system.services))}"
        return None

    def inject_live(self, world: LiveWorld) -> Coroutine[Any, Any, None] | None:
        """Make it happen in the live world, from the start of the load on. None where there is nothing to do."""
        return None

    def inject_simulated(self, world: SimulatedWorld) -> Injection | None:
        """Make it happen in the simulated world, from the start of the load on. None where there is nothing to do."""
        return None

    def error_windows(self, service: str) -> tuple[ErrorWindow, ...]:
        """When it sets the error rate of a service; where windows overlap, the last one holds."""
        return ()


class ConsumerFault(FaultKind):
    """A fault that takes one consumer out of service until `until_s`. The service may be `callers`, where it can be."""

    consumer: int = Field(default=0, ge=0)

    done_to_it: ClassVar[str]  # what happens to the consumer, as a participle: "killed"
    may_meet_callers: ClassVar = False

    def who(self, system: System) -> str:
        """Whom it meets, as a sentence says it."""
        if self._meets_a_caller(system):
            return f"caller {self.consumer}"
        return f"consumer {self.consumer} of {self.service}"

    def problem(self, system: System) -> str | None:
        if system.callers is not None and self._meets_a_caller(system):
            if not self.may_meet_callers:
                return f"callers that are {self.done_to_it} are not modelled yet; give a service, or kill a caller"
            consumers = system.callers.processes
        else:
            if problem := super().problem(system):
                return problem
            consumers = system.services[self.service].consumers
        if self.consumer >= consumers:
            return f"{self.service!r} has consumers 0 to {consumers - 1}, no {self.consumer}"
        if any(self._overlaps(other) for other in system.faults if other is not self):
            return f"{self.service!r} consumer {self.consumer} is {self.done_to_it} while it is down"
        return None

    def _meets_a_caller(self, system: System) -> bool:
        return system.callers is not None and self.service == CALLERS

    def _overlaps(self, other: FaultKind) -> bool:
        if not isinstance(other, ConsumerFault) or (other.service, other.consumer) != (self.service, self.consumer):
            return False
        return self.at_s <= other.until_s and other.at_s <= self.until_s
