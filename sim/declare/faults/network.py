"""What faults of the network have in common: for a while, the way between all processes and the server is different."""

from abc import abstractmethod
from typing import ClassVar

from sim.declare.faults.kind import Lasting, Needs, System
from sim.declare.faults.worlds import WORKS, Injection, LiveWorld, Network, SimulatedWorld

OUT_MAX_S = 20.0  # a publish waits 30 s for the server; what it gives up would be missing in the run
THE_SERVER = "the server"


class NetworkFault(Lasting):
    """A fault of the network between all processes of a run and the server. Live, the fault proxy stands there."""

    notes: ClassVar[tuple[str, ...]] = ("network_fails", "network_works")
    needs: ClassVar[Needs] = "proxy"
    done_to_it: ClassVar = "made hard to reach"

    @property
    @abstractmethod
    def network(self) -> Network:
        """How the network is, as long as it lasts."""

    def parts(self, system: System) -> frozenset[str]:
        return frozenset([THE_SERVER])

    async def inject_live(self, world: LiveWorld) -> None:
        await world.sleep_until(self.at_s)
        world.set_network(self.network, "network_fails")
        await world.sleep_until(self.until_s)
        world.set_network(WORKS, "network_works")

    def inject_simulated(self, world: SimulatedWorld) -> Injection:
        yield world.wait_until(self.at_s)
        world.set_network(self.network, self.until_s)
        world.note("network_fails")
        yield world.wait_until(self.until_s)
        world.set_network(WORKS, self.until_s)
        world.note("network_works")
