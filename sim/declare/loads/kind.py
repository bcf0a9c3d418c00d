"""What every kind of load says of itself."""

from abc import abstractmethod
from pathlib import Path
from typing import ClassVar

import numpy as np

from sim.declare.declared import Declared, Floats


class LoadKind(Declared):
    """A load: when events of one type are sent. Each kind also says its length as `duration_s`, in seconds."""

    kind: str
    event: str

    grows_with: ClassVar[tuple[str, ...]]  # the fields to lower where the plan would be too large

    @property
    def sampled(self) -> bool:
        """Whether a recorded sample stands in for the real recording."""
        return False

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that it reads."""
        return ()

    @abstractmethod
    def arrivals_s(self, rng: np.random.Generator) -> Floats:
        """Intended send times in seconds from the start, ascending, shape (n,)."""

    @abstractmethod
    def expected_events(self) -> float:
        """How many events are sent on average, as far as that is known before a file is read."""

    @abstractmethod
    def in_words(self) -> str:
        """How events are sent, as half a sentence: without the event type and without the number of events."""
