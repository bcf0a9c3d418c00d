"""What a program counts of its own work. The event loop adds to plain numbers; any thread may read them at any time."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields

# Upper bounds in seconds. A lag is known to the millisecond: an entry's id has the time at which it was added.
LAG_S = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)
HANDLING_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class Histogram:
    """How many values were at most each of the bounds. `counts` has one number more than `bounds`, for larger ones."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0  # of all values

    def add(self, value: float, times: int = 1) -> None:
        """Count a value, which stands for `times` values."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times

    def include(self, other: "Histogram") -> None:
        """Add all that another one has counted, with the same bounds."""
        self.counts = [own + more for own, more in zip(self.counts, other.counts, strict=True)]
        self.total += other.total


@dataclass(slots=True)
class ConsumerCounts:
    """What became of the deliveries of one group on one stream, in this program.

    `handled` and `failed` count attempts, `retried` and `dead` what followed from failures. `taken_over` entries were
    delivered before, to a consumer that fell silent: they may be handled twice. `lost` ones were taken over from here.
    `opened` counts how often a circuit breaker has opened.
    `lag` is from when an event was appended until it was handled, `handling` is the time of one call of a handler.
    """

    handled: int = 0
    failed: int = 0
    retried: int = 0
    dead: int = 0
    taken_over: int = 0
    lost: int = 0
    opened: int = 0
    lag: Histogram = field(default_factory=lambda: Histogram(LAG_S))
    handling: Histogram = field(default_factory=lambda: Histogram(HANDLING_S))


@dataclass(slots=True)
class PublishCounts:
    """What became of the events that this program published to one stream.

    `published` events are safe, on the server or in the spool. Of these, the stream had `duplicates` already: they were
    sent twice, or had the id of an event with `unique_for_s`. `failed` ones were given up.
    """

    published: int = 0
    duplicates: int = 0
    failed: int = 0


@dataclass(slots=True)
class EnqueueCounts:
    """What became of the tasks that this program enqueued to one queue: it has them, or the call failed."""

    enqueued: int = 0
    failed: int = 0


def summed(counts: Iterable[ConsumerCounts]) -> ConsumerCounts:
    """The sum of what several consumers counted."""
    total = ConsumerCounts()
    for each in counts:
        for one in fields(ConsumerCounts):
            value = getattr(each, one.name)
            if isinstance(value, Histogram):
                getattr(total, one.name).include(value)
            else:
                setattr(total, one.name, getattr(total, one.name) + value)
    return total
