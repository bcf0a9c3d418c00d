"""A server that cannot be reached for a while."""

from typing import Literal

from pydantic import Field

from sim.declare.faults.kind import Draw, FaultKind, System, drawn_of
from sim.declare.faults.network import OUT_MAX_S, NetworkFault
from sim.declare.faults.worlds import Network


class ServerAway(NetworkFault):
    """The server cannot be reached for `for_s`: connections break, and new ones are refused. It keeps its data."""

    kind: Literal["server_away"]
    for_s: float = Field(gt=0, le=OUT_MAX_S)

    @property
    def label(self) -> str:
        return "server away"

    def in_words(self, system: System) -> str:
        return f"{self.when()}, no process reaches the server: connections break and are refused."

    @classmethod
    def drawn(cls, draw: Draw) -> FaultKind:
        return drawn_of(cls, draw, kind="server_away", for_s=round(min(draw.lasts_s, OUT_MAX_S), 3))

    @property
    def network(self) -> Network:
        return Network(away=True)
