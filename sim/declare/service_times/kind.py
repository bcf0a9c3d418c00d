"""What every kind of service time says of itself."""

from abc import abstractmethod
from pathlib import Path
from typing import ClassVar

import numpy as np

from sim.declare.declared import Declared, Floats
from sim.declare.loads.kind import LoadKind


class ServiceTimeKind(Declared):
    """A service time: how long a handler works on one message."""

    kind: str

    each_alone: ClassVar[bool] = True  # whether it is drawn for one message after the other, and follows nothing else

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that it reads."""
        return ()

    @abstractmethod
    def draw(self, n: int, rng: np.random.Generator, load: LoadKind) -> Floats:
        """Service times of n messages in seconds, shape (n,)."""

    def draw_parts(self, n: int, rng: np.random.Generator, load: LoadKind) -> tuple[Floats, Floats | None]:
        """What `draw` returns, and how long each message computes of that, shape (n,); None where none computes."""
        return self.draw(n, rng, load), None

    @abstractmethod
    def in_words(self) -> str:
        """How long one message takes, as half a sentence."""

    def problem(self, load: LoadKind) -> str | None:
        """Why it cannot be drawn for this load, or None."""
        return None
