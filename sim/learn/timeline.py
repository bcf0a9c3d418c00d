"""When what happened while a group was watched: looks, arrivals, what waited, and what ended between two looks."""

from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from sim.declare.declared import Floats
from sim.learn.recording import Bools, Ints, Recording
from sim.learn.retry_stream import Added, added_to_retries

_CLOCK_MS = 2.0  # an id is rounded down, and the server may look at its clock a moment before or after
_BESIDE_MS = 2_000.0  # the first list may begin so long before the first look, and the last one follow the last look
_MISSED_SHARE = 0.001  # fewer may be a difference between two moments of counting
_MISSED_MIN = 2
_LACKING_MIN, _LACKING_SHARE = 10, 0.02  # they may have come before the first look, or after the last one


class TimeLine:
    """The looks of a recording as arrays, and what the server's own counts say of the time between them."""

    def __init__(self, record: Recording) -> None:
        self.record = record
        self.at_ms = record.at_ms
        self.begin_ms, self.end_ms = float(self.at_ms[0]), float(self.at_ms[-1])

    @cached_property
    def step_s(self) -> Floats:
        """Seconds between each look and the next that were watched: zero across a hole. Shape (looks - 1,)."""
        steps = np.diff(self.at_ms) / 1e3
        at_s = (self.at_ms[:-1] - self.begin_ms) / 1e3
        for begin_s, _ in self.record.changes.holes:
            steps[np.abs(at_s - begin_s) < 1e-6] = 0.0
        return steps

    @cached_property
    def weight_s(self) -> Floats:
        """The time that each look stands for: half of the steps on both of its sides. Shape (looks,)."""
        both: Floats = np.append(self.step_s, 0.0) + np.append(0.0, self.step_s)
        return both / 2.0

    @cached_property
    def step_ms(self) -> float:
        """Milliseconds from one look to the next, on average."""
        return float(1e3 * self.step_s.sum() / max(1, np.count_nonzero(self.step_s)))

    # Arrivals

    @cached_property
    def arrivals_ms(self) -> Floats:
        """When entries were added while the group was watched, ascending: those that were listed, and the others."""
        return np.sort(np.concatenate((self._listed_arrivals_ms, self.unlisted_ms)))

    @cached_property
    def _listed_arrivals_ms(self) -> Floats:
        at, is_time = self._added_ms, self.are_times
        inside = (at >= self.begin_ms) & (at <= self.end_ms)
        return at[inside | ~is_time]  # the others were listed while it was watched, so they came while it was

    @cached_property
    def _added_ms(self) -> Floats:
        """When each listed entry was added, in the order of ids, shape (arrivals,).

        Entries of one millisecond are spread over it, in their order. Entries whose ids are no times are spread over
        the time since the list before the one that they were in.
        """
        ids, is_time = self.ids_ms, self.are_times
        found = np.empty(ids.size)
        found[is_time] = _spread(ids[is_time], np.ones(np.count_nonzero(is_time)))
        since = self._listed_since_ms[~is_time]
        found[~is_time] = _spread(since, np.array(self.record.listed_ms)[~is_time] - since)
        return found

    @cached_property
    def are_times(self) -> Bools:
        """Which ids are the server's clock, shape (arrivals,): those of the time between two lists.

        Any other id was given by the publisher, by another clock or by none.
        """
        listed = np.array(self.record.listed_ms)
        first = listed <= listed.min(initial=np.inf)
        from_ms = np.where(first, self.begin_ms - _BESIDE_MS, self._listed_since_ms)
        until_ms = np.append(self.at_ms, self.end_ms + _BESIDE_MS)[np.searchsorted(self.at_ms, listed, side="right")]
        return np.asarray((self.ids_ms >= from_ms - _CLOCK_MS) & (self.ids_ms <= until_ms + _CLOCK_MS), np.bool_)

    @property
    def ids_are_times(self) -> bool:
        """Whether most ids are times."""
        return bool(self.are_times.size == 0 or self.are_times.mean() > 0.5)

    @cached_property
    def ids_ms(self) -> Floats:
        """The milliseconds in the id of each listed entry, shape (arrivals,)."""
        return np.array([id_.ms for id_ in self.record.arrivals], dtype=np.float64)

    @cached_property
    def _listed_since_ms(self) -> Floats:
        """When the list before the one that has each entry was made, shape (arrivals,)."""
        listed = np.array(self.record.listed_ms)
        times = np.unique(listed)
        since: Floats = np.concatenate(([self.begin_ms], times))[np.searchsorted(times, listed)]
        return since

    @cached_property
    def missed(self) -> int:
        """How many entries were added and deleted before they were listed."""
        listed = len(self.record.arrivals)
        missed = self.record.after.added - self.record.before.added - listed
        return missed if missed > max(_MISSED_MIN, _MISSED_SHARE * listed) else 0

    @cached_property
    def unlisted_ms(self) -> Floats:
        """When entries came that were deleted before they were listed: by the server's counts, from look to look.

        What the group has read and what waits is all that was ever added. Where the server does not know both, they
        are left out.
        """
        known = [n for n, (_, state) in enumerate(self.record.looks) if None not in (state.reads, state.waiting)]
        if not self.missed or len(known) < 2:
            return np.empty(0)
        at_ms = self.at_ms[known]
        states = [self.record.looks[n][1] for n in known]
        added = np.array([(state.reads or 0) + (state.waiting or 0) for state in states])
        listed = np.searchsorted(np.sort(self._listed_arrivals_ms), at_ms, side="right")
        lacking = np.maximum.accumulate((added - added[0]) - (listed - listed[0]))
        count = np.diff(np.minimum(lacking, self.missed))
        at = np.repeat(at_ms[:-1], count)
        return _spread(at, np.repeat(np.diff(at_ms), count))

    @property
    def lacking(self) -> int:
        """How many entries were added of which it is not known when."""
        lacking = self.missed - self.unlisted_ms.size
        return lacking if lacking > max(_LACKING_MIN, _LACKING_SHARE * self.missed) else 0

    # What waited, and what ended

    @cached_property
    def waiting(self) -> Ints:
        """Entries that the group had not read at each look, shape (looks,).

        Where the server does not know it, it is what was added less what was read, by ids, and as much more as at the
        looks around it that the server knew.
        """
        there = len(self.record.backlog) + np.searchsorted(np.sort(self._added_ms), self.at_ms, side="right")
        return np.maximum(0, self._told([state.waiting for _, state in self.record.looks], there - self._positions))

    @cached_property
    def reads(self) -> Ints:
        """Entries that the group had read by each look, from any number on, shape (looks,).

        Where the server does not know it, ids are counted, as for `waiting`.
        """
        return np.maximum.accumulate(self._told([state.reads for _, state in self.record.looks], self._positions))

    def _told(self, told: Sequence[int | None], by_ids: Ints) -> Ints:
        """What the server told at each look. Between these looks, what ids say, moved as far as at the next ones."""
        values = np.array([np.nan if each is None else each for each in told])
        known = ~np.isnan(values)
        if known.any():
            by_ids = by_ids + np.interp(self.at_ms, self.at_ms[known], values[known] - by_ids[known])
        return np.rint(np.where(known, values, by_ids)).astype(np.int64)

    @property
    def looks_by_ids(self) -> int:
        """At how many looks the server did not know how many entries it had handed out, or how many waited."""
        return sum(None in (state.reads, state.waiting) for _, state in self.record.looks)

    @cached_property
    def _positions(self) -> Ints:
        """How many of the ids that are known the group had read at each look, shape (looks,)."""
        ids = [tuple(id_) for id_ in (*self.record.backlog, *self.record.arrivals)]
        return np.array([bisect_right(ids, tuple(state.last_delivered)) for _, state in self.record.looks])

    @cached_property
    def pending(self) -> Ints:
        """Entries that were delivered and not acknowledged at each look, shape (looks,)."""
        return np.array([state.pending for _, state in self.record.looks], dtype=np.int64)

    @cached_property
    def ended(self) -> Ints:
        """Entries that were acknowledged from each look to the next, shape (looks - 1,). Exact: nothing is missed."""
        return np.where(self.step_s > 0, np.diff(self.reads) - np.diff(self.pending), 0)

    @cached_property
    def added_to_retries(self) -> Added:
        """What was added to the group's stream of retries."""
        return added_to_retries(self.record)

    @cached_property
    def attempts(self) -> int:
        """How many attempts ended. What a consumer gave back when it left is acknowledged without one."""
        return max(0, int(self.ended.sum()) + self.added_to_retries.all - self.added_to_retries.given_back)

    @cached_property
    def ends(self) -> Floats:
        """Ends of attempts from each look to the next, shape (looks - 1,).

        Those of retries are known in sum, and spread evenly.
        """
        found: Floats = self.ended + (self.attempts - self.ended.sum()) * self.step_s / max(1e-9, self.step_s.sum())
        return found


def _spread(at: Floats, over: Floats) -> Floats:
    """Equal ones of these ascending times, each in a place of its own in the time that they are spread over."""
    _, first, count = np.unique(at, return_index=True, return_counts=True)
    place = np.arange(at.size) - np.repeat(first, count)
    spread: Floats = at + over * (place + 0.5) / np.repeat(count, count)
    return spread
