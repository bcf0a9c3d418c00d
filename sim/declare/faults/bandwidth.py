"""A network that passes little on."""

from typing import Literal

from pydantic import Field

from sim.declare.faults.kind import Draw, FaultKind, System, drawn_of
from sim.declare.faults.network import NetworkFault
from sim.declare.faults.worlds import Network


class Bandwidth(NetworkFault):
    """For `for_s`, each connection passes `bytes_per_s` on, each way. An event of a run has about 400 bytes."""

    kind: Literal["bandwidth"]
    bytes_per_s: float = Field(ge=1000, le=1e12)

    @property
    def label(self) -> str:
        return f"{self.bytes_per_s / 1000:g} kB/s"

    def in_words(self, system: System) -> str:
        return f"{self.when()}, each connection to the server passes {self.bytes_per_s / 1000:g} kB a second on."

    @classmethod
    def drawn(cls, draw: Draw) -> FaultKind:
        rate = round(1000 * draw.share(10, 100))
        return drawn_of(cls, draw, kind="bandwidth", for_s=round(draw.lasts_s, 3), bytes_per_s=rate)

    @property
    def network(self) -> Network:
        return Network(bytes_per_s=self.bytes_per_s)
