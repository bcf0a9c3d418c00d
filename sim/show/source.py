"""What a figure is drawn from: a comparison of both worlds, or the history of one."""

from dataclasses import dataclass
from typing import Self

from sim.declare.callers import CALLERS
from sim.declare.scenario import Scenario
from sim.evidence.history import History
from sim.infer.compare import Comparison
from sim.show.wording import replications

Source = Comparison | History


@dataclass(frozen=True, slots=True)
class Worlds:
    """The histories of one scenario: of both worlds on the seeds that both ran, or of the one that ran."""

    scenario: Scenario
    simulated: History | None
    live: History | None

    @classmethod
    def of(cls, source: Source) -> Self:
        if isinstance(source, Comparison):
            simulated = source.simulated.of_seeds(source.seeds) if source.simulated is not None else None
            return cls(source.live.scenario, simulated, source.live.of_seeds(source.seeds))
        if source.world == "simulated":
            return cls(source.scenario, source, None)
        return cls(source.scenario, None, source)

    @property
    def services(self) -> list[str]:
        return list(self.scenario.services)

    def behind(self, service: str | None) -> list[str]:
        """Whose faults explain the lag of a service, of the callers, or (None) of the system."""
        return [service] if service in self.services else [*self.services, CALLERS]

    def caption(self, simulated: str, live: str) -> str:
        """How to read the figure, and the seeds and replications behind it."""
        parts = []
        if self.simulated:
            parts += [simulated, f"Simulated: {replications(self.simulated)}."]
        if self.live:
            parts += [live, f"Live: {replications(self.live)} on {self.live.server}."]
        return " ".join(filter(None, parts))
