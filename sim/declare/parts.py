"""Random numbers that are drawn in parts while a run goes on, so that a long run holds few of them at a time.

Numbers come from the same streams as when all are drawn at once, and are the same. What stands here in the place of an
array has those of its methods that a simulated run calls.
"""

from collections.abc import Callable, Iterator
from itertools import chain, pairwise, tee
from typing import cast

import numpy as np

from sim.declare.declared import Floats, Numbers

PART = 1 << 16  # numbers that are drawn at once
_HELD = 4  # parts that are held; retries of older messages draw theirs again
_WINDOW = 1 << 20  # sorted numbers that are held at once: 8 MB

Draw = Callable[[int, np.random.Generator], Floats | Numbers]


class Column:
    """The numbers of one source: `draw(n, rng)` draws those of the next n messages, of shape (n,) or (n, width).

    A part that is held no more is drawn again from where its stream was: that costs the time of a part, and 100 bytes
    for each.
    """

    def __init__(self, size: int, rng: np.random.Generator, draw: Draw, width: int = 1) -> None:
        self.size = size
        self._rng = rng
        self._draw = draw
        self._width = width
        self._rows = max(1, PART // width)  # messages in a part
        self._states = [rng.bit_generator.state]  # before each part
        self._parts: dict[int, list[float]] = {}
        # The part that was read last: most of what is read next is in it too.
        self._numbers: list[float] = []
        self._first = size  # message in it

    def __getitem__(self, index: int) -> float:
        return self.item(index)

    def item(self, index: int, place: int = 0) -> float:
        """A number of a message; `place` is that among its numbers."""
        row = index - self._first
        if not 0 <= row < self._rows:
            part, row = divmod(index, self._rows)
            numbers = self._parts.get(part)
            self._numbers = self._load(part) if numbers is None else numbers
            self._first = index - row
        return self._numbers[row * self._width + place]

    def tolist(self) -> "Column":
        """What is read like a list."""
        return self

    def _load(self, part: int) -> list[float]:
        while len(self._states) <= part:  # the parts before were not asked for
            self._draw_part(len(self._states) - 1)
        numbers = list[float](self._draw_part(part).ravel().tolist())
        if len(self._parts) >= _HELD:
            del self._parts[min(self._parts)]
        self._parts[part] = numbers
        return numbers

    def _draw_part(self, part: int) -> Floats | Numbers:
        self._rng.bit_generator.state = self._states[part]
        drawn = self._draw(min(self._rows, self.size - part * self._rows), self._rng)
        if part + 1 == len(self._states):
            self._states.append(self._rng.bit_generator.state)
        return drawn


class Times:
    """The times of a load, in their order, from its parts. Two readers may read them, once each.

    One of them may be ahead, as far as it counts what is due while the server is away. What is between them is kept.
    """

    def __init__(self, size: int, parts: Iterator[Floats]) -> None:
        self.size = size
        self._readers = list(tee((cast(list[float], part.tolist()) for part in parts), 2))

    def tolist(self) -> Iterator[float]:
        """The times, one after the other."""
        return chain.from_iterable(self._readers.pop())


def sorted_uniform(n: int, high: float, rng: np.random.Generator) -> Iterator[Floats]:
    """`np.sort(rng.uniform(0.0, high, n))` in parts of its order, few numbers at a time.

    For each window of values, all numbers are drawn anew, and those in the window are kept: n / 1,048,576 times as many
    draws take a tenth of the time that simulating 100 million messages takes.
    """
    state, windows = rng.bit_generator.state, max(1, -(-n // _WINDOW))
    edges = np.append(np.linspace(0.0, high, windows + 1)[:-1], np.inf)
    for low, until in pairwise(edges):
        rng.bit_generator.state = state
        kept = []
        for first in range(0, n, _WINDOW):
            drawn = rng.uniform(0.0, high, min(_WINDOW, n - first))
            kept.append(drawn[(drawn >= low) & (drawn < until)])
        within = np.sort(np.concatenate(kept)) if kept else np.empty(0)
        for first in range(0, within.size, PART):
            yield within[first : first + PART]
