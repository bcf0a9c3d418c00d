"""A consumer that stands still for a while."""

from signal import SIGCONT, SIGSTOP
from typing import ClassVar, Literal

from pydantic import Field

from sim.declare.faults.kind import ConsumerFault, System
from sim.declare.faults.worlds import Injection, LiveWorld, SimulatedWorld


class Pause(ConsumerFault):
    """One consumer's process is stopped at `at_s` and goes on `for_s` later: SIGSTOP, then SIGCONT."""

    kind: Literal["pause"]
    for_s: float = Field(gt=0)

    notes: ClassVar = ("paused", "resumed")
    done_to_it: ClassVar = "paused"

    @property
    def until_s(self) -> float:
        return self.at_s + self.for_s

    @property
    def label(self) -> str:
        return f"{self.service} {self.consumer} paused"

    def in_words(self, system: System) -> str:
        return f"At {self.at_s:g} s, {self.who(system)} stands still for {self.for_s:g} s."

    async def inject_live(self, world: LiveWorld) -> None:
        await world.sleep_until(self.at_s)
        await world.signal(self.service, self.consumer, SIGSTOP)
        world.note("paused", self.service, self.consumer)
        await world.sleep_until(self.until_s)
        await world.signal(self.service, self.consumer, SIGCONT)
        world.note("resumed", self.service, self.consumer)

    def inject_simulated(self, world: SimulatedWorld) -> Injection:
        yield world.wait_until(self.at_s)
        world.suspend(self.service, self.consumer)
        world.note("paused", self.service, self.consumer)
        yield world.wait_until(self.until_s)
        world.resume(self.service, self.consumer)
        world.note("resumed", self.service, self.consumer)
