"""A load of several loads, one after another."""

from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from sim.declare.loads.composed import ComposedLoad
from sim.declare.loads.kind import Arrivals
from sim.errors import InvalidTrace

if TYPE_CHECKING:
    from sim.declare.loads import Load


class StagesLoad(ComposedLoad):
    """One load after another, each for its own length. A stage may be of any kind, of stages too.

    Each stage has a random stream of its own: one that is changed moves no other one's arrivals against its begin.
    """

    kind: Literal["stages"]
    stages: "tuple[Load, ...]" = Field(min_length=1, max_length=1000)

    grows_with: ClassVar = ("stages",)
    made_of: ClassVar = "stages"

    @model_validator(mode="after")
    def _has_no_empty_stage(self) -> Self:
        for number, stage in enumerate(self.stages):
            try:
                length_s = stage.duration_s
            except InvalidTrace:  # the run refuses it
                continue
            if not length_s > 0:
                raise ValueError(f"stages.{number}: lasts 0 s; give it a length, or leave it out")
        return self

    @property
    def parts(self) -> "tuple[Load, ...]":
        return self.stages

    @property
    def collects(self) -> bool:
        return any(stage.collects for stage in self.stages)

    @property
    def duration_s(self) -> float:
        """Length of all stages together in seconds.

        Raises:
            InvalidTrace: the trace of a stage is missing or broken.
        """
        return float(sum(stage.duration_s for stage in self.stages))

    def draw(self, rng: np.random.Generator) -> Arrivals:
        begin_s, drawn = 0.0, list[Arrivals]()
        for stage, of_stage in zip(self.stages, rng.spawn(len(self.stages)), strict=True):
            found = stage.draw(of_stage)
            drawn.append(Arrivals(begin_s + found.intended_s, begin_s + found.due_s))
            begin_s += stage.duration_s
        return Arrivals(np.concatenate([one.intended_s for one in drawn]), np.concatenate([one.due_s for one in drawn]))

    def expected_events(self) -> float:
        return float(sum(stage.expected_events() for stage in self.stages))

    def in_words(self) -> str:
        return "; then ".join(stage.in_words() for stage in self.stages)
