"""How often attempts fail, and what follows: from what a Recording tells of deliveries, retries and dead letters."""

import numpy as np
from scipy import special

from sim.learn.evidence import Evidence
from sim.learn.findings import Finding, Retries

_ATTEMPTS = 10  # where no entry was seen to be given up
_FAILED_OUT = frozenset({"exhausted"})  # the other reasons give an entry up whatever attempts are left


def error_rate(evidence: Evidence) -> Finding:
    """The share of attempts that fail and are tried again, or would be if any were left."""
    if evidence.record.library:
        failed, attempts = evidence.added_to_retries.failed + _exhausted(evidence), evidence.attempts
        how = f"{failed:,} retries and exhausted entries after {attempts:,} attempts"
        sure = "Jeffreys' interval; a snooze counts as a retry, and a rejected entry as handled"
    else:
        failed = len(evidence.left_behind)
        attempts = int(evidence.ended.sum()) + failed
        how = f"{failed:,} deliveries of {attempts:,} were not acknowledged: delivered again, or left pending"
        sure = "Jeffreys' interval; an error that the handler's library acknowledges is not seen"
    share = min(1.0, failed / max(1, attempts))
    low, high = (float(special.betaincinv(failed + 0.5, max(0, attempts - failed) + 0.5, q)) for q in (0.025, 0.975))
    return Finding(share, "share", how, sure, 0.0 if not failed else low, high)


def retries(evidence: Evidence, findings: dict[str, Finding]) -> Retries | None:
    """What follows a failure. None: nothing failed. It adds what it finds to the findings."""
    record = evidence.record
    if findings["error_rate"].value == 0.0:
        return None
    if record.library:
        again = evidence.added_to_retries.failed
        wait_s = float(np.mean(record.delayed or [0])) * record.watched_s / max(1, again)
        findings["retry_wait"] = Finding(
            wait_s, "s", f"entries put aside at {len(record.delayed)} looks, divided by {again:,} retries",
            "the mean wait; how it grows from attempt to attempt is not seen, so all are as long",
        )  # fmt: skip
        found = findings["attempts"] = _attempts(evidence)
        return Retries(int(found.value), wait_s, jittered=True)
    first: dict[tuple[object, int], float] = {(each.id, each.number): each.delivered_ms for each in record.deliveries}
    gaps = [at_ms - first[id_, number - 1] for (id_, number), at_ms in first.items() if (id_, number - 1) in first]
    mean_s = findings["service_time"].value
    wait_s = max(0.0, float(np.median(gaps)) / 1e3 - mean_s) if gaps else 30.0
    sure = "the median" if gaps else "an assumption: no entry was delivered again while it was watched"
    findings["retry_wait"] = Finding(wait_s, "s", f"time between {len(gaps):,} deliveries of one entry", sure)
    return Retries(max(_ATTEMPTS, *(each.number for each in record.deliveries)), wait_s, jittered=False)


def notes(evidence: Evidence) -> list[str]:
    """What the reader has to know of failures."""
    record, added, found = evidence.record, evidence.added_to_retries, []
    if added.given_back:
        found.append(f"{added.given_back:,} entries were given back by consumers that left; they count as no attempt")
    if added.replayed:
        found.append(f"{added.replayed:,} dead letters were replayed; they count as attempts, and as no failures")
    if rejected := _added_dead(evidence) - _exhausted(evidence):
        reasons = sorted({each.reason for each in record.dead} - _FAILED_OUT)
        said = f" ({', '.join(reasons)})" if reasons else ""
        found.append(f"{rejected:,} entries were given up at their first failure{said}; here they are handled")
    if record.order_unknown:
        found.append("this user may not see whether the group is ordered by key; if it is, do not rely on this")
    return found


def _added_dead(evidence: Evidence) -> int:
    return evidence.record.after.dead_added - evidence.record.before.dead_added


def _exhausted(evidence: Evidence) -> int:
    """How many entries were given up because all their attempts failed: their share of the dead letters that are known.

    All of them, if no dead letter is known: they were replayed or purged.
    """
    dead = evidence.record.dead
    share = sum(each.reason in _FAILED_OUT for each in dead) / len(dead) if dead else 1.0
    return round(share * _added_dead(evidence))


def _attempts(evidence: Evidence) -> Finding:
    """How many attempts are allowed: as many as those had that ran out of them."""
    used = [each.attempts for each in evidence.record.dead if each.reason in _FAILED_OUT and each.attempts > 0]
    if not used:
        return Finding(_ATTEMPTS, "", "no dead letter says it", "an assumption: no entry was seen to run out of them")
    how = f"the median of {len(used):,} dead letters that ran out of them"
    return Finding(int(np.median(used)), "", how, "counted by the library", min(used), max(used))
