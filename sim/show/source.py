"""What a figure is drawn from: a comparison of both worlds, or the history of one."""

from dataclasses import dataclass
from typing import Self

from sim.declare.scenario import Scenario
from sim.evidence.history import History
from sim.infer.compare import Comparison
from sim.show.wording import replications

Source = Comparison | History


@dataclass(frozen=True, slots=True)
class Worlds:
    """The histories of one scenario: of both worlds, or of the one that ran.

    `paired` is the simulated history as numbers beside live ones take it: the seeds that ran live, and no others.
    """

    scenario: Scenario
    simulated: History | None
    live: History | None
    paired: History | None

    @classmethod
    def of(cls, source: Source) -> Self:
        if isinstance(source, Comparison):
            paired = source.simulated.of_seeds(source.seeds)
            return cls(source.live.scenario, source.simulated, source.live, paired)
        if source.world == "simulated":
            return cls(source.scenario, source, None, source)
        return cls(source.scenario, None, source, None)

    @property
    def services(self) -> list[str]:
        return list(self.scenario.services)

    def caption(self, simulated: str, live: str) -> str:
        """How to read the figure, and the seeds and replications behind it."""
        parts = []
        if self.simulated:
            parts += [simulated, f"Simulated: {replications(self.simulated)}."]
        if self.live:
            parts += [live, f"Live: {replications(self.live)} on {self.live.server}."]
        return " ".join(filter(None, parts))
