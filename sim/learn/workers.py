"""How many entries a consumer works on at once, and which of those that it holds it began at once.

A consumer that works on one entry after the other ends them in the order in which it got them, and the second one of a
read takes twice as long to end. One that works on several ends them out of order, or all after about the same time.
"""

from dataclasses import dataclass

import numpy as np

from sim.declare.declared import Floats
from sim.learn.evidence import Evidence
from sim.learn.recording import Bools, Ints
from sim.learn.survival import Observations

_BEFORE = 500  # earlier deliveries of a consumer that are compared with each one
_TIMES_SEEN = 2  # how often an entry must have ended before so many older ones, for that to count
_LOOKS_MIN = 50
KNOWN_MIN = 30  # fewer known beginnings say nothing of the times
_TRIED_MAX = 64  # numbers of workers
_STEPS_MAX = 2.0  # looks that are so many mean times apart say little of how long entries are held
# Of a misfit's logarithm: what each worker that was not seen for certain costs, and what the usual case gains.
_UNSEEN, _USUAL = 0.04, 0.05


@dataclass(frozen=True, slots=True)
class Concurrency:
    """How many entries one consumer works on at once, what is certain, and how it was found."""

    at_once: int
    at_least: int  # so many were certainly worked on at once
    held_max: int  # the most that one consumer held at a look
    seen_full: bool  # entries waited while every consumer held as many: so it is no more
    how: str

    @property
    def prefetch(self) -> int:
        """What a consumer holds beside what it works on."""
        return max(0, self.held_max - self.at_once)


def concurrency(evidence: Evidence) -> Concurrency:
    """What the deliveries and their ends tell of it. All consumers of the group are taken to be alike."""
    held = evidence.in_hand
    held_max = _held_most(evidence)
    if held_max == 1:
        full = bool(np.any((held.min(axis=0) == 1) & (evidence.waiting > 0)))
        return Concurrency(1, 1, 1, full, "no consumer was ever seen to hold more than one entry")
    at_least = min(held_max, _overtaken(evidence))
    at_once, how = at_least, f"an entry ended while {at_least - 1} older ones of its consumer were still held"
    if not evidence.reads_when_empty and evidence.step_ms / 1e3 > _STEPS_MAX * evidence.mean_s(held_max):
        at_once, how = (
            held_max,
            "what a consumer holds, an assumption: looks are too far apart to tell prefetch from work",
        )
    elif at_least < held_max and np.count_nonzero(held) >= _LOOKS_MIN:
        at_once = _best_fit(evidence, at_least, held_max)
        how = "how long entries are held and when they end, by how many their consumer holds"
    full = bool(np.any((held.min(axis=0) >= at_once) & (evidence.waiting > 0)))
    return Concurrency(at_once, at_least, held_max, full or held_max > at_once, how)


def _held_most(evidence: Evidence) -> int:
    """How many entries a consumer holds at most.

    A consumer that reads whenever it has room is full while entries wait: what it holds then most often. It may hold
    one more for a moment, if it reads before the server knows what it has ended. Where few entries waited, it is what
    one look in a hundred saw; of others, the most that was seen.
    """
    held, waited = evidence.in_hand, evidence.waiting > 0
    if not evidence.reads_when_empty and np.count_nonzero(waited) >= _LOOKS_MIN:
        return max(1, int(np.bincount(held[:, waited].ravel()).argmax()))
    holding = np.sort(held[held > 0])
    if holding.size == 0:
        return 1
    return int(holding[-1] if evidence.reads_when_empty else holding[-1 - holding.size // 100])


def _overtaken(evidence: Evidence) -> int:
    """One more than the most older entries that were still held, before and after, when an entry ended."""
    counts: dict[int, int] = {}
    for first, last in _of_consumers(evidence):
        first_look, last_look = evidence.first_look[first:last], evidence.last_look[first:last]
        gone = evidence.gone_look[first:last]
        for number in np.flatnonzero(gone < len(evidence.record.looks)):
            before = slice(max(0, number - _BEFORE), number)
            older = int(np.count_nonzero((first_look[before] < gone[number]) & (last_look[before] >= gone[number])))
            counts[older] = counts.get(older, 0) + 1
    seen, most = 0, 0
    for older in sorted(counts, reverse=True):
        seen += counts[older]
        if seen >= _TIMES_SEEN:
            most = older
            break
    return most + 1


def _best_fit(evidence: Evidence, at_least: int, at_most: int) -> int:
    """The number of workers that explains best when entries end.

    Of numbers that explain as much, the one that was certainly seen is preferred, and the one without prefetch.
    """
    tried = range(at_least, min(at_most, at_least + _TRIED_MAX) + 1)
    misfit = _misfit if evidence.reads_when_empty else _misfit_of_times
    misfits = {workers: misfit(evidence, workers) for workers in tried}
    scores = {
        workers: np.log(misfits[workers]) + _UNSEEN * (workers - at_least) - _USUAL * (workers == at_most)
        for workers in tried
    }
    return min(scores, key=scores.__getitem__)


def _misfit(evidence: Evidence, workers: int) -> float:
    """How far the number of held entries that end until the next look is from what so many workers would end.

    With c workers, entries end at the rate min(held, c) / mean, where Little's law gives the mean that belongs to c. So
    the number that ends does not grow with the number that is held, once that is above c. The mean number that is
    left is that of a fluid: it falls by c / mean a second down to c, and exponentially from there on. The misfit is
    Pearson's chi-square for each look.
    """
    held = evidence.in_hand[:, :-1]
    ended = np.zeros_like(evidence.in_hand)
    np.add.at(ended, (evidence.consumer, evidence.last_look), 1)
    step_s = np.broadcast_to(evidence.step_s, held.shape)
    use = (held > 0) & (step_s > 0)
    held, ended, step_s = held[use].astype(np.float64), ended[:, :-1][use], step_s[use]
    mean_s = max(1e-6, evidence.mean_s(workers))
    until_s = np.maximum(0.0, held - workers) * mean_s / workers  # as long as there are more than workers
    left = np.where(
        step_s < until_s,
        held - step_s * workers / mean_s,
        np.minimum(held, workers) * np.exp(-np.maximum(0.0, step_s - until_s) / mean_s),
    )
    expected = held - left
    return float(np.mean((ended - expected) ** 2 / np.maximum(expected, 0.05))) + 1e-6


def _misfit_of_times(evidence: Evidence, workers: int) -> float:
    """How far the times that entries are held are from those of so many workers, by their places: a share of the mean.

    For consumers that read whenever they have room. With c workers the n-th entry that a consumer holds waits until
    n - c of those before it have ended, one after each c-th of the mean time. So it is held for
    mean x (1 + max(0, n - c) / c). The mean is fitted by least squares.
    """
    low, high = evidence.ends_ms
    known = np.isfinite(high)
    held_ms = (low + high)[known] / 2.0 - evidence.delivered_ms[known]
    place = np.minimum(_places_held(evidence, (low + high) / 2.0)[known], _held_most(evidence))
    shape = 1.0 + np.maximum(0.0, place - workers) / workers
    mean_ms = float(held_ms @ shape / (shape @ shape))
    return float(np.mean((held_ms - mean_ms * shape) ** 2)) / float(held_ms.mean()) ** 2 + 1e-6


def observations(evidence: Evidence, begun: Bools) -> Observations:
    """The bounds of the service times of deliveries that were begun when they came."""
    began = evidence.delivered_ms[begun] + 0.5  # whole milliseconds, rounded down
    low, high = (ends[begun] for ends in evidence.ends_ms)
    seen = evidence.at_ms[evidence.first_look[begun]]
    return Observations(*((each - began).clip(min=0.0) / 1e3 for each in (seen, low, high)))


def cv_by_age(evidence: Evidence, begun: Bools, mean_s: float) -> float:
    """The coefficient of variation, by the age of what is in work at a look: its mean is E[S^2] / (2 E[S]).

    Source: the inspection paradox; W. Feller, An Introduction to Probability Theory and Its Applications II, XI.4.
    """
    ages = [
        evidence.at_ms[first : last + 1] - began - 0.5
        for first, last, began in zip(
            evidence.first_look[begun], evidence.last_look[begun], evidence.delivered_ms[begun], strict=True
        )
    ]
    age_s = float(np.concatenate(ages).clip(min=0.0).mean()) / 1e3
    return float(np.sqrt(max(0.0, 2.0 * age_s / mean_s - 1.0)))


def begun_at_once(evidence: Evidence, workers: Concurrency) -> Bools:
    """Which deliveries were surely worked on from the moment when they came, shape (kept,)."""
    if workers.held_max <= workers.at_once:
        return np.ones(len(evidence.kept), dtype=np.bool_)
    place = _places_in_read(evidence) if evidence.reads_when_empty else _places_held(evidence, evidence.ends_ms[1])
    return place <= workers.at_once  # NaN, an unknown place, is not


def _places_held(evidence: Evidence, ends: Floats) -> Floats:
    """Which place each had among all that its consumer held: 1 is the first. `ends` is when each ended, at the latest
    or about."""
    found = np.ones(len(evidence.kept))
    for first, last in _of_consumers(evidence):
        for number in range(first + 1, last):
            before = slice(max(first, number - _BEFORE), number)
            found[number] += np.count_nonzero(ends[before] > evidence.delivered_ms[number])
    return found


def _places_in_read(evidence: Evidence) -> Floats:
    """By the order of ids: unless the entry before was seen too, it may have been read together with this one."""
    ids = sorted({*evidence.record.arrivals, *(each.id for each in evidence.record.deliveries if not each.retried)})
    before = dict(zip(ids[1:], ids[:-1], strict=True))
    listed_from = min(evidence.record.arrivals, default=None)  # of those before, only what was seen is known
    seen = {each.id for each in evidence.record.deliveries}
    place_of = {
        (int(read), each.id): n for n, (read, each) in enumerate(zip(evidence.read, evidence.kept, strict=True))
    }
    left = {(each.consumer, each.id) for each in evidence.left_behind}
    found = np.full(len(evidence.kept), np.nan)
    for number, each in enumerate(evidence.kept):
        previous = before.get(each.id)
        if each.retried or each.number > 1 or previous is None or previous not in seen:
            continue
        if listed_from is None or each.id <= listed_from:
            continue
        same_read = place_of.get((int(evidence.read[number]), previous))
        if same_read is not None:
            found[number] = found[same_read] + 1.0
        elif (each.consumer, previous) not in left:
            found[number] = 1.0
    return found


def _of_consumers(evidence: Evidence) -> list[tuple[int, int]]:
    numbers: Ints = evidence.consumer
    edges = np.concatenate(([0], np.flatnonzero(np.diff(numbers)) + 1, [numbers.size]))
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
