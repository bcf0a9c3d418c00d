"""Each claim of the report is true, false or unknown by what was measured, and says what that was."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from sim.evidence.history import History, Left
from sim.infer.calibrate import probes
from sim.infer.claims import (
    CLAIMS,
    Claim,
    Measured,
    bursts_reach_50000_per_s,
    exhausted_messages_are_kept,
    idle_latency_is_below_1_ms,
    judge,
    killed_work_is_taken_over,
    nothing_is_lost,
    processing_sustains_1000_per_s,
)
from sim.infer.compare import Comparison, compare
from tests.model.small import kill
from tests.sim.handmade import NOTHING, Row, attempted, desk, history, row, sampled, sent, whole

KILLED = desk(kill("desk", 1.05, 0.5))
CALM = [3.0] * 11  # until 1.0 s


def compared(*groups: Iterable[Row], left: Left = NOTHING) -> Comparison:
    """A live history of a service of which a consumer is killed, beside a simulated one."""
    simulated, live = (history(*groups, declared=KILLED, world=world, left=left) for world in ("simulated", "live"))
    return compare(simulated, live)


def idle(latency_s: float) -> History:
    """A hundred events that reach service `one` of the calibration after `latency_s`."""
    rows = [
        one
        for i in range(100)
        for one in (*sent(i, float(i)), row("started", i + latency_s, service=0, event=0, message=i, attempt=1))
    ]
    return history(rows, declared=probes()["brisk"])


def steady(per_s: float) -> History:
    return history(*(whole(i, i / per_s, (i + 1) / per_s) for i in range(50)))


GOOD = Measured(
    (
        compared(
            whole(0, 0.0, 1.0), [row("killed", 1.05, service=0, consumer=0)], sampled(CALM + [9.0, 4.0] + [3.0] * 20)
        ),
    ),
    idle(0.0005),
    steady(2000.0),
    60_000.0,
)


def with_live(*groups: Iterable[Row], left: Left = NOTHING) -> Measured:
    return replace(GOOD, comparisons=(compared(*groups, left=left),))


def test_all_claims_of_good_runs_are_true() -> None:
    found = judge(GOOD)
    assert [claim.verdict for claim in found] == ["true"] * len(CLAIMS)
    assert len({claim.claim for claim in found}) == len(CLAIMS) == 6
    assert all(claim.measured and claim.how for claim in found)


GIVEN_UP = [
    *sent(0, 0.0),
    *(one for n in (1, 2) for one in attempted(0, n, n + 0.1, "retried", n)),
    *attempted(0, 3, 3.1, "dead", 3),
]


UNKNOWN, ENDLESS = (
    compared(whole(0, 0.0, 1.0)),
    compared(whole(0, 0.0, 1.0), sampled(CALM + [9.0] * 30), left=Left(1, 0, 0, 0, 0)),
)
ONE_UNKNOWN = replace(GOOD, comparisons=(*GOOD.comparisons, UNKNOWN))
ONE_ENDLESS = replace(GOOD, comparisons=(UNKNOWN, ENDLESS, *GOOD.comparisons))


@pytest.mark.parametrize(
    ("claim", "measured", "verdict", "said"),
    [
        (
            nothing_is_lost,
            with_live(sent(0, 0.0)),
            "false",
            "1 of 1; desk in run 0 (seed 0): 1 of 1 publishes in 1 live runs",
        ),
        (nothing_is_lost, with_live(), "unknown", "no case"),
        (
            killed_work_is_taken_over,
            with_live(sampled(CALM + [9.0] * 30), left=Left(1, 0, 0, 0, 0)),
            "false",
            "desk was not back when a run ended",
        ),
        (killed_work_is_taken_over, with_live(whole(0, 0.0, 1.0)), "unknown", "desk was not sampled"),
        (killed_work_is_taken_over, ONE_UNKNOWN, "unknown", "desk was not sampled"),
        (killed_work_is_taken_over, replace(ONE_UNKNOWN, comparisons=ONE_UNKNOWN.comparisons[::-1]), "unknown", "not"),
        (killed_work_is_taken_over, ONE_ENDLESS, "false", "desk was not back"),
        (killed_work_is_taken_over, replace(GOOD, comparisons=()), "unknown", "no consumer was killed"),
        (exhausted_messages_are_kept, with_live(GIVEN_UP, left=Left(0, 0, 0, 0, 1)), "true", "1 given up, 1 found"),
        (exhausted_messages_are_kept, with_live(GIVEN_UP), "false", "1 given up, 0 found"),
        (exhausted_messages_are_kept, with_live(attempted(0, 0, 1, attempt=9)), "false", "policy: 1 of 1"),
        (processing_sustains_1000_per_s, replace(GOOD, steady=steady(900.0)), "false", "900/s handled"),
        (processing_sustains_1000_per_s, replace(GOOD, steady=history(sent(0, 0.0))), "false", "nan/s handled"),
        (
            processing_sustains_1000_per_s,
            replace(GOOD, steady=history(whole(0, 0.0, 0.0001), sent(1, 0.0))),
            "false",
            "10,000/s handled",
        ),
        (bursts_reach_50000_per_s, replace(GOOD, burst_per_s=49_999.0), "false", "49,999/s"),
        (idle_latency_is_below_1_ms, replace(GOOD, idle=idle(0.0011)), "false", "median 1.10 ms, p99 1.10 ms"),
    ],
)
def test_a_claim_is_true_false_or_unknown_by_the_measurement(
    claim: Callable[[Measured], Claim], measured: Measured, verdict: str, said: str
) -> None:
    found = claim(measured)
    assert found.verdict == verdict
    assert said in found.measured
