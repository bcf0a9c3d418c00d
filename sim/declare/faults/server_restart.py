"""A server that is stopped and started again."""

from typing import ClassVar, Literal

from pydantic import Field

from sim.declare.faults.kind import Draw, FaultKind, Needs, System, drawn_of
from sim.declare.faults.network import OUT_MAX_S, THE_SERVER
from sim.declare.faults.worlds import WORKS, Injection, LiveWorld, Network, SimulatedWorld


class ServerRestart(FaultKind):
    """The server is stopped at `at_s` and started again after `back_after_s`: with its data, or with nothing.

    Without its data, what was in it is lost, and is counted as lost. Only a run's own server is stopped.
    """

    kind: Literal["server_restart"]
    back_after_s: float = Field(default=0.0, ge=0, le=OUT_MAX_S)
    with_data: bool = True

    notes: ClassVar = ("server_stopped", "server_started")
    needs: ClassVar[Needs] = "private server"
    done_to_it: ClassVar = "stopped"

    @property
    def until_s(self) -> float:
        return self.at_s + self.back_after_s

    @property
    def label(self) -> str:
        return "server restarts" if self.with_data else "server loses all"

    def in_words(self, system: System) -> str:
        data = "with its data" if self.with_data else "without its data: what it held is lost"
        return f"At {self.at_s:g} s, the server is stopped; {self.back_after_s:g} s later it starts again, {data}."

    @classmethod
    def drawn(cls, draw: Draw) -> FaultKind:
        return drawn_of(cls, draw, kind="server_restart", back_after_s=round(min(draw.lasts_s, OUT_MAX_S), 3))

    def parts(self, system: System) -> frozenset[str]:
        return frozenset([THE_SERVER])

    def problem(self, system: System) -> str | None:
        special = next((name for name, one in system.services.items() if one.saga or one.queue), None)
        if not self.with_data and (special is not None or system.callers is not None):
            return "a server that loses its data is modelled for plain services only, without callers; set with_data"
        return super().problem(system)

    async def inject_live(self, world: LiveWorld) -> None:
        await world.sleep_until(self.at_s)
        await world.stop_server()
        world.note("server_stopped")
        await world.sleep_until(self.until_s)
        await world.start_server(with_data=self.with_data)
        world.note("server_started")

    def inject_simulated(self, world: SimulatedWorld) -> Injection:
        yield world.wait_until(self.at_s)
        world.set_network(Network(away=True), self.until_s)
        if not self.with_data:
            world.lose_data()
        world.note("server_stopped")
        yield world.wait_until(self.until_s)
        world.set_network(WORKS, self.until_s)
        world.note("server_started")
