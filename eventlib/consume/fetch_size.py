"""How many entries to ask for in one reply, learned from the replies before. Pure: no clock, no I/O."""

from collections.abc import Collection


class FetchSize:
    """How many entries to ask for in one reply.

    It begins with `first`, a batch for instance. As long as everything that was asked for comes, it doubles, up to as
    many times `first` as `COUNT_MAX` allows. Entries that are opened, handled and acknowledged together should fit
    into the processor's cache: a thousand at a time took a tenth to a seventh longer.

    A reply must be here long before the leases of its entries end, over a slow line too, and the server cannot bound
    its bytes. So the size of what came tells how many entries are about `BYTES_MAX`.
    """

    __slots__ = ("_first", "_most", "count")

    COUNT_MAX = 500  # it grows no further
    FIRST_MAX = 1000  # a batch may be larger, but others want the server too, and its time is limited
    BYTES_MAX = 8 * 2**20

    def __init__(self, first: int) -> None:
        self._first = self.count = min(first, self.FIRST_MAX)
        self._most = max(self._first, self.COUNT_MAX // self._first * self._first)  # whole batches

    def came(self, asked: int, sizes: Collection[int]) -> None:
        """`asked` entries were asked for, and these came, of so many bytes each."""
        if len(sizes) < asked:  # there were no more, and the next ones may be of another size
            self.count = min(self.count, max(self._first, 2 * len(sizes)))
        else:
            self.count = min(self._most, 2 * self.count)
        if (size := sum(sizes)) > 0:
            self.count = max(1, min(self.count, self.BYTES_MAX * len(sizes) // size))

    def failed(self) -> None:
        """No reply came."""
        self.count = max(1, self.count // 2)
