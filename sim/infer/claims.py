"""What is claimed of the library, and what the runs of a validation say about it. One function for each claim."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sim.declare.declared import Floats
from sim.declare.faults.kill import Kill
from sim.evidence.checks import Check, Verdict, check, verdict_of_all
from sim.evidence.history import History
from sim.evidence.instrument import lateness_s_p99
from sim.evidence.metrics import dead_letters, measure, totals
from sim.infer.compare import Comparison

BURST = 50_000  # events that the burst publishes


@dataclass(frozen=True, slots=True)
class Claim:
    """Something said of the library, what was measured of it, and how."""

    claim: str
    measured: str
    verdict: Verdict
    how: str


@dataclass(frozen=True, slots=True)
class Measured:
    """The runs that claims are judged by.

    `idle` is the history of the calibration, whose services are idle most of the time. `steady` is that of a steady
    load of 2,000 events a second. `burst_per_s` is the speed at which a burst was published.
    """

    comparisons: tuple[Comparison, ...]
    idle: History
    steady: History
    burst_per_s: float


def judge(measured: Measured) -> tuple[Claim, ...]:
    """Every claim with its verdict, in the order of the report."""
    return tuple(claim(measured) for claim in CLAIMS)


def nothing_is_lost(measured: Measured) -> Claim:
    """No publish that the server acknowledged is lost, although consumers are killed."""
    judged = _checks(measured, "lost", "pending")
    total = totals(comparison.live for comparison in measured.comparisons)
    return Claim(
        "At-least-once delivery: nothing the server acknowledged is lost",
        f"{'; '.join(sorted({check.detail for check in judged if check.verdict != 'true'})) or 'none lost'}"
        f" of {total.published:,} publishes in {total.runs} live runs with {total.killed} SIGKILLs",
        verdict_of_all(check.verdict for check in judged),
        "every acknowledged publish is looked for among the handled and dead-lettered, in notes that survive a kill",
    )


def killed_work_is_taken_over(measured: Measured) -> Claim:
    """The backlog of a killed consumer's service comes back to what it was."""
    found = [(name, values) for comparison in measured.comparisons for name, values in _recoveries_s(comparison)]
    if not found:
        return Claim("A killed consumer's work is taken over", "no consumer was killed", "unknown", "")
    recoveries_s = np.concatenate([values for _, values in found])
    names = ", ".join(dict.fromkeys(name for name, _ in found))
    text, verdict = _slowest(recoveries_s)
    return Claim(
        "A killed consumer's work is taken over",
        f"the backlog of {names} {text}",
        verdict,
        "time from the first fault until the sampled backlog stays a second long at or below its highest before it",
    )


def exhausted_messages_are_kept(measured: Measured) -> Claim:
    """A message that keeps failing is tried as often as its policy says, and is then kept in the dead-letter queue."""
    found = [
        dead_letters(comparison.live.rows, (left for run in comparison.live.runs for left in run.left.values()))
        for comparison in measured.comparisons
    ]
    recorded, kept = sum(one.recorded for one in found), sum(one.kept for one in found)
    tried = _checks(measured, "attempts_within_policy")
    return Claim(
        "What keeps failing is tried as often as its policy says, then kept in the dead-letter queue",
        f"{recorded} given up, {kept} found in the dead-letter queues; attempts beyond the policy: "
        + ", ".join(check.detail for check in tried),
        verdict_of_all(check.verdict for check in tried) if recorded <= kept else "false",
        "dead letters that the consumers noted against the length of the queues in Redis",
    )


def processing_sustains_1000_per_s(measured: Measured) -> Claim:
    """Two consumer processes keep up with far more than a thousand messages a second."""
    steady = measured.steady
    per_s = float(measure(steady)["throughput_per_s"][0])
    nothing_lost = next(found for found in check(steady) if found.name == "lost").verdict == "true"
    return Claim(
        "Processing sustains 1,000 messages a second and more",
        f"{per_s:,.0f}/s handled of 2,000/s offered; "
        f"the generator's p99 lateness was {lateness_s_p99(steady.rows) * 1000:.1f} ms",
        "true" if per_s >= 1000 and nothing_lost else "false",
        "3 s of open-loop load on two consumer processes, retries and leases on",
    )


def bursts_reach_50000_per_s(measured: Measured) -> Claim:
    """One process publishes a burst at fifty thousand events a second."""
    return Claim(
        "Publishing bursts reach 50,000 messages a second",
        f"{measured.burst_per_s:,.0f}/s",
        "true" if measured.burst_per_s >= 50_000 else "false",
        f"publish_many of {BURST:,} typed events of about 470 bytes, encoded, sent and acknowledged by one process",
    )


def idle_latency_is_below_1_ms(measured: Measured) -> Claim:
    """The median event reaches the handler of an idle service within a millisecond."""
    frame = measured.idle.frame()
    sent_s = frame[(frame["kind"] == "sent") & (frame["event"] == "first")].set_index("message")["t_s"]
    first = frame[(frame["kind"] == "started") & (frame["service"] == "one") & (frame["attempt"] == 1)]
    latencies_s = (first.set_index("message")["t_s"] - sent_s).to_numpy()
    p50_ms, p99_ms = (float(np.quantile(latencies_s, q)) * 1000 for q in (0.5, 0.99))
    return Claim(
        "Half of the events reach an idle service in less than a millisecond (median)",
        f"median {p50_ms:.2f} ms, p99 {p99_ms:.2f} ms",
        "true" if p50_ms < 1.0 else "false",
        "from handing it to the bus in one process to the start of the handler in another, "
        f"{measured.idle.scenario.offered_load.in_words()}",
    )


CLAIMS: tuple[Callable[[Measured], Claim], ...] = (
    nothing_is_lost,
    killed_work_is_taken_over,
    exhausted_messages_are_kept,
    processing_sustains_1000_per_s,
    bursts_reach_50000_per_s,
    idle_latency_is_below_1_ms,
)


def _slowest(recoveries_s: Floats) -> tuple[str, Verdict]:
    """What the slowest recovery was, and the verdict on it. One without an end counts before one that is not known."""
    if np.isinf(recoveries_s).any():
        return "was not back when a run ended", "false"
    if np.isnan(recoveries_s).any():
        return "was not sampled before the fault in every run", "unknown"
    return f"was back {recoveries_s.max():.2f} s after the service's first fault at the latest", "true"


def _checks(measured: Measured, *names: str) -> list[Check]:
    """The checks of these names on all live runs."""
    return [found for comparison in measured.comparisons for found in comparison.checks if found.name in names]


def _recoveries_s(comparison: Comparison) -> list[tuple[str, Floats]]:
    """Services that lost a consumer, and the recovery of each in every live run."""
    metrics = measure(comparison.live)
    scenario = comparison.live.scenario
    killed = dict.fromkeys(
        fault.service for fault in scenario.faults if isinstance(fault, Kill) and fault.service in scenario.services
    )
    names = [(service, name) for service in killed for name in (f"{service}.recovery_s", "recovery_s")]
    return [(service, metrics[name]) for service, name in names if name in metrics]
