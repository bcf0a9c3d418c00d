"""Why entries were added to the stream of retries that eventlib keeps for a group: not each of them has failed."""

from collections import Counter
from itertools import pairwise
from typing import NamedTuple

from sim.learn.recording import Recording


class Added(NamedTuple):
    """How many entries were added to a stream of retries while it was watched."""

    all: int
    given_back: int  # a consumer that left held them; no attempt at them had ended
    replayed: int  # they were dead letters

    @property
    def failed(self) -> int:
        return self.all - self.given_back - self.replayed


def added_to_retries(record: Recording) -> Added:
    """What the counts say of each second.

    A replay takes an entry out of the dead-letter queue. A consumer that leaves gives back what it held last.
    """
    spans = list(pairwise(record.counted))
    room = [later.retries_added - earlier.retries_added for (_, earlier), (_, later) in spans]
    added, replayed, given_back = sum(room), 0, 0
    for place, ((_, earlier), (_, later)) in enumerate(spans):
        removed = later.dead_added - earlier.dead_added - (later.dead_length - earlier.dead_length)
        of_span = min(room[place], max(0, removed))
        room[place] -= of_span
        replayed += of_span
    for look, held in sorted(_left(record).items()):
        left = held
        for place, ((from_look, _), (to_look, _)) in enumerate(spans):
            if from_look <= look <= to_look:
                of_span = min(room[place], left)
                room[place] -= of_span
                left -= of_span
        given_back += held - left
    return Added(added, given_back, replayed)


def _left(record: Recording) -> Counter[int]:
    """How many entries consumers held that left, by the first look that did not see these entries any more.

    A consumer that has left is not there at the end. It may have ended its last entries itself, just before: then
    nothing was added to the retries.
    """
    there = {state.name for state in record.consumers_after}
    gone: dict[str, Counter[int]] = {}
    for each in record.deliveries:
        if each.consumer not in there and each.gone_look is not None and not each.delivered_again:
            gone.setdefault(each.consumer, Counter())[each.gone_look] += 1
    left: Counter[int] = Counter()
    for looks in gone.values():
        left[max(looks)] += looks[max(looks)]
    return left
