"""A consumer that dies, and the one that takes its place."""

from math import inf
from typing import ClassVar, Literal

from pydantic import Field

from sim.declare.faults.kind import ConsumerFault, Draw, FaultKind, System, drawn_of
from sim.declare.faults.worlds import Injection, LiveWorld, SimulatedWorld


class Kill(ConsumerFault):
    """One consumer or caller dies at `at_s` by SIGKILL; a new one replaces it after `back_after_s` (None: never)."""

    kind: Literal["kill"]
    back_after_s: float | None = Field(default=None, ge=0)

    notes: ClassVar = ("killed", "restarted")
    done_to_it: ClassVar = "killed"
    may_meet_callers: ClassVar = True

    @property
    def until_s(self) -> float:
        return inf if self.back_after_s is None else self.at_s + self.back_after_s

    @property
    def label(self) -> str:
        return f"{self.service} {self.consumer} killed"

    def in_words(self, system: System) -> str:
        replaced = "is not replaced" if self.back_after_s is None else f"is replaced {self.back_after_s:g} s later"
        return f"At {self.at_s:g} s, {self.who(system)} is killed without warning and {replaced}."

    @classmethod
    def drawn(cls, draw: Draw) -> FaultKind:
        service = draw.service()
        back_after_s = round(draw.lasts_s, 3)
        return drawn_of(
            cls, draw, kind="kill", service=service, consumer=draw.consumer(service), back_after_s=back_after_s
        )

    async def inject_live(self, world: LiveWorld) -> None:
        await world.sleep_until(self.at_s)
        await world.kill(self.service, self.consumer)
        world.note("killed", self.service, self.consumer)
        if self.back_after_s is not None:
            await world.sleep_until(self.until_s)
            await world.start(self.service, self.consumer)
            world.note("restarted", self.service, self.consumer)

    def inject_simulated(self, world: SimulatedWorld) -> Injection:
        yield world.wait_until(self.at_s)
        world.kill(self.service, self.consumer)
        world.note("killed", self.service, self.consumer)
        if self.back_after_s is not None:
            yield world.start(self.service, self.consumer, after_s=self.back_after_s)
            world.note("restarted", self.service, self.consumer)
