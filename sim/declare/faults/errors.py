"""A time in which a service fails more, or less, often than usual."""

from typing import Literal

from pydantic import Field

from sim.declare.faults.kind import ErrorWindow, FaultKind, System


class Errors(FaultKind):
    """Attempts that start in the window fail with probability `error_rate` instead of the service's own."""

    kind: Literal["errors"]
    for_s: float = Field(gt=0)
    error_rate: float = Field(ge=0, le=1)

    @property
    def until_s(self) -> float:
        return self.at_s + self.for_s

    @property
    def label(self) -> str:
        return f"{self.service} fails {self.error_rate:.0%}"

    def in_words(self, system: System) -> str:
        usual = system.services[self.service].error_rate
        return (
            f"From {self.at_s:g} s to {self.until_s:g} s, {100 * self.error_rate:g} % of the attempts at "
            f"{self.service} fail instead of {100 * usual:g} %."
        )

    def problem(self, system: System) -> str | None:
        if problem := super().problem(system):
            return problem
        if system.services[self.service].app is not None:
            return f"{self.service!r} has handlers of an App, which fail when they fail; kill or pause its consumers"
        return None

    def error_windows(self, service: str) -> tuple[ErrorWindow, ...]:
        return (ErrorWindow(self.at_s, self.until_s, self.error_rate),) if service == self.service else ()
