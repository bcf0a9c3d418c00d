"""What loads that are made of other loads have in common."""

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from pydantic import model_validator

from sim.declare.declared import Floats
from sim.declare.loads.kind import LoadKind

if TYPE_CHECKING:
    from sim.declare.loads import Load


class ComposedLoad(LoadKind):
    """A load that is made of other loads. Their event is its event, so they need not name it."""

    made_of: ClassVar[str]  # the field that has the other loads, or the other load

    @property
    @abstractmethod
    def parts(self) -> "tuple[Load, ...]":
        """The loads that it is made of."""

    @property
    def sampled(self) -> bool:
        return any(part.sampled for part in self.parts)

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(file for part in self.parts for file in part.files)

    def notes(self) -> tuple[str, ...]:
        return tuple(note for part in self.parts for note in part.notes())

    def arrivals_s(self, rng: np.random.Generator) -> Floats:
        return self.draw(rng).intended_s

    @model_validator(mode="before")
    @classmethod
    def _hand_down_the_event(cls, declared: Any) -> Any:
        if not (isinstance(declared, dict) and "event" in declared):
            return declared
        parts, given = (
            declared.get(cls.made_of),
            {name: declared[name] for name in ("event", "mix") if name in declared},
        )
        if isinstance(parts, dict):
            return declared | {cls.made_of: given | parts}
        if isinstance(parts, list | tuple):
            return declared | {cls.made_of: [given | one if isinstance(one, dict) else one for one in parts]}
        return declared

    @model_validator(mode="after")
    def _has_one_event(self) -> Self:
        for part in self.parts:
            if part.looping:
                raise ValueError(f"{self.made_of}: a closed loop is a load by itself; leave what it is a part of out")
            if part.size_bytes is not None:
                raise ValueError(f"{self.made_of}: the whole load says size_bytes; leave it out here")
            if part.fields:
                raise ValueError(f"{self.made_of}: the whole load says its fields; leave them out here")
            if part.events != self.events:
                problem = f"sends {part.events_in_words!r}, and the load {self.events_in_words!r}"
                raise ValueError(f"{self.made_of}: {problem}; leave the inner event out")
        return self
