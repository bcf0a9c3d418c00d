"""What every kind of load says of itself."""

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from sim.declare.declared import Declared, Floats


@dataclass(frozen=True, slots=True)
class Arrivals:
    """The messages of a load, ascending in both times, in seconds from the start, shape (n,) each.

    `intended_s` says when each comes to be sent: lag counts from there. `due_s` says when the load hands it over. That
    is later only where a client collects messages and sends them in batches.
    """

    intended_s: Floats
    due_s: Floats


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

    @property
    def collects(self) -> bool:
        """Whether a client holds messages back, to send them in batches."""
        return False

    @property
    def recorded_columns(self) -> tuple[str, ...]:
        """The columns of numbers that were recorded with each message, by their declared names."""
        return ()

    def recorded(self, column: str) -> Floats:
        """A recorded column: a number for each message, in the order of the messages, shape (n,).

        Raises:
            InvalidTrace: the recording is missing or broken.
        """
        raise LookupError(column)

    @property
    def replay_scale(self) -> float:
        """How many seconds of the run a recorded second becomes."""
        return 1.0

    def notes(self) -> tuple[str, ...]:
        """What was done to the recording that a reader of the result should know, a sentence without its stop each.

        Raises:
            InvalidTrace: the recording is missing or broken.
        """
        return ()

    @abstractmethod
    def arrivals_s(self, rng: np.random.Generator) -> Floats:
        """Intended send times in seconds from the start, ascending, shape (n,)."""

    def draw(self, rng: np.random.Generator) -> Arrivals:
        """When each message is meant to be sent, and when it is handed over."""
        arrivals_s = self.arrivals_s(rng)
        return Arrivals(arrivals_s, arrivals_s)

    @abstractmethod
    def expected_events(self) -> float:
        """How many events are sent on average, as far as that is known before a file is read."""

    @abstractmethod
    def in_words(self) -> str:
        """How events are sent, as half a sentence: without the event type and without the number of events."""
