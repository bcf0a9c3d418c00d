"""What a simulated run notes: its rows as plain numbers, one after the other, until they are put into an array."""

from collections.abc import Callable

import numpy as np

from sim.evidence.history import KIND, ROW, Rows, sorted_rows

Row = tuple[float, int, int, int, int, int, int, float, float]  # the columns of a history but `run`
NAN = float("nan")

_COLUMNS = [name for name in ROW.names or () if name != "run"]
_KIND = _COLUMNS.index("kind")
_MANY = 100_000  # rows that are kept one by one
_SECOND = 1 << 8  # what the second kind of a pair is multiplied with


def both(kind: int, then: int) -> int:
    """The kind of a row that stands for two, which differ in their kinds alone."""
    return kind + _SECOND * (then + 1)  # 0 there says that it stands for one


class Noted:
    """The rows of a run. `append` takes one. `keep` gets them as they come; without it, they are kept here.

    A tuple for each row would be one more object that the garbage collector looks at: that took a tenth of a run.
    """

    __slots__ = ("_keep", "_numbers", "_packed", "append")

    def __init__(self, keep: Callable[[Rows], None] | None = None) -> None:
        self._numbers = list[float]()
        self._packed = list[Rows]()
        self._keep = self._packed.append if keep is None else keep
        self.append: Callable[[Row], None] = self._numbers.extend

    def pack_if_many(self) -> None:
        """Put rows into an array, in which they take a tenth of the memory, if there are many."""
        if len(self._numbers) > _MANY * len(_COLUMNS):
            self.pack()

    def pack(self) -> None:
        """Let `keep` have the rows that it has not had yet."""
        columns = np.fromiter(self._numbers, np.float64, len(self._numbers)).reshape(-1, len(_COLUMNS))
        self._numbers.clear()
        kinds = columns[:, _KIND].astype(np.int64)
        rows = np.zeros(len(columns), ROW)
        for place, name in enumerate(_COLUMNS):
            rows[name] = columns[:, place] if place != _KIND else kinds % _SECOND
        if (pairs := kinds >= _SECOND).any():
            rows = np.repeat(rows, 1 + pairs)
            seconds = np.cumsum(1 + pairs)[pairs] - 1  # where the second row of each pair is
            rows["kind"][seconds] = kinds[pairs] // _SECOND - 1
        self._keep(rows)

    def sorted(self, run: int) -> Rows:
        """The rows so far that are kept here, as run number `run` of a history."""
        self.pack()
        array = np.concatenate(self._packed) if len(self._packed) > 1 else self._packed[0]
        array["run"] = run
        return sorted_rows(array)


def note_unsent(
    rows: Noted, now: float, event: int, index: int, at_s: float, due_s: float, *, held: bool, caller: int = -1
) -> None:
    """Note a message of the load that the run has not sent: as sent, if it was due and waits; or else as skipped.

    `held`: the load's client collects messages.
    """
    if due_s <= now:
        rows.append((due_s, KIND["sent"], -1, caller, event, index, 0, at_s, due_s - at_s if held else NAN))
    else:
        rows.append((now, KIND["skipped"], -1, -1, event, index, 0, at_s, NAN))
    rows.pack_if_many()
