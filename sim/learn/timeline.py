"""When what happened while a group was watched: looks, arrivals, what waited, and what ended between two looks."""

from bisect import bisect_right
from functools import cached_property

import numpy as np

from sim.declare.declared import Floats
from sim.learn.recording import Ints, Recording


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

    @cached_property
    def arrivals_ms(self) -> Floats:
        """When entries were added while the group was watched, ascending.

        Entries of one millisecond are spread over it, in their order. Where ids are no times, the entries that were
        listed together are spread over the time since the list before.
        """
        ids = self.record.arrivals
        if not ids:
            return np.empty(0)
        listed = np.array(self.record.listed_ms)
        if self.ids_are_times:
            at = np.array([id_.ms for id_ in ids], dtype=np.float64)
            later = np.full(at.size, 1.0)
        else:
            times = np.unique(listed)
            at = np.concatenate(([self.begin_ms], times))[np.searchsorted(times, listed)]
            later = listed - at
        _, first, count = np.unique(at, return_index=True, return_counts=True)
        place = np.arange(at.size) - np.repeat(first, count)
        spread = at + later * (place + 0.5) / np.repeat(count, count)
        return np.sort(spread[(at >= np.floor(self.begin_ms)) & (spread <= self.end_ms)])

    @cached_property
    def ids_are_times(self) -> bool:
        """Whether the ids are the server's own: no later than the look that listed them, and not much earlier."""
        ids = np.array([id_.ms for id_ in self.record.arrivals], dtype=np.float64)
        age_ms = np.array(self.record.listed_ms) - ids
        return bool(ids.size == 0 or (np.median(age_ms) < 60_000.0 and np.median(age_ms) > -2_000.0))

    @cached_property
    def waiting(self) -> Ints:
        """Entries that the group had not read at each look, shape (looks,)."""
        told = [state.waiting for _, state in self.record.looks]
        if all(each is not None for each in told):
            return np.array(told, dtype=np.int64)
        ids = [tuple(id_) for id_ in self.record.arrivals]
        positions = np.array([_behind(ids, tuple(state.last_delivered)) for _, state in self.record.looks])
        there = np.searchsorted(self._times_of_ids, self.at_ms)
        behind: Ints = np.maximum(0, there - positions)
        return behind

    @cached_property
    def reads(self) -> Ints:
        """Entries that the group had read by each look, from any number on, shape (looks,)."""
        told = [state.reads for _, state in self.record.looks]
        if all(each is not None for each in told):
            return np.array(told, dtype=np.int64)
        ids = [tuple(id_) for id_ in self.record.arrivals]
        return np.array([_behind(ids, tuple(state.last_delivered)) for _, state in self.record.looks])

    @cached_property
    def _times_of_ids(self) -> Floats:
        if self.ids_are_times:
            return np.array([id_.ms for id_ in self.record.arrivals], dtype=np.float64)
        return np.array(self.record.listed_ms)

    @cached_property
    def pending(self) -> Ints:
        """Entries that were delivered and not acknowledged at each look, shape (looks,)."""
        return np.array([state.pending for _, state in self.record.looks], dtype=np.int64)

    @cached_property
    def ended(self) -> Ints:
        """Entries that were acknowledged from each look to the next, shape (looks - 1,). Exact: nothing is missed."""
        return np.where(self.step_s > 0, np.diff(self.reads) - np.diff(self.pending), 0)

    @cached_property
    def ends(self) -> Floats:
        """Ends from each look to the next, shape (looks - 1,). Those of retries are known in sum, and spread evenly."""
        retried = self.record.after.retries_added - self.record.before.retries_added
        found: Floats = self.ended + retried * self.step_s / max(1e-9, self.step_s.sum())
        return found


def _behind(ids: list[tuple[int, ...]], last: tuple[int, ...]) -> int:
    """How many of these ids, ascending, are not above `last`."""
    return bisect_right(ids, last)
