"""Which messages something has happened to, by their numbers: what a run without rows remembers of its messages."""

import numpy as np
import numpy.typing as npt

from sim.declare.declared import Numbers

Flags = npt.NDArray[np.bool_]

BLOCK = 1 << 16  # numbers that are kept together


class Marks:
    """A set of numbers from 0 on. Each takes a bit; a block of numbers that are all in it takes none."""

    def __init__(self) -> None:
        self.size = 0  # numbers in it
        self.until = 0  # all of them are below
        self._blocks: dict[int, npt.NDArray[np.uint8]] = {}
        self._full: set[int] = set()

    def __contains__(self, number: int) -> bool:
        block, place = divmod(number, BLOCK)
        packed = self._blocks.get(block)
        if packed is None:
            return block in self._full
        return bool(packed[place // 8] >> (7 - place % 8) & 1)

    def add(self, numbers: Numbers) -> Flags:
        """Put these in. Which of them were not in it: of a number that comes twice, the first one. Shape (n,)."""
        new = np.zeros(numbers.size, np.bool_)
        if not numbers.size:
            return new
        firsts = np.unique(numbers, return_index=True)[1]
        blocks = numbers[firsts] // BLOCK
        for places in np.split(firsts, np.flatnonzero(np.diff(blocks)) + 1):
            new[places] = self._add_to(int(numbers[places[0]]) // BLOCK, numbers[places] % BLOCK)
        self.size += int(np.count_nonzero(new))
        self.until = max(self.until, int(numbers[firsts[-1]]) + 1)
        return new

    def between(self, first: int, until: int) -> Flags:
        """Whether each number from `first` on and below `until` is in it, shape (until - first,)."""
        found = [self._flags(block) for block in range(first // BLOCK, -(-until // BLOCK))]
        start = first % BLOCK
        return np.concatenate([np.zeros(0, np.bool_), *found])[start : start + until - first]

    def _add_to(self, block: int, places: Numbers) -> Flags:
        if block in self._full:
            return np.zeros(places.size, np.bool_)
        flags = self._flags(block)
        new = ~flags[places]
        flags[places] = True
        if flags.all():
            self._full.add(block)
            self._blocks.pop(block, None)
        else:
            self._blocks[block] = np.packbits(flags)
        return new

    def _flags(self, block: int) -> Flags:
        if block in self._full:
            return np.ones(BLOCK, np.bool_)
        packed = self._blocks.get(block)
        return np.zeros(BLOCK, np.bool_) if packed is None else np.unpackbits(packed, count=BLOCK).astype(np.bool_)
