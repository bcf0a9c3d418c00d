"""All connections break at one moment."""

from typing import ClassVar, Literal

from sim.declare.faults.kind import Draw, FaultKind, Needs, System, drawn_of
from sim.declare.faults.network import THE_SERVER
from sim.declare.faults.worlds import Injection, LiveWorld, Network, SimulatedWorld


class Reset(FaultKind):
    """At `at_s`, all connections to the server break. New ones can be made at once."""

    kind: Literal["reset"]

    notes: ClassVar = ("network_fails",)
    needs: ClassVar[Needs] = "proxy"
    done_to_it: ClassVar = "cut off"

    @property
    def until_s(self) -> float:
        return self.at_s

    @property
    def label(self) -> str:
        return "connections reset"

    def in_words(self, system: System) -> str:
        return f"At {self.at_s:g} s, all connections to the server break."

    @classmethod
    def drawn(cls, draw: Draw) -> FaultKind:
        return drawn_of(cls, draw, kind="reset")

    def parts(self, system: System) -> frozenset[str]:
        return frozenset([THE_SERVER])

    async def inject_live(self, world: LiveWorld) -> None:
        await world.sleep_until(self.at_s)
        world.set_network(Network(cut=True), "network_fails")

    def inject_simulated(self, world: SimulatedWorld) -> Injection:
        yield world.wait_until(self.at_s)
        world.set_network(Network(cut=True), self.at_s)
        world.note("network_fails")
