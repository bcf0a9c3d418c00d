"""A time in which a service fails more, or less, often than usual."""

from typing import Literal

from pydantic import Field

from sim.declare.faults.kind import Draw, ErrorWindow, FaultKind, Lasting, ServiceFault, System, drawn_of


class Errors(Lasting, ServiceFault):
    """Attempts that start in the window fail with probability `error_rate` instead of the service's own."""

    kind: Literal["errors"]
    error_rate: float = Field(ge=0, le=1)

    @property
    def label(self) -> str:
        return f"{self.service} fails {self.error_rate:.0%}"

    def in_words(self, system: System) -> str:
        usual = system.services[self.service].error_rate
        return (
            f"{self.when()}, {100 * self.error_rate:g} % of the attempts at "
            f"{self.service} fail instead of {100 * usual:g} %."
        )

    @classmethod
    def drawn(cls, draw: Draw) -> FaultKind:
        service, for_s, rate = draw.service(), round(draw.lasts_s, 3), draw.share(0.3, 1.0)
        return drawn_of(cls, draw, kind="errors", service=service, for_s=for_s, error_rate=rate)

    def problem(self, system: System) -> str | None:
        return super().problem(system) or self.own_handlers_problem(system)

    def error_windows(self, service: str) -> tuple[ErrorWindow, ...]:
        return (ErrorWindow(self.at_s, self.until_s, self.error_rate),) if service == self.service else ()
