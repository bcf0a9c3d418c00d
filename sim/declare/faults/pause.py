"""A consumer that stands still for a while."""

from signal import SIGCONT, SIGSTOP
from typing import ClassVar, Literal

from sim.declare.faults.kind import ConsumerFault, Draw, FaultKind, Lasting, System, drawn_of
from sim.declare.faults.worlds import Injection, LiveWorld, SimulatedWorld


class Pause(Lasting, ConsumerFault):
    """One consumer's process is stopped at `at_s` and goes on `for_s` later: SIGSTOP, then SIGCONT."""

    kind: Literal["pause"]

    notes: ClassVar = ("paused", "resumed")
    done_to_it: ClassVar = "paused"

    @property
    def label(self) -> str:
        return f"{self.service} {self.consumer} paused"

    def in_words(self, system: System) -> str:
        return f"At {self.at_s:g} s, {self.who(system)} stands still for {self.for_s:g} s."

    @classmethod
    def drawn(cls, draw: Draw) -> FaultKind:
        service, for_s = draw.service(), round(draw.lasts_s, 3)
        return drawn_of(cls, draw, kind="pause", service=service, consumer=draw.consumer(service), for_s=for_s)

    async def inject_live(self, world: LiveWorld) -> None:
        await world.sleep_until(self.at_s)
        await world.signal(self.service, SIGSTOP, self.consumer)
        world.note("paused", self.service, self.consumer)
        await world.sleep_until(self.until_s)
        await world.signal(self.service, SIGCONT, self.consumer)
        world.note("resumed", self.service, self.consumer)

    def inject_simulated(self, world: SimulatedWorld) -> Injection:
        yield world.wait_until(self.at_s)
        world.suspend(self.service, self.consumer)
        world.note("paused", self.service, self.consumer)
        yield world.wait_until(self.until_s)
        world.resume(self.service, self.consumer)
        world.note("resumed", self.service, self.consumer)
