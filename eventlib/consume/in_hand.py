"""The deliveries that one consumer holds: from the time the server hands them out until it knows their outcome."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from eventlib import policy
from eventlib.counts import ConsumerCounts
from eventlib.delivery import Delivery, Kind, Observation, Observer
from eventlib.records import Place

log = logging.getLogger("eventlib")


class Observations:
    """Tells the observer of a consumer, if it has one, what happens to each delivery."""

    def __init__(self, observe: Observer | None) -> None:
        self.wanted = observe is not None
        self._observe = observe

    def tell(self, kind: Kind, delivery: Delivery, error: BaseException | None = None) -> None:
        """Call the observer. If it fails, that is logged, and deliveries go on."""
        if self._observe is None:
            return
        try:
            self._observe(Observation(kind, delivery, error))
        except Exception:
            log.exception("the observer failed; deliveries go on")


class InHand:
    """The deliveries that one consumer holds, and its capacity for more.

    An entry uses capacity from its arrival until its handler has ended. It is held, and its lease is renewed, from its
    arrival until the server knows its outcome.
    """

    def __init__(self, concurrency: int, prefetch: int, observations: Observations, counts: ConsumerCounts) -> None:
        self._concurrency = concurrency
        self._prefetch = prefetch
        self._observations = observations
        self._counts = counts
        self._held: tuple[dict[str, Delivery], dict[str, Delivery]] = (
            {},
            {},
        )  # by id: entries of the stream, retried ones
        self._unhandled = 0
        self.paused = False  # nothing is asked for; what is held is finished
        self.limit: Callable[[int, int], int] | None = None  # called with the capacity, and how many are not handled
        self._freed = asyncio.Event()
        self._settled: set[Place] | None = None  # while `noting_settled`
        self._taken_over = set[Delivery]()  # those that are held
        self._taken_over_gone = asyncio.Event()

    def capacity(self) -> int:
        """How many more entries may be asked for."""
        if self.paused:
            return 0
        capacity = policy.capacity_left(self._concurrency, self._prefetch, self._unhandled)
        return capacity if self.limit is None else self.limit(capacity, self._unhandled)

    async def some_capacity(self) -> int:
        """Wait until more entries may be asked for. Returns how many."""
        while not (count := self.capacity()):
            self._freed.clear()
            await self._freed.wait()
        return count

    def look_again(self) -> None:
        """The limit may have changed."""
        self._freed.set()

    def use_capacity(self, count: int) -> None:
        """Use capacity for `count` more entries."""
        self._unhandled += count

    def free_capacity(self, count: int) -> None:
        """Free the capacity of `count` entries: their handlers have ended, or none will be called for them."""
        self._unhandled -= count
        self._freed.set()

    def hold(self, delivery: Delivery) -> bool:
        """Hold a delivery from now on. False if its entry is held already."""
        held = self._held[delivery.entry.retried]
        if delivery.entry.id in held:
            return False
        held[delivery.entry.id] = delivery
        return True

    def note_taken_over(self, delivery: Delivery) -> None:
        """Note that this delivery, which is held, was taken over from a consumer that may have ended because of it."""
        self._taken_over.add(delivery)
        self._counts.taken_over += 1

    @property
    def holds_taken_over(self) -> bool:
        """Whether an entry is held that was taken over."""
        return bool(self._taken_over)

    @property
    def holds_suspect(self) -> bool:
        """Whether an entry is held that may be what ended its consumers."""
        return any(delivery.suspect for delivery in self._taken_over)

    async def taken_over_gone(self) -> None:
        """Wait until no entry is held that was taken over."""
        while self._taken_over:
            self._taken_over_gone.clear()
            await self._taken_over_gone.wait()

    @property
    def count(self) -> int:
        """How many deliveries are held."""
        return sum(map(len, self._held))

    def deliveries(self) -> list[Delivery]:
        """All deliveries that are held."""
        return [delivery for held in self._held for delivery in held.values()]

    @contextmanager
    def noting_settled(self) -> Iterator[set[Place]]:
        """Collect the places of all entries that are settled during the block, in the set that it yields."""
        self._settled = places = set[Place]()
        try:
            yield places
        finally:
            self._settled = None

    def settled(self, deliveries: Sequence[Delivery]) -> None:
        """Let deliveries go: the server knows their outcome."""
        if self._settled is not None:
            self._settled.update(delivery.entry.place for delivery in deliveries)
        for delivery in deliveries:
            self._let_go(delivery)

    def lose(self, delivery: Delivery, error: BaseException | None = None) -> None:
        """Let a delivery go that another consumer has taken over. That consumer handles the entry again."""
        if not delivery.lost:
            delivery.lost = True
            self._counts.lost += 1
            self._let_go(delivery)
            self._observations.tell("lost", delivery, error)

    def _let_go(self, delivery: Delivery) -> None:
        entry = delivery.entry
        held = self._held[entry.retried]
        if held.get(entry.id) is delivery:  # else a later delivery of the same entry is held
            del held[entry.id]
        if delivery in self._taken_over:
            self._taken_over.remove(delivery)
            self._taken_over_gone.set()
