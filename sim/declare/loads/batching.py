"""A load whose client collects messages and sends them in batches."""

from bisect import bisect_right
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from sim.declare.declared import Floats
from sim.declare.loads.composed import ComposedLoad
from sim.declare.loads.kind import Arrivals
from sim.wording import quantity

if TYPE_CHECKING:
    from sim.declare.loads import Load


class BatchingLoad(ComposedLoad):
    """The load `of`, sent in batches: as soon as `size` messages are there, or `wait_s` after the first of them.

    What is left at the load's end is sent then. A message is still meant to be sent when it comes, so its lag counts
    the time for which the client holds it.
    """

    kind: Literal["batching"]
    of: "Load"
    size: int = Field(ge=1, le=1_000_000)
    wait_s: float = Field(gt=0, le=1e6)

    grows_with: ClassVar = ("rate", "length")
    made_of: ClassVar = "of"

    @property
    def parts(self) -> "tuple[Load, ...]":
        return (self.of,)

    @property
    def collects(self) -> bool:
        return True

    @property
    def duration_s(self) -> float:
        """Length of the load that it collects from, in seconds.

        Raises:
            InvalidTrace: its trace is missing or broken.
        """
        return self.of.duration_s

    @property
    def recorded_columns(self) -> tuple[str, ...]:
        return self.of.recorded_columns

    def recorded(self, column: str) -> Floats:
        return self.of.recorded(column)

    @property
    def replay_scale(self) -> float:
        return self.of.replay_scale

    def draw(self, rng: np.random.Generator) -> Arrivals:
        found = self.of.draw(rng)
        return Arrivals(found.intended_s, self._sent_s(found.due_s))

    def _sent_s(self, comes_s: Floats) -> Floats:
        """When each message is sent, in seconds, shape (n,)."""
        comes, sent_s, first = comes_s.tolist(), np.empty_like(comes_s), 0
        ends_s = max([self.duration_s, *comes[-1:]])  # once: a trace looks at its file for it
        while first < len(comes):
            full = first + self.size
            deadline_s = min(comes[first] + self.wait_s, ends_s)
            after = bisect_right(comes, deadline_s, first, min(full, len(comes)))
            sent_s[first:after] = comes[after - 1] if after == full else deadline_s
            first = after
        return sent_s

    def expected_events(self) -> float:
        return self.of.expected_events()

    def in_words(self) -> str:
        batch = f"in batches of {self.size:,} or after {quantity(self.wait_s, 's')}"
        return f"{self.of.in_words()}; sent {batch}, whichever is first"
