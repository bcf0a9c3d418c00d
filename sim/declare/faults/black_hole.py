"""A network that swallows everything for a while."""

from typing import Literal

from pydantic import Field

from sim.declare.faults.kind import Draw, FaultKind, System, drawn_of
from sim.declare.faults.network import OUT_MAX_S, NetworkFault
from sim.declare.faults.worlds import Network


class BlackHole(NetworkFault):
    """For `for_s`, nothing passes between processes and server, and no connection breaks.

    What is sent meanwhile arrives afterwards, as TCP sends packets again that are lost.
    """

    kind: Literal["black_hole"]
    for_s: float = Field(gt=0, le=OUT_MAX_S)

    @property
    def label(self) -> str:
        return "black hole"

    def in_words(self, system: System) -> str:
        return f"{self.when()}, nothing passes between the processes and the server; connections stay open."

    @classmethod
    def drawn(cls, draw: Draw) -> FaultKind:
        return drawn_of(cls, draw, kind="black_hole", for_s=round(min(draw.lasts_s, OUT_MAX_S), 3))

    @property
    def network(self) -> Network:
        return Network(silent=True)
