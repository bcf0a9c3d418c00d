"""How many entries to ask for in one reply, learned from the replies before. Pure: no clock, no I/O."""

from collections.abc import Collection


class FetchSize:
    """How many entries to ask for in one reply.

    The count begins with `first`, for instance one batch. It doubles as long as all entries that were asked for come,
    up to the largest multiple of `first` within `COUNT_MAX`. Entries that are opened, handled and acknowledged together
    should fit into the processor's cache: a thousand at a time took a tenth to a seventh longer.

    A reply must arrive long before the leases of its entries end, also over a slow line. But the server cannot limit
    its bytes. So the sizes of the last entries tell how many entries are about `BYTES_MAX`.
    """

    __slots__ = ("_first", "_most", "count")

    COUNT_MAX = 500  # the count grows no further
    FIRST_MAX = 1000  # a batch may be larger, but one reply must not keep the server from other clients
    BYTES_MAX = 8 * 2**20

    def __init__(self, first: int) -> None:
        self._first = self.count = min(first, self.FIRST_MAX)
        self._most = max(self._first, self.COUNT_MAX // self._first * self._first)  # whole batches

    def came(self, asked: int, sizes: Collection[int]) -> None:
        """Learn from a reply: `asked` entries were asked for, and entries of these `sizes` in bytes came."""
        if len(sizes) < asked:  # there were no more, and the next ones may have other sizes
            self.count = min(self.count, max(self._first, 2 * len(sizes)))
        else:
            self.count = min(self._most, 2 * self.count)
        if (size := sum(sizes)) > 0:
            self.count = max(1, min(self.count, self.BYTES_MAX * len(sizes) // size))

    def failed(self) -> None:
        """Learn that no reply came."""
        self.count = max(1, self.count // 2)
