"""Metrics of histories whose numbers are known."""

import math

import numpy as np
import pytest

from sim.declare.declared import Floats
from sim.declare.faults.errors import Errors
from sim.declare.scenario import Scenario
from sim.evidence.checks import check as check_history
from sim.evidence.export import history_json
from sim.evidence.history import History, Left
from sim.evidence.instrument import lateness_s, lateness_s_p99
from sim.evidence.lags import lags, last_services
from sim.evidence.metrics import (
    Interval,
    attempts,
    dead_letters,
    is_predicted,
    measure,
    sent_per_run,
    summaries,
    summarize,
    unit_of,
)
from sim.evidence.recovery import backlog, left_over, recoveries_s, recovery_s
from tests.model.small import kill
from tests.sim.handmade import NOTHING, attempted, chain, desk, history, row, sampled, sent, whole


def metric(of: History, name: str) -> float:
    """Of the only run."""
    (value,) = measure(of)[name]
    return float(value)


def test_lag_counts_from_the_intended_time() -> None:
    """A hundred lags of 1, 2, ... 100 ms. Quantiles are interpolated linearly."""
    known = history(*(whole(i, 0.5, 0.5 + (i + 1) / 1000) for i in range(100)))
    assert metric(known, "lag_s_p50") == pytest.approx(0.0505)
    assert metric(known, "lag_s_p95") == pytest.approx(0.09505)
    assert metric(known, "lag_s_p99") == pytest.approx(0.09901)
    assert lags(known).lag_s.tolist() == pytest.approx([(i + 1) / 1000 for i in range(100)])
    assert metric(known, "throughput_per_s") == pytest.approx(100 / 0.6)


def test_a_late_generator_does_not_shorten_the_lag() -> None:
    """No coordinated omission: a customer also waits for the time by which the generator was late."""
    late = history(sent(0, 1.0, late_s=0.25), attempted(0, 1.25, 1.5, intended_s=1.0))
    assert metric(late, "lag_s_p50") == pytest.approx(0.5)
    assert metric(late, "lateness_s_p99") == pytest.approx(0.25)
    assert lateness_s(late.rows).tolist() == pytest.approx([0.25])


def test_lateness_is_that_of_the_load_only() -> None:
    """A service emits when it has handled a message, which is not late."""
    emitted = sent(0, 1.0, late_s=3.0, service=0, consumer=0, event=1)
    assert metric(history(whole(0, 1.0, 2.0), emitted, declared=chain()), "lateness_s_p99") == 0.0


def test_the_lag_of_the_system_is_that_of_its_last_service() -> None:
    billed = whole(0, 1.0, 1.5)
    shipped = attempted(0, 1.5, 3.0, service=1, event=1, intended_s=1.0)
    both = history(billed, sent(0, 1.0, late_s=0.5, service=0, event=1), shipped, declared=chain())
    assert metric(both, "lag_s_p50") == pytest.approx(2.0)
    assert metric(both, "billing.lag_s_p50") == pytest.approx(0.5)
    assert metric(both, "shipping.lag_s_p50") == pytest.approx(2.0)
    assert lags(both).lag_s.tolist() == lags(both, "shipping").lag_s.tolist() != lags(both, "billing").lag_s.tolist()


def test_a_message_handled_twice_counts_once_when_first_done() -> None:
    """The second time is a duplicate. It changes neither lag nor throughput."""
    twice = history(whole(0, 0.0, 1.0), attempted(0, 2.0, 5.0, attempt=2), whole(1, 0.0, 1.0))
    assert metric(twice, "duplicates") == 1.0
    assert metric(twice, "lag_s_p99") == pytest.approx(1.0)
    assert metric(twice, "throughput_per_s") == pytest.approx(2.0)


def test_the_same_message_of_two_runs_is_no_duplicate() -> None:
    two = history(whole(0, 0.0, 1.0), [*sent(0, 0.0, run=1), *attempted(0, 0.0, 3.0, run=1)], seeds=(0, 1))
    assert measure(two)["duplicates"].tolist() == [0.0, 0.0]
    assert measure(two)["lag_s_p50"].tolist() == pytest.approx([1.0, 3.0])
    assert lags(two).lag_s.tolist() == pytest.approx([1.0, 3.0])


def test_a_message_that_was_never_handled_counts_as_at_least_the_runs_end() -> None:
    """Three in a hundred are handled, in no time. The run ends after ten seconds."""
    known = history(*(whole(i, 0.0, 0.01) for i in range(3)), *(sent(i, 0.0) for i in range(3, 100)))
    assert [metric(known, f"lag_s_{name}") for name in ("p50", "p95", "p99")] == [10.0] * 3
    assert metric(known, "unhandled") == pytest.approx(0.97)
    told = summaries(known)["lag_s_p95"]
    assert (told.mean, math.isnan(told.low)) == (10.0, True)
    assert told.unhandled == pytest.approx(0.97)
    assert lags(known).lag_s.tolist() == pytest.approx([0.01] * 3 + [10.0] * 97)
    assert lags(known).handled.tolist() == [True] * 3 + [False] * 97
    found = history_json(known, summaries(known), [])["metrics"]["lag_s_p95"]
    assert (found["mean"], found["at_least"]) == (10.0, True)
    assert found["unhandled"] == pytest.approx(0.97)


def test_a_quantile_below_the_unhandled_is_no_lower_bound() -> None:
    known = history(*(whole(i, 0.0, 0.01) for i in range(97)), *(sent(i, 0.0) for i in range(97, 100)))
    found = measure(known)
    assert [float(found[f"lag_s_{name}"][0]) for name in ("p50", "p95", "p99")] == [0.01, 0.01, 10.0]
    shares = [float(found.unhandled[f"lag_s_{name}"][0]) for name in ("p50", "p95", "p99")]
    assert shares == pytest.approx([0.0, 0.0, 0.03])


def test_where_nothing_was_handled_the_lag_is_a_lower_bound() -> None:
    known = history(sent(0, 1.0))
    assert (metric(known, "lag_s_p50"), metric(known, "unhandled")) == (10.0, 1.0)


def test_a_message_stuck_upstream_is_unhandled_downstream() -> None:
    """Billing handled one order of two. Shipping never saw the other one, and customers wait for it all the same."""
    shipped = attempted(0, 1.5, 3.0, service=1, event=1, intended_s=1.0)
    half = history(whole(0, 1.0, 1.5), sent(1, 1.0), sent(0, 1.0, service=0, event=1), shipped, declared=chain())
    for prefix in ("", "billing.", "shipping."):
        assert metric(half, f"{prefix}unhandled") == 0.5, prefix
        assert metric(half, f"{prefix}lag_s_p99") > 9.0, prefix


def test_what_was_given_up_is_a_dead_letter_and_nothing_unhandled() -> None:
    """Neither where it was given up nor at the services that never heard of it."""
    shipped = attempted(0, 1.5, 3.0, service=1, event=1, intended_s=1.0)
    dead = [*sent(1, 1.0), *attempted(1, 1.0, 2.0, "dead")]
    known = history(whole(0, 1.0, 1.5), dead, sent(0, 1.0, service=0, event=1), shipped, declared=chain())
    for prefix in ("", "billing.", "shipping."):
        assert metric(known, f"{prefix}unhandled") == 0.0, prefix
    assert metric(known, "billing.dead_letters") == 1.0
    assert metric(known, "lag_s_p99") == pytest.approx(2.0)


def test_attempts_count_messages_by_the_attempt_that_settled_them() -> None:
    first, again = attempted(1, 0.0, 0.1, "retried", 1), attempted(1, 0.2, 0.3, "retried", 2)
    dead = attempted(2, 0.0, 0.1, "retried", 1) + attempted(2, 0.2, 0.3, "dead", 2)
    known = history(whole(0, 0.0, 0.1), first, again, attempted(1, 0.4, 0.5, attempt=3), dead)
    assert attempts(known.rows, 0).tolist() == [1, 1, 1]
    assert metric(known, "attempts_mean") == pytest.approx(2.0)
    assert metric(known, "dead_letters") == 1.0


def test_backlog() -> None:
    known = history(sampled([0, 2, 7, 3]), sampled([100, 100], service=1), declared=chain())
    at_s, entries = backlog(known.rows, 0)
    assert at_s.tolist() == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert entries.tolist() == [0, 2, 7, 3]
    assert metric(known, "billing.backlog_mean") == pytest.approx(3.0)
    assert metric(known, "billing.backlog_max") == 7.0


def test_entries_that_are_not_settled_are_left_over() -> None:
    assert left_over(Left(waiting=1, pending=20, retrying=300, delayed=4000, dead=50000)) == 4321


def test_dead_letters_are_recorded_by_consumers_and_kept_by_the_server() -> None:
    """A consumer that dies after it has moved the entry leaves a dead letter that it did not record."""
    recorded = history(attempted(0, 0.0, 0.1, "dead"))
    found = dead_letters(recorded.rows, [Left(0, 0, 0, 0, 2), Left(0, 0, 0, 0, 1)])
    assert (found.recorded, found.kept, found.unrecorded) == (1, 3, 2)
    assert dead_letters(recorded.rows, []).unrecorded == 0


def test_the_number_of_sent_messages_is_that_of_all_runs() -> None:
    emitted = sent(0, 1.0, service=0, event=1)
    two = history(sent(0, 0.0), sent(1, 0.0), sent(0, 0.0, run=1), emitted, declared=chain(), seeds=(0, 1))
    assert sent_per_run(two) == 1.5


def test_lateness_is_unknown_where_nothing_was_sent() -> None:
    assert math.isnan(lateness_s_p99(history().rows))


def test_the_last_services_emit_nothing() -> None:
    assert last_services(chain()) == ["shipping"]


def test_metrics_of_the_measurement_itself_are_not_predicted() -> None:
    names = measure(history(declared=chain()))
    unpredicted = [
        "billing.little_residual",
        "shipping.little_residual",
        *(f"{name}_{q}" for name in ("lateness_s", "oversleep_s") for q in ("p50", "p99")),
        "sent_late",
        "skipped",
    ]
    assert [name for name in names if not is_predicted(name)] == unpredicted


# Recovery: samples 0.1 s apart, a fault at 1.05 s unless said otherwise

KILLED = desk(kill("desk", 1.05, 0.5))
CALM = [3.0] * 11  # until 1.0 s


def recovery(values: list[float], left: Left = NOTHING) -> float:
    """Of samples from 0 s on; the run ended at 9 s."""
    known = history(sampled(values), declared=KILLED, left=left, ended_s=9.0)
    return recovery_s(KILLED, known.runs[0], known.rows, 0)


def test_recovery_ends_with_the_first_sample_that_is_back() -> None:
    assert recovery(CALM + [4.0, 9.0, 4.0] + [3.0] * 20) == pytest.approx(1.4 - 1.05)


def test_a_backlog_that_never_rose_has_recovered_at_once() -> None:
    assert recovery([3.0, 1.0] * 5 + [2.0] * 20) == 0.0


def test_a_dip_of_less_than_a_second_is_no_recovery() -> None:
    """The backlog must be back for one second. After nine low samples it is high again at 2.1 s, and back at 2.2 s."""
    assert recovery(CALM + [9.0] + [0.0] * 9 + [9.0] + [0.0] * 20) == pytest.approx(2.2 - 1.05)


def test_a_rise_after_the_recovery_does_not_count() -> None:
    """After more than one second at the old level, the service has recovered from the fault."""
    assert recovery(CALM + [9.0] + [0.0] * 15 + [9.0] * 5) == pytest.approx(1.2 - 1.05)


@pytest.mark.parametrize("left", [Left(1, 0, 0, 0, 0), Left(0, 1, 0, 0, 0), Left(0, 0, 1, 0, 0), Left(0, 0, 0, 1, 0)])
def test_a_backlog_that_never_recovers_has_an_infinite_recovery_time(left: Left) -> None:
    assert recovery(CALM + [9.0] * 30, left) == math.inf


def test_a_run_that_leaves_nothing_has_recovered_at_its_end() -> None:
    """Dead letters are settled."""
    assert recovery(CALM + [9.0] * 30, Left(0, 0, 0, 0, 5)) == pytest.approx(9.0 - 1.05)


@pytest.mark.parametrize(
    "declared",
    [
        desk(),  # no fault
        desk(kill("desk", 0.0, 1.0)),  # no sample before it
    ],
)
def test_without_samples_before_a_fault_recovery_is_unknown(declared: Scenario) -> None:
    known = history(sampled([9.0] * 30), declared=declared)
    assert math.isnan(recovery_s(declared, known.runs[0], known.rows, 0))


def test_recovery_counts_from_the_first_fault_of_the_service_itself() -> None:
    errors = Errors(kind="errors", service="desk", at_s=0.55, for_s=0.1, error_rate=1.0)
    declared = desk(kill("desk", 1.05, 0.1), errors)
    known = history(sampled([1.0] * 6 + [5.0, 5.0] + [1.0] * 20), declared=declared)
    assert recovery_s(declared, known.runs[0], known.rows, 0) == pytest.approx(0.8 - 0.55)


def test_each_of_several_faults_has_a_recovery_from_its_own_end() -> None:
    """Two are worked off, one after 0.25 s and one after 0.55 s; between them the backlog was back."""
    errors = Errors(kind="errors", service="desk", at_s=1.95, for_s=1.6, error_rate=1.0)
    declared = desk(kill("desk", 1.05, 0.1), errors)
    values = CALM + [9.0] * 3 + [3.0] * 17 + [9.0] * 10 + [3.0] * 20
    known = history(sampled(values), declared=declared)
    found = recoveries_s(declared, known.runs[0], known.rows, 0)
    assert found == pytest.approx({"recovery_s_kill_0": 1.4 - 1.15, "recovery_s_errors_1": 4.1 - 3.55})
    assert {"recovery_s", *found} <= set(measure(known))
    assert unit_of("desk.recovery_s_errors_1") == "s"


def test_a_fault_that_left_no_backlog_is_not_blamed_for_the_next_one() -> None:
    errors = Errors(kind="errors", service="desk", at_s=1.95, for_s=1.6, error_rate=1.0)
    declared = desk(kill("desk", 1.05, 0.1), errors)
    known = history(sampled(CALM + [3.0] * 20 + [9.0] * 10 + [3.0] * 20), declared=declared)
    assert recoveries_s(declared, known.runs[0], known.rows, 0)["recovery_s_kill_0"] == 0.0


def test_one_fault_has_one_recovery_and_a_crowd_too() -> None:
    crowd = desk(*(kill("desk", 1.0 + 0.05 * number, 0.01) for number in range(11)))
    for declared in (KILLED, crowd):
        known = history(sampled(CALM), declared=declared)
        assert recoveries_s(declared, known.runs[0], known.rows, 0) == {}


# Little's law


def steady_stays(count: int, stay_s: float) -> list[tuple[object, ...]]:
    """One message a second. Each stays for `stay_s`."""
    return [one for i in range(count) for one in whole(i, float(i), i + stay_s)]


def test_littles_law_holds_where_every_message_is_counted() -> None:
    """Ten messages come one after the other and stay for a second: there is always one."""
    assert metric(history(steady_stays(10, 1.0), sampled([1.0] * 101)), "little_residual") == pytest.approx(0.0)


def test_littles_law_shows_that_messages_were_not_counted() -> None:
    """The processes recorded two messages at any time, but the server counts three, or one and a half."""
    assert metric(history(steady_stays(10, 2.0), sampled([3.0] * 101)), "little_residual") == pytest.approx(0.5)
    assert metric(history(steady_stays(10, 2.0), sampled([1.5] * 101)), "little_residual") == pytest.approx(0.25)


def test_littles_law_is_unknown_where_a_message_is_not_settled() -> None:
    assert math.isnan(metric(history(steady_stays(9, 3.0), sent(9, 9.0), sampled([1.0] * 101)), "little_residual"))


# Whole histories


def test_a_history_of_nothing_has_no_numbers() -> None:
    numbers = {name: float(value) for name, (value,) in measure(history()).items() if not math.isnan(value)}
    assert numbers == dict.fromkeys(("dead_letters", "duplicates", "utilisation", "sent_late", "skipped"), 0.0)


def test_every_metric_has_a_unit() -> None:
    names = list(measure(history(whole(0, 0.0, 1.0), declared=chain())))
    assert [name for name in names if not unit_of(name)] == []
    assert unit_of("billing.lag_s_p95") == unit_of("recovery_s") == "s"
    assert unit_of("throughput_per_s") == "1/s"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # Student's t for two degrees of freedom: 4.302653.
        ([1.0, 2.0, 3.0], Interval(2.0, 2.0 - 4.302653 / 3**0.5, 2.0 + 4.302653 / 3**0.5, 3)),
        ([1.0, math.nan, 2.0, 3.0], Interval(2.0, 2.0 - 4.302653 / 3**0.5, 2.0 + 4.302653 / 3**0.5, 3)),
        ([5.0, 5.0, 5.0], Interval(5.0, 5.0, 5.0, 3)),
        ([5.0, 6.0], Interval(5.5, math.nan, math.nan, 2)),  # two runs give no useful interval
        ([5.0], Interval(5.0, math.nan, math.nan, 1)),
        ([math.nan], Interval(math.nan, math.nan, math.nan, 0)),
        ([1.0, math.inf], Interval(math.inf, math.nan, math.nan, 2)),
    ],
)
def test_summarize(values: list[float], expected: Interval) -> None:
    found = summarize(np.array(values))
    assert found.runs == expected.runs
    of: Floats = np.array([found.mean, found.low, found.high])
    assert of == pytest.approx([expected.mean, expected.low, expected.high], nan_ok=True, abs=1e-5)


def test_samples_and_faults_are_not_counted_as_messages() -> None:
    fault = [row("killed", 0.5, service=0, consumer=0), row("restarted", 0.6, service=0, consumer=0)]
    assert measure(history(whole(0, 0.0, 1.0), fault, sampled([1.0]))).keys() == measure(history()).keys()
    assert metric(history(whole(0, 0.0, 1.0), fault, sampled([1.0])), "throughput_per_s") == pytest.approx(1.0)


def test_the_oversleep_of_handlers_is_what_their_rows_say() -> None:
    slept = [attempted(message, 1.0, 1.1 + by_s, value=by_s) for message, by_s in enumerate((0.001, 0.003, 0.002))]
    for rows in slept:  # the row of the start and of the acknowledgement have none
        rows[0], rows[2] = ((*one[:-1], math.nan) for one in (rows[0], rows[2]))
    noted = history(*slept)
    assert metric(noted, "oversleep_s_p50") == pytest.approx(0.002)
    assert math.isnan(metric(history(whole(0, 1.0, 2.0)), "oversleep_s_p99")), "a simulation notes none"
    said = next(check for check in check_history(noted) if check.name == "generator_on_time")
    assert said.verdict == "unknown"
    [said] = [check for check in check_history(history(sent(0, 1.0), *slept)) if check.name == "generator_on_time"]
    assert said.detail.endswith("; handlers slept 2.00 ms (p99 2.98 ms) longer than asked")
