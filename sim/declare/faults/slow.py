"""A time in which a service is slow."""

from typing import Literal

from pydantic import Field

from sim.declare.faults.kind import Draw, FaultKind, Lasting, ServiceFault, SlowWindow, System, drawn_of


class Slow(Lasting, ServiceFault):
    """Attempts that start in the window take `factor` times as long. Where windows overlap, their factors multiply."""

    kind: Literal["slow"]
    factor: float = Field(gt=0, le=1e6)

    @property
    def label(self) -> str:
        return f"{self.service} {self.factor:g}x slower"

    def in_words(self, system: System) -> str:
        return f"{self.when()}, attempts at {self.service} take {self.factor:g} times as long."

    @classmethod
    def drawn(cls, draw: Draw) -> FaultKind:
        service, for_s, factor = draw.service(), round(draw.lasts_s, 3), draw.share(2.0, 10.0)
        return drawn_of(cls, draw, kind="slow", service=service, for_s=for_s, factor=factor)

    def problem(self, system: System) -> str | None:
        return super().problem(system) or self.own_handlers_problem(system)

    def slow_windows(self, service: str) -> tuple[SlowWindow, ...]:
        return (SlowWindow(self.at_s, self.until_s, self.factor),) if service == self.service else ()
