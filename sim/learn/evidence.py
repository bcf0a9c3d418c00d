"""A Recording as arrays: when each delivery began and ended, what was in hand at each look, what was left behind."""

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sim.declare.declared import Floats
from sim.learn.recording import Delivery, Ints
from sim.learn.timeline import TimeLine

_SAME_READ_MS = 1.5  # deliveries of one read have one time, but for the rounding to whole milliseconds
_LEFT_BEHIND_FACTOR = 3.0  # an entry that is held so many times longer than any that ended is not worked on
_IDLE_SHARE = 5  # a consumer that gets nothing while others get so many entries each does not take part


@dataclass(frozen=True, slots=True)
class Consumers:
    """The names of the group's consumers, by what they did while they were watched."""

    working: tuple[str, ...]  # got entries, or asked for some
    dead: tuple[str, ...]  # hold entries, and neither asked for any nor ended one
    silent: tuple[str, ...]  # hold nothing and asked for nothing


class Evidence(TimeLine):
    """What a recording shows. Deliveries are those of `kept`: of working consumers, and not left behind."""

    @cached_property
    def consumers(self) -> Consumers:
        record = self.record
        ended: dict[str, int] = defaultdict(int)
        began: dict[str, int] = defaultdict(int)
        holding: set[str] = set()
        for each in record.deliveries:
            began[each.consumer] += each.delivered_ms >= self.begin_ms
            ended[each.consumer] += each.gone_look is not None and not each.delivered_again
            if each.gone_look is None:
                holding.add(each.consumer)
        names = dict.fromkeys([*(state.name for state in record.consumers_after), *began])
        if record.library:
            names.pop("(suspects)", None)  # holds entries that a takeover put aside
        idle_ms = {state.name: state.idle_ms for state in record.consumers_after}
        pending = {state.name: state.pending for state in record.consumers_after}
        active = [name for name in names if began[name] or ended[name]]
        asking = [n for n in names if n not in active and idle_ms.get(n, np.inf) < self.end_ms - self.begin_ms]
        empty = [n for n in asking if not pending.get(n) and n not in holding]
        few = int(self.ended.sum()) < _IDLE_SHARE * max(1, len(active) + len(empty))
        working = [*active, *(empty if few else ())]
        rest = [name for name in names if name not in working]
        dead = [name for name in rest if pending.get(name) or name in holding]
        return Consumers(tuple(working), tuple(dead), tuple(name for name in rest if name not in dead))

    @cached_property
    def left_behind(self) -> list[Delivery]:
        """Deliveries to working consumers that ended in another delivery, or that are held and not worked on.

        Another delivery may end before it is seen. An entry that was held until others like it were delivered again,
        and then vanished, had one.
        """
        working = set(self.consumers.working)
        ended = [each for each in self._deliveries if each.gone_look is not None]
        claimed_ms = min(map(self._held_ms, filter(_again, ended)), default=np.inf) - 2 * self.step_ms
        held_ms = [self._held_ms(each) for each in ended if not _again(each)]
        longest_ms = max((ms for ms in held_ms if ms < claimed_ms), default=np.inf)
        too_long_ms = min(claimed_ms, _LEFT_BEHIND_FACTOR * longest_ms + 500.0)

        def is_left(each: Delivery) -> bool:
            if each.delivered_again or each.renewed:
                return each.delivered_again
            if each.gone_look is None:
                return bool(self.end_ms - each.delivered_ms > too_long_ms)
            return bool(self.at_ms[each.last_look] - each.delivered_ms > claimed_ms)

        return [each for each in self._deliveries if each.consumer in working and is_left(each)]

    def _held_ms(self, each: Delivery) -> float:
        """How long it was held at most, if it has ended."""
        return float(self.at_ms[each.gone_look or 0] - each.delivered_ms)

    @property
    def _deliveries(self) -> list[Delivery]:
        return self.record.deliveries

    @cached_property
    def kept(self) -> list[Delivery]:
        """Deliveries that were worked on, in the order of consumer, delivery and id."""
        working, left = set(self.consumers.working), {id(each) for each in self.left_behind}
        found = [each for each in self.record.deliveries if each.consumer in working and id(each) not in left]
        return sorted(found, key=lambda each: (each.consumer, each.delivered_ms, each.retried, each.id))

    @cached_property
    def consumer(self) -> Ints:
        """The number of each delivery's consumer, ascending, shape (kept,)."""
        names = {name: number for number, name in enumerate(sorted({each.consumer for each in self.kept}))}
        return np.array([names[each.consumer] for each in self.kept], dtype=np.int64)

    @cached_property
    def delivered_ms(self) -> Floats:
        return np.array([each.delivered_ms for each in self.kept])

    @cached_property
    def first_look(self) -> Ints:
        return np.array([each.first_look for each in self.kept], dtype=np.int64)

    @cached_property
    def last_look(self) -> Ints:
        return np.array([each.last_look for each in self.kept], dtype=np.int64)

    @cached_property
    def gone_look(self) -> Ints:
        """The look that missed each delivery; the number of looks where none did."""
        looks = len(self.record.looks)
        return np.array([looks if each.gone_look is None else each.gone_look for each in self.kept], dtype=np.int64)

    @cached_property
    def read(self) -> Ints:
        """The number of the read that brought each delivery: one consumer, one time. Shape (kept,)."""
        if not self.kept:
            return np.empty(0, np.int64)
        new = (np.diff(self.consumer) != 0) | (np.diff(self.delivered_ms) > _SAME_READ_MS)
        return np.concatenate(([0], np.cumsum(new)))

    @cached_property
    def in_hand(self) -> Ints:
        """What each working consumer held at each look, shape (consumers, looks)."""
        counts = np.zeros((max(1, len(self.consumers.working)), len(self.record.looks) + 1), dtype=np.int64)
        if self.kept:
            np.add.at(counts, (self.consumer, self.first_look), 1)
            np.add.at(counts, (self.consumer, self.last_look + 1), -1)
        return np.cumsum(counts, axis=1)[:, :-1]

    @cached_property
    def reads_when_empty(self) -> bool:
        """Whether consumers read only when they hold nothing: then what one read brings ends before the next read."""
        if len(self.kept) < 2:
            return True
        overlaps = 0
        for first, last in _parts(self.consumer):
            begins, reads, until = self.first_look[first:last], self.read[first:last], self.last_look[first:last]
            latest = np.maximum.accumulate(until)
            # The newest look at which anything of an earlier read was still held.
            starts = np.concatenate(([0], np.flatnonzero(np.diff(reads)) + 1))
            before = np.concatenate(([-1], latest[starts[1:] - 1]))
            overlaps += int(np.count_nonzero(before >= begins[starts]))
        return overlaps <= 0.01 * (int(self.read[-1]) + 1)

    @cached_property
    def ends_ms(self) -> tuple[Floats, Floats]:
        """Between which times each delivery ended, shape (kept,) each; infinite where it had not ended."""
        low = self.at_ms[self.last_look]
        high = np.append(self.at_ms, np.inf)[self.gone_look]
        if self.reads_when_empty:
            for number, next_ms, waited in self._followed():
                if low[number] < next_ms + 1.0 <= high[number]:
                    high[number] = next_ms + 1.0
                    low[number] = max(low[number], next_ms - 1.0) if waited else low[number]
        return low, high

    def _followed(self) -> list[tuple[int, float, bool]]:
        """Deliveries whose consumer got the next entry that they know of, when it did, and whether that had waited.

        A consumer that reads when it is empty ends an entry before it gets the next one. It does so just before, if
        the next one was waiting. What was not seen may have come between: then nothing follows.
        """
        ids = sorted({*self.record.arrivals, *(each.id for each in self._deliveries if not each.retried)})
        place = {id_: number for number, id_ in enumerate(ids)}
        seen = {each.id for each in self._deliveries}
        came_ms = dict(zip(self.record.arrivals, np.where(self.are_times, self.ids_ms, np.inf), strict=True))
        unseen = np.concatenate(([0], np.cumsum([id_ not in seen for id_ in ids])))
        listed_from = min(self.record.arrivals, default=ids[-1] if ids else None)
        found = []
        for first, last in _parts(self.consumer):
            for number in range(first, last - 1):
                each, after = self.kept[number], self.kept[number + 1]
                if self.read[number] == self.read[number + 1] or each.retried or after.retried:
                    continue
                begin, end = place[each.id] + 1, place[after.id]
                if listed_from is None or each.id < listed_from:
                    continue
                if after.number == 1 and begin <= end and unseen[end] == unseen[begin]:
                    waited = came_ms.get(after.id, np.inf) + 1 < after.delivered_ms
                    found.append((number, after.delivered_ms, waited))
        return found

    def mean_s(self, workers: int) -> float:
        """The mean service time, if each consumer works on so many entries at once, by Little's law."""
        in_work = np.minimum(self.in_hand, workers).sum(axis=0)
        return float(in_work @ self.weight_s / max(1.0, self.ends.sum()))


def _again(each: Delivery) -> bool:
    return each.delivered_again


def _parts(numbers: Ints) -> list[tuple[int, int]]:
    """Where each run of equal numbers begins and ends."""
    edges = np.concatenate(([0], np.flatnonzero(np.diff(numbers)) + 1, [numbers.size]))
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
