"""A service that is gone for a while: all of its consumers at once."""

from math import inf
from signal import SIGCONT, SIGSTOP
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from sim.declare.faults.kind import Draw, FaultKind, ServiceFault, System, consumer_parts, drawn_of
from sim.declare.faults.worlds import Injection, LiveWorld, SimulatedWorld


class Outage(ServiceFault):
    """All consumers of a service are gone from `at_s` on, and back after `back_after_s` (None: never).

    They are killed with SIGKILL and replaced by new ones; or, with `how: pause`, they stand still and go on.
    """

    kind: Literal["outage"]
    back_after_s: float | None = Field(default=None, ge=0)
    how: Literal["kill", "pause"] = "kill"

    notes: ClassVar = ("killed", "restarted", "paused", "resumed")
    done_to_it: ClassVar = "taken out"

    @property
    def until_s(self) -> float:
        return inf if self.back_after_s is None else self.at_s + self.back_after_s

    @property
    def label(self) -> str:
        return f"{self.service} out"

    def in_words(self, system: System) -> str:
        service = system.services[self.service]
        number = service.consumers_most
        how_many = f"{number} " if service.autoscale is None else ""
        who = f"the consumer of {self.service}" if number == 1 else f"all {how_many}consumers of {self.service}"
        verb = "is" if number == 1 else "are"
        if self.how == "pause":
            return (
                f"At {self.at_s:g} s, {who} {'stands' if number == 1 else 'stand'} still for {self.back_after_s:g} s."
            )
        back = (
            f"{verb} replaced {self.back_after_s:g} s later"
            if self.back_after_s is not None
            else f"{verb} not replaced"
        )
        return f"At {self.at_s:g} s, {who} {verb} killed without warning and {back}."

    @classmethod
    def drawn(cls, draw: Draw) -> FaultKind:
        return drawn_of(cls, draw, kind="outage", service=draw.service(), back_after_s=round(draw.lasts_s, 3))

    @model_validator(mode="after")
    def _goes_on(self) -> Self:
        if self.how == "pause" and not self.back_after_s:
            raise ValueError("back_after_s: consumers that stand still go on; say after how many seconds")
        return self

    def parts(self, system: System) -> frozenset[str]:
        return consumer_parts(system, self.service)

    def takes_out(self, service: str, at_s: float) -> bool:
        return service == self.service and self.at_s <= at_s < self.until_s

    async def inject_live(self, world: LiveWorld) -> None:
        await world.sleep_until(self.at_s)
        consumers = world.consumers(self.service)
        if self.how == "pause":
            await world.signal(self.service, SIGSTOP, *consumers)
            world.note("paused", self.service, *consumers)
            await world.sleep_until(self.until_s)
            await world.signal(self.service, SIGCONT, *consumers)
            world.note("resumed", self.service, *consumers)
            return
        await world.kill(self.service, *consumers)
        world.note("killed", self.service, *consumers)
        if self.back_after_s is not None:
            await world.sleep_until(self.until_s)
            await world.start(self.service)
            world.note("restarted", self.service, *world.consumers(self.service))

    def inject_simulated(self, world: SimulatedWorld) -> Injection:
        yield world.wait_until(self.at_s)
        consumers = world.consumers(self.service)
        if self.how == "pause":
            world.suspend(self.service, *consumers)
            world.note("paused", self.service, *consumers)
            yield world.wait_until(self.until_s)
            world.resume(self.service, *consumers)
            world.note("resumed", self.service, *consumers)
            return
        world.kill(self.service, *consumers)
        world.note("killed", self.service, *consumers)
        if self.back_after_s is not None:
            yield world.start(self.service, after_s=self.back_after_s)
            world.note("restarted", self.service, *world.consumers(self.service))
