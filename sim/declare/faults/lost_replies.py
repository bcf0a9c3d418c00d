"""A network that loses the server's replies for a while."""

from typing import Literal

from pydantic import Field

from sim.declare.faults.kind import Draw, FaultKind, System, drawn_of
from sim.declare.faults.network import OUT_MAX_S, NetworkFault
from sim.declare.faults.worlds import Network


class LostReplies(NetworkFault):
    """For `for_s`, requests reach the server, which does what they ask for, and no reply comes. Then connections break.

    So no process knows what was done. Whatever is sent again must not be done twice.
    """

    kind: Literal["lost_replies"]
    for_s: float = Field(gt=0, le=OUT_MAX_S)

    @property
    def label(self) -> str:
        return "replies lost"

    def in_words(self, system: System) -> str:
        return f"{self.when()}, the server does what it is asked and its replies are lost; then connections break."

    @classmethod
    def drawn(cls, draw: Draw) -> FaultKind:
        return drawn_of(cls, draw, kind="lost_replies", for_s=round(min(draw.lasts_s, OUT_MAX_S), 3))

    @property
    def network(self) -> Network:
        return Network(loses_replies=True)
