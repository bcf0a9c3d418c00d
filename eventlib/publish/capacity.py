"""The limit on what one bus has queued. A publish that finds it reached waits until others have been sent."""

import asyncio
from collections import OrderedDict

from eventlib.errors import BusClosed

QUEUED_MAX = 10_000  # events queued in one bus
QUEUED_BYTES_MAX = 64 * 2**20  # bytes of these events


class CapacityLimit:
    """Counts the events that are queued. Publishes that have to wait go on in the order in which they came.

    The limit may be exceeded by one event or one slice: a publish asks for capacity before its event is written, when
    the size is not known yet.
    """

    def __init__(self) -> None:
        self.available = True  # whether a publish may go on without waiting
        self.count = 0  # events that are queued or under way
        self._size_bytes = 0
        self._waiting = OrderedDict[asyncio.Future[None], None]()  # the turns of those who wait, first come first
        self._closed = False

    async def wait_until_available(self) -> None:
        """Return when there is capacity and every publish that came before has had its turn.

        Acquire before anything is awaited: then the next publish has its turn.

        Raises:
            BusClosed: the bus closed meanwhile.
        """
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[turn] = None
        self.available = False
        try:
            await turn  # it stays in the queue until this continues, so that no later publish goes first
            if self._closed:
                raise BusClosed
        finally:
            del self._waiting[turn]
            self.available = not self._waiting and self._is_below_limit()
            # The next turn comes after this publish has acquired. It also comes where this one was cancelled.
            asyncio.get_running_loop().call_soon(self._start_next_turn)

    def acquire(self, count: int, size_bytes: int) -> None:
        """Count what is queued now. It does not wait, and may exceed the limit."""
        self.count += count
        self._size_bytes += size_bytes
        if self.count >= QUEUED_MAX or self._size_bytes >= QUEUED_BYTES_MAX:
            self.available = False

    def release(self, count: int, size_bytes: int) -> None:
        """Count what is not queued any more."""
        self.count -= count
        self._size_bytes -= size_bytes
        if self._waiting:
            self._start_next_turn()
        else:
            self.available = self._is_below_limit()

    def close(self) -> None:
        """Raise BusClosed to all who wait."""
        self._closed = True
        for turn in self._waiting:
            if not turn.done():
                turn.set_exception(BusClosed())

    def _is_below_limit(self) -> bool:
        return self.count < QUEUED_MAX and self._size_bytes < QUEUED_BYTES_MAX

    def _start_next_turn(self) -> None:
        if self._waiting and self._is_below_limit() and not (first := next(iter(self._waiting))).done():
            first.set_result(None)
