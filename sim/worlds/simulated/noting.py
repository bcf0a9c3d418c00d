"""What a simulated run notes: its rows as plain numbers, one after the other, until they are put into an array."""

from collections.abc import Callable

import numpy as np

from sim.evidence.history import ROW, Rows

Row = tuple[float, int, int, int, int, int, int, float, float]  # the columns of a history but `run`

_COLUMNS = [name for name in ROW.names or () if name != "run"]


class Noted:
    """Rows since the last time that they were packed. `append` takes one.

    A tuple for each row would be one more object that the garbage collector looks at: that took a tenth of a run.
    """

    __slots__ = ("_numbers", "append")

    def __init__(self) -> None:
        self._numbers = list[float]()
        self.append: Callable[[Row], None] = self._numbers.extend

    def __len__(self) -> int:
        return len(self._numbers) // len(_COLUMNS)

    def pack(self) -> Rows:
        """The rows as an array, in which they take a tenth of the memory. None is left here."""
        columns = np.fromiter(self._numbers, np.float64, len(self._numbers)).reshape(-1, len(_COLUMNS))
        self._numbers.clear()
        rows = np.zeros(len(columns), ROW)
        for place, name in enumerate(_COLUMNS):
            rows[name] = columns[:, place]
        return rows
