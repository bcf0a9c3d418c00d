"""What a Recording tells: arrivals, service times, concurrency, errors and retries. Pure: no clock, no server.

The mean service time is found by Little's law: how many entries are worked on, on average over the looks, divided by
how many end a second. Ends are counted by the server, so that the mean is right where most entries are never seen. The
shape comes from the entries whose beginning is known to a millisecond (see `survival`), scaled to that mean.

Source: J. D. C. Little, "A Proof for the Queuing Formula: L = lambda W", Operations Research 9 (1961).
"""

import numpy as np
from scipy import optimize, stats

from sim.declare.declared import Floats
from sim.learn.evidence import Evidence
from sim.learn.findings import Finding, LagSeen, Learned, Retries
from sim.learn.recording import Recording
from sim.learn.survival import estimate
from sim.learn.workers import KNOWN_MIN, Concurrency, begun_at_once, concurrency, cv_by_age, observations

VALUES = 200  # equally probable service times that a scenario gets
BLOCKS = 20  # parts of the time that was watched, which stand for independent repetitions
_CONFIDENCE = 0.95
_SHAPE_TOLERANCE = 0.25  # a shape whose mean, as a logarithm, is so far from Little's is not relied on
_FULL_LOOKS_MIN = 30
_ATTEMPTS = 10  # where no entry was seen to be given up
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
    findings["error_rate"] = _error_rate(evidence)
    retries = _retries(evidence, findings)
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
    n = evidence.arrivals_ms.size
    watched_s = evidence.record.watched_s
    counts = np.histogram(evidence.arrivals_ms, edges)[0]
    half = float(stats.t.ppf(0.5 + _CONFIDENCE / 2, BLOCKS - 1) * counts.std(ddof=1) * np.sqrt(BLOCKS) / watched_s)
    rate = n / watched_s
    times = "the times in their ids" if evidence.ids_are_times else "when they were listed: their ids are no times"
    return Finding(
        rate, "1/s", f"{n:,} entries in {watched_s:.1f} s, by {times}",
        "the trace has every one of them; the interval says how the rate varies", max(0.0, rate - half), rate + half,
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
    values: Floats = stats.gamma.ppf((np.arange(VALUES) + 0.5) / VALUES, 1.0 / cv**2, scale=mean_s * cv**2)
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
    """The mean service time, and half of its confidence interval: a ratio, by the jackknife over blocks of time."""
    in_work = np.minimum(evidence.in_hand, workers.at_once).sum(axis=0)
    worked_s = in_work * evidence.weight_s
    ends = np.append(evidence.ends, 0.0)
    block = np.minimum((np.arange(worked_s.size) * BLOCKS) // worked_s.size, BLOCKS - 1)
    worked_of = np.bincount(block, worked_s, BLOCKS)
    ends_of = np.bincount(block, ends, BLOCKS)
    total = worked_of.sum() / ends_of.sum()
    others = (worked_of.sum() - worked_of) / np.maximum(1.0, ends_of.sum() - ends_of)
    spread = np.sqrt((BLOCKS - 1) / BLOCKS * np.sum((others - others.mean()) ** 2))
    return float(total), float(stats.t.ppf(0.5 + _CONFIDENCE / 2, BLOCKS - 1) * spread)


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
    free = 1.0 - np.minimum(evidence.in_hand, workers.at_once).sum(axis=0)[waited] / slots
    share = max(0.0, float(np.average(free, weights=evidence.weight_s[waited])))
    if share > _WAIT_SHARE_MAX:
        sure = "too much to be the time between two entries: consumers leave work waiting; taken to be nothing"
        findings["between_entries"] = Finding(share, "share", how, sure)
        return 0.0
    spread = 1.96 * float(free.std()) / np.sqrt(n)
    sure = "added to each service time, because the simulated consumer takes the next entry at once"
    findings["between_entries"] = Finding(share, "share", how, sure, max(0.0, share - spread), share + spread)
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


# Failures


def _error_rate(evidence: Evidence) -> Finding:
    record = evidence.record
    if record.library:
        failed = record.after.retries_added + record.after.dead_added
        failed -= record.before.retries_added + record.before.dead_added
        attempts = int(evidence.ended.sum()) + record.after.retries_added - record.before.retries_added
        how = f"{failed:,} retries and dead letters after {attempts:,} attempts"
    else:
        failed = len(evidence.left_behind)
        attempts = int(evidence.ended.sum()) + failed
        how = f"{failed:,} deliveries of {attempts:,} were not acknowledged: delivered again, or left pending"
    share = min(1.0, failed / max(1, attempts))
    low, high = (float(stats.beta.ppf(q, failed + 0.5, max(0, attempts - failed) + 0.5)) for q in (0.025, 0.975))
    sure = "Jeffreys' interval; an error that the handler's library acknowledges is not seen"
    return Finding(share, "share", how, sure, 0.0 if not failed else low, high)


def _retries(evidence: Evidence, findings: dict[str, Finding]) -> Retries | None:
    record, rate = evidence.record, findings["error_rate"].value
    if rate == 0.0:
        return None
    if record.library:
        again = record.after.retries_added - record.before.retries_added
        wait_s = float(np.mean(record.delayed or [0])) * record.watched_s / max(1, again)
        findings["retry_wait"] = Finding(
            wait_s, "s", f"entries put aside at {len(record.delayed)} looks, divided by {again:,} retries",
            "the mean wait; how it grows from attempt to attempt is not seen",
        )  # fmt: skip
        return Retries(_attempts(evidence, rate), wait_s, jittered=True)
    first: dict[tuple[object, int], float] = {(each.id, each.number): each.delivered_ms for each in record.deliveries}
    gaps = [at_ms - first[id_, number - 1] for (id_, number), at_ms in first.items() if (id_, number - 1) in first]
    mean_s = findings["service_time"].value
    wait_s = max(0.0, float(np.median(gaps)) / 1e3 - mean_s) if gaps else 30.0
    sure = "the median" if gaps else "an assumption: no entry was delivered again while it was watched"
    findings["retry_wait"] = Finding(wait_s, "s", f"time between {len(gaps):,} deliveries of one entry", sure)
    return Retries(max(_ATTEMPTS, *(each.number for each in record.deliveries)), wait_s, jittered=False)


def _attempts(evidence: Evidence, rate: float) -> int:
    """How many attempts are allowed, by the share of entries that were given up: rate ** attempts."""
    record = evidence.record
    dead = record.after.dead_added - record.before.dead_added
    if dead < 1 or not 0.0 < rate < 1.0:
        return _ATTEMPTS
    return max(1, round(float(np.log(dead / max(1, evidence.ended.sum())) / np.log(rate))))


# Lag


def _lag(evidence: Evidence) -> LagSeen:
    """What is known of the lag of entries that arrived while they were watched: from the id until it was not held."""
    in_system = evidence.waiting + evidence.in_hand.sum(axis=0)
    mean_s = float(in_system @ evidence.weight_s / max(1, int(evidence.ended.sum())))
    if not evidence.ids_are_times:
        return LagSeen(mean_s, (np.nan, np.nan), (np.nan, np.nan), 0, bool(evidence.record.library))
    ids = [id_ for id_ in evidence.record.arrivals if evidence.begin_ms <= id_.ms <= evidence.end_ms]
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
    return LagSeen(mean_s, p50, p95, len(ids), bool(evidence.record.library))


def _first_at_least(ascending: list[tuple[int, ...]], wanted: list[tuple[int, ...]]) -> np.ndarray:
    from bisect import bisect_left

    return np.array([bisect_left(ascending, each) for each in wanted], dtype=np.int64)


# What the reader has to know


def _notes(evidence: Evidence, workers: Concurrency) -> list[str]:
    record, found = evidence.record, []
    missed = record.after.added - record.before.added - len(record.arrivals)
    if record.changes.interrupted:
        found.append(f"watching was ended early, after {record.watched_s:.0f} s")
    for begin_s, end_s in record.changes.holes:
        found.append(f"nothing was seen from {begin_s:.1f} to {end_s:.1f} s: {record.changes.problem or 'no reply'}")
    if missed > max(2, 0.001 * len(record.arrivals)):
        found.append(f"{missed:,} entries were deleted or trimmed before they were listed; they are not in the trace")
    if record.not_listed:
        found.append(f"{record.not_listed:,} entries were pending at the start, too many to list; they are left out")
    if record.changes.cut_off:
        found.append(f"the list of pending entries was cut off at {record.changes.cut_off:,} looks")
    if workers.prefetch and evidence.reads_when_empty and len(evidence.consumers.working) > 1:
        found.append("consumers end all of one read before they read again; the simulated ones read ahead (prefetch)")
    return found
