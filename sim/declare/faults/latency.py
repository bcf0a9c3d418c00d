"""A network that is slow to pass things on."""

from typing import Literal

from pydantic import Field

from sim.declare.faults.kind import Draw, FaultKind, System, drawn_of
from sim.declare.faults.network import NetworkFault
from sim.declare.faults.worlds import Network


class Latency(NetworkFault):
    """For `for_s`, everything between processes and server takes `added_s` longer, each way."""

    kind: Literal["latency"]
    added_s: float = Field(gt=0, le=1.0)  # a reply comes within the five seconds that the library waits for it

    @property
    def label(self) -> str:
        return f"{1000 * self.added_s:g} ms latency"

    def in_words(self, system: System) -> str:
        return (
            f"{self.when()}, the way to the server takes {1000 * self.added_s:g} ms longer, and so does the way back."
        )

    @classmethod
    def drawn(cls, draw: Draw) -> FaultKind:
        return drawn_of(cls, draw, kind="latency", for_s=round(draw.lasts_s, 3), added_s=draw.share(0.01, 0.2))

    @property
    def network(self) -> Network:
        return Network(delay_s=self.added_s)
