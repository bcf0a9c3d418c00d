"""What a Recording tells: arrivals, service times, concurrency, errors and retries. Pure: no clock, no server.

The mean service time is found by Little's law: how many entries are worked on, on average over the looks, divided by
how many end a second. Ends are counted by the server, so that the mean is right where most entries are never seen. The
shape comes from the entries whose beginning is known to a millisecond (see `survival`), scaled to that mean.

Source: J. D. C. Little, "A Proof for the Queuing Formula: L = lambda W", Operations Research 9 (1961).
"""

import numpy as np
from scipy import optimize, special

from sim.declare.declared import Floats
from sim.learn import failures
from sim.learn.evidence import Evidence
from sim.learn.findings import Finding, LagSeen, Learned
from sim.learn.recording import Recording
from sim.learn.survival import estimate
from sim.learn.workers import KNOWN_MIN, Concurrency, begun_at_once, concurrency, cv_by_age, observations

VALUES = 200  # equally probable service times that a scenario gets
BLOCKS = 20  # parts of the time that was watched, which stand for independent repetitions
_CONFIDENCE = 0.95
_SHAPE_TOLERANCE = 0.25  # a shape whose mean, as a logarithm, is so far from Little's is not relied on
_FULL_LOOKS_MIN = 30
_MISSED_MAX = 0.05  # of the listed entries: if more were deleted unseen, the others' lag is not that of all
_WAIT_SHARE_MAX = 0.3  # a consumer that leaves so much waiting is not explained by the time between two entries


class TooLittle(Exception):
    """What was seen is not enough. The message says what is missing."""


def learn(record: Recording) -> Learned:
    """The service behind a recording.

    Raises:
        TooLittle: nothing arrived, or nothing was handled.
    """
    if len(record.looks) < 2:
        raise TooLittle("it was watched for too short a time; watch for some seconds")
    evidence = Evidence(record)
    workers = concurrency(evidence)
    _check(evidence)
    findings = {"arrival_rate": _arrival_rate(evidence)}
    service_s, findings["service_time"] = _service_times(evidence, workers)
    service_s *= 1.0 + _between(evidence, workers, findings)
    findings["consumers"] = _consumers(evidence)
    findings["concurrency"] = _concurrency(workers)
    findings["error_rate"] = failures.error_rate(evidence)
    retries = failures.retries(evidence, findings)
    at_begin = int(evidence.waiting[0] + evidence.in_hand[:, 0].sum())
    arrivals_s = (evidence.arrivals_ms - evidence.begin_ms).clip(min=0.0) / 1e3
    return Learned(
        np.concatenate((np.zeros(at_begin), arrivals_s)),
        at_begin,
        evidence.begin_ms,
        service_s,
        evidence.consumers,
        workers,
        retries,
        _lag(evidence),
        findings,
        _notes(evidence, workers),
    )


def _check(evidence: Evidence) -> None:
    watched = f"in the {evidence.record.watched_s:.0f} s that it was watched"
    dead, working = evidence.consumers.dead, evidence.consumers.working
    if not evidence.ended.sum():
        if evidence.arrivals_ms.size == 0 and not evidence.waiting[-1] and not evidence.pending[-1]:
            empty = " and is empty" if not evidence.record.after.length else ""
            raise TooLittle(f"nothing arrived {watched}: the stream is idle{empty}; watch while it is used")
        what = f"{evidence.pending[-1]:,} entries are pending and {evidence.waiting[-1]:,} wait"
        who = f"{len(working)} of its consumers ask for entries, {len(dead)} hold entries and do nothing"
        raise TooLittle(f"nothing was handled {watched}: {what}, {who}; start its consumers, or watch for longer")
    if evidence.arrivals_ms.size == 0:
        raise TooLittle(f"nothing arrived {watched}, so there is no load to learn; watch while the stream is used")


# Arrivals


def _arrival_rate(evidence: Evidence) -> Finding:
    edges = np.linspace(evidence.begin_ms, evidence.end_ms, BLOCKS + 1)
    in_trace, watched_s = evidence.arrivals_ms.size, evidence.record.watched_s
    lacking = evidence.lacking
    n = in_trace + lacking
    counts = np.histogram(evidence.arrivals_ms, edges)[0] * n / in_trace
    half = float(special.stdtrit(BLOCKS - 1, 0.5 + _CONFIDENCE / 2) * counts.std(ddof=1) * np.sqrt(BLOCKS) / watched_s)
    rate = n / watched_s
    times = "the times in their ids" if evidence.ids_are_times else "when they were listed: their ids are no times"
    if evidence.missed:
        times += f", and {evidence.missed:,} that were not listed by the stream's own count"
    there = f"the trace lacks {lacking:,} of them" if lacking else "the trace has every one of them"
    return Finding(
        rate, "1/s", f"{n:,} entries in {watched_s:.1f} s, by {times}",
        f"{there}; the interval says how the rate varies", max(0.0, rate - half), rate + half,
    )  # fmt: skip


# Service times


def _service_times(evidence: Evidence, workers: Concurrency) -> tuple[Floats, Finding]:
    mean_s, half_s = _mean(evidence, workers)
    begun = begun_at_once(evidence, workers)
    n = int(np.count_nonzero(begun))
    ends = f"{int(evidence.ended.sum()):,} ends"
    how = f"mean: entries in work at {len(evidence.record.looks):,} looks, divided by {ends} (Little's law); shape: "
    if n < KNOWN_MIN:
        cv, values = 1.0, mean_s * -np.log1p(-(np.arange(VALUES) + 0.5) / VALUES)
        how, sure = how + "exponential", f"the shape is an assumption: only {n} beginnings are known"
    else:
        cv = cv_by_age(evidence, begun, mean_s)
        seen = estimate(observations(evidence, begun))
        if evidence.step_ms / 1e3 > mean_s or abs(np.log(seen.mean_s / mean_s)) > _SHAPE_TOLERANCE:
            values = _gamma(mean_s, cv)
            how += f"gamma, with the CV by the age of entries in work ({n:,} of them seen)"
            sure = f"the shape is an assumption: ends lie within {evidence.step_ms:.0f} ms; CV {cv:.2g}"
        else:
            values = seen.values(VALUES)
            how += f"{n:,} entries whose beginning is known, each with its end between two looks (Turnbull)"
            sure = f"each end is known to {evidence.step_ms:.0f} ms; CV {cv:.2g}"
    return _scaled(values, mean_s, cv), Finding(mean_s, "s", how, sure, max(0.0, mean_s - half_s), mean_s + half_s)


def _gamma(mean_s: float, cv: float) -> Floats:
    if cv < 0.01:
        return np.full(VALUES, mean_s)
    values: Floats = mean_s * cv**2 * special.gammaincinv(1.0 / cv**2, (np.arange(VALUES) + 0.5) / VALUES)
    return values


def _scaled(values: Floats, mean_s: float, cv: float) -> Floats:
    """The values raised to a power and multiplied, so that they have this mean and coefficient of variation."""
    values = np.maximum(values, 1e-6)

    def too_wide(power: float) -> float:
        raised = values**power
        return float(raised.std() / raised.mean()) - cv

    low, high = 0.05, 3.0
    power = low if too_wide(low) > 0 else high if too_wide(high) < 0 else float(optimize.brentq(too_wide, low, high))
    raised = values**power
    scaled: Floats = raised * (mean_s / raised.mean())
    return scaled


def _mean(evidence: Evidence, workers: Concurrency) -> tuple[float, float]:
    """The mean service time, and half of its confidence interval."""
    in_work = np.minimum(evidence.in_hand, workers.at_once).sum(axis=0)
    return ratio(in_work * evidence.weight_s, np.append(evidence.ends, 0.0))


def ratio(over: Floats, under: Floats) -> tuple[float, float]:
    """The ratio of two sums over the looks, and half of its confidence interval, by the jackknife over blocks of time.

    Looks that follow each other see the same entries, so they are no repetitions; blocks nearly are.
    """
    block = np.minimum((np.arange(over.size) * BLOCKS) // over.size, BLOCKS - 1)
    over_of, under_of = np.bincount(block, over, BLOCKS), np.bincount(block, under, BLOCKS)
    total = over_of.sum() / under_of.sum()
    without = under_of.sum() - under_of
    others = np.where(without > 0, over_of.sum() - over_of, total) / np.where(without > 0, without, 1.0)
    spread = np.sqrt((BLOCKS - 1) / BLOCKS * np.sum((others - others.mean()) ** 2))
    return float(total), float(special.stdtrit(BLOCKS - 1, 0.5 + _CONFIDENCE / 2) * spread)


def _between(evidence: Evidence, workers: Concurrency, findings: dict[str, Finding]) -> float:
    """How much longer an entry takes its consumer than the handler: the time until the next one is there, as a share.

    While entries wait, a consumer that works on less than it could is between two of them.
    """
    slots = workers.at_once * max(1, len(evidence.consumers.working))
    waited = (evidence.waiting > 0) & (evidence.weight_s > 0)
    n = int(np.count_nonzero(waited))
    how = f"slots that were free at {n:,} looks at which entries waited"
    if n < _FULL_LOOKS_MIN:
        findings["between_entries"] = Finding(0.0, "share", how, "too few such looks: taken to be nothing")
        return 0.0
    waited_s = np.where(waited, evidence.weight_s, 0.0)
    free = 1.0 - np.minimum(evidence.in_hand, workers.at_once).sum(axis=0) / slots
    share, half = ratio(free * waited_s, waited_s)
    if share > _WAIT_SHARE_MAX:
        sure = "too much to be the time between two entries: consumers leave work waiting; taken to be nothing"
        findings["between_entries"] = Finding(share, "share", how, sure)
        return 0.0
    sure = "added to each service time, because the simulated consumer takes the next entry at once"
    findings["between_entries"] = Finding(share, "share", how, sure, max(0.0, share - half), share + half)
    return share / (1.0 - share)


# Consumers


def _consumers(evidence: Evidence) -> Finding:
    found = evidence.consumers
    apart = [f"{len(found.dead)} dead (they hold entries and do nothing)"] if found.dead else []
    apart += [f"{len(found.silent)} silent"] if found.silent else []
    sure = f"counted apart: {', '.join(apart)}" if apart else "the group remembers no others"
    return Finding(len(found.working), "", "consumers that got entries, or asked for some", sure)


def _concurrency(workers: Concurrency) -> Finding:
    full = "entries waited while all were busy, so it is no more" if workers.seen_full else "it may be more: at least"
    most = float(workers.at_once) if workers.seen_full else None
    return Finding(workers.at_once, "", workers.how, full, float(workers.at_least), most)


# Lag


def _lag(evidence: Evidence) -> LagSeen:
    """What is known of the lag of entries that arrived while they were watched: from the id until it was not held."""
    in_system = evidence.waiting + evidence.in_hand.sum(axis=0)
    mean_s = float(in_system @ evidence.weight_s / max(1, int(evidence.ended.sum())))
    first_attempts = bool(evidence.record.library)
    timed = zip(evidence.record.arrivals, evidence.are_times.tolist(), strict=True)
    ids = [id_ for id_, is_time in timed if is_time and evidence.begin_ms <= id_.ms <= evidence.end_ms]
    if unknown := _lag_unknown(evidence, len(ids)):
        return LagSeen(mean_s, (np.nan, np.nan), (np.nan, np.nan), 0, first_attempts, unknown)
    added = np.array([id_.ms for id_ in ids]) + 0.5
    last = [tuple(state.last_delivered) for _, state in evidence.record.looks]
    position = _first_at_least(last, [tuple(id_) for id_ in ids])
    times = np.append(evidence.at_ms, np.inf)
    low = np.maximum(added, np.where(position > 0, times[position - 1], 0.0))
    high = times[position]
    number = {id_: n for n, id_ in enumerate(ids)}
    for each in evidence.left_behind:  # what followed may not have been seen
        if (at := number.get(each.id)) is not None:
            low[at] = evidence.at_ms[each.last_look]
            high[at] = np.inf if each.gone_look is None else evidence.at_ms[each.gone_look]
    ends_low, ends_high = evidence.ends_ms
    for n, each in enumerate(evidence.kept):
        if not each.retried and (at := number.get(each.id)) is not None:
            low[at], high[at] = ends_low[n], ends_high[n]
    low = np.where(np.isinf(high), evidence.end_ms, low)  # not ended: at least so long
    high = np.minimum(high, max(evidence.end_ms, float(low.max(initial=0.0))))
    lows, highs = (low - added).clip(min=0.0) / 1e3, (high - added).clip(min=0.0) / 1e3
    p50, p95 = ((float(np.quantile(lows, q)), float(np.quantile(highs, q))) for q in (0.5, 0.95))
    return LagSeen(mean_s, p50, p95, len(ids), first_attempts)


def _lag_unknown(evidence: Evidence, n: int) -> str:
    """Why the quantiles of lag are not known from n entries whose ids are times; empty if they are."""
    if not evidence.ids_are_times:
        return "the ids are no times"
    if evidence.missed > _MISSED_MAX * n:  # those that were listed are the ones that stayed for longer
        return f"{evidence.missed:,} entries were deleted before they were listed"
    return "" if n else "nothing arrived after the first look"


def _first_at_least(ascending: list[tuple[int, ...]], wanted: list[tuple[int, ...]]) -> np.ndarray:
    from bisect import bisect_left

    return np.array([bisect_left(ascending, each) for each in wanted], dtype=np.int64)


# What the reader has to know


def _notes(evidence: Evidence, workers: Concurrency) -> list[str]:
    record, found = evidence.record, []
    looks = len(record.looks)
    if record.changes.interrupted:
        found.append(f"watching was ended early, after {record.watched_s:.0f} s")
    for begin_s, end_s in record.changes.holes:
        found.append(f"nothing was seen from {begin_s:.1f} to {end_s:.1f} s: {record.changes.problem or 'no reply'}")
    if evidence.missed:
        in_trace = evidence.missed - evidence.lacking
        there = f"{in_trace:,} of them are in the trace, from look to look" if in_trace else "the trace lacks them"
        found.append(f"{evidence.missed:,} entries were deleted or trimmed before they were listed; {there}")
    if strange := int(np.count_nonzero(~evidence.are_times)):
        known = "they are spread over the time since the list before, and their lag is left out"
        found.append(f"{strange:,} of {len(record.arrivals):,} ids are not this server's time: {known}")
    if by_ids := evidence.looks_by_ids:
        known = "there, ids were counted; those that were deleted are not known"
        found.append(f"at {by_ids:,} of {looks:,} looks the server did not know what was read or waits: {known}")
    if record.backlog_cut_off:
        found.append(f"only {len(record.backlog):,} of the entries that waited at the start are known")
    if record.not_listed:
        found.append(f"{record.not_listed:,} entries were pending at the start, too many to list; they are left out")
    if record.changes.cut_off:
        found.append(f"the list of pending entries was cut off at {record.changes.cut_off:,} looks")
    if workers.prefetch and evidence.reads_when_empty and len(evidence.consumers.working) > 1:
        found.append("consumers end all of one read before they read again; the simulated ones read ahead (prefetch)")
    return found + failures.notes(evidence)
