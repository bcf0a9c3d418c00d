"""A server that has no memory left for a while."""

from typing import ClassVar, Literal

from pydantic import Field

from sim.declare.faults.kind import Draw, FaultKind, Lasting, Needs, System, drawn_of
from sim.declare.faults.network import OUT_MAX_S, THE_SERVER
from sim.declare.faults.worlds import Injection, LiveWorld, SimulatedWorld


class ServerFull(Lasting):
    """For `for_s`, the server refuses whatever takes memory (maxmemory): publishes, retries, dead letters.

    It still hands out what it has, renews leases and takes acknowledgements. Only a run's own server is filled.
    """

    kind: Literal["server_full"]
    for_s: float = Field(gt=0, le=OUT_MAX_S)

    notes: ClassVar = ("server_full", "server_has_room")
    needs: ClassVar[Needs] = "private server"
    done_to_it: ClassVar = "filled"

    @property
    def label(self) -> str:
        return "server full"

    def in_words(self, system: System) -> str:
        return f"{self.when()}, the server has no memory left and refuses what would take some."

    @classmethod
    def drawn(cls, draw: Draw) -> FaultKind:
        return drawn_of(cls, draw, kind="server_full", for_s=round(min(draw.lasts_s, OUT_MAX_S), 3))

    def parts(self, system: System) -> frozenset[str]:
        return frozenset([THE_SERVER])

    async def inject_live(self, world: LiveWorld) -> None:
        await world.sleep_until(self.at_s)
        await world.fill_server(full=True)
        world.note("server_full")
        await world.sleep_until(self.until_s)
        await world.fill_server(full=False)
        world.note("server_has_room")

    def inject_simulated(self, world: SimulatedWorld) -> Injection:
        yield world.wait_until(self.at_s)
        world.fill_server(self.until_s)
        world.note("server_full")
        yield world.wait_until(self.until_s)
        world.fill_server(None)
        world.note("server_has_room")
