"""Each check is false for a history that has the fault it looks for, and only then."""

import pytest

from sim.evidence.checks import Verdict, broken, check, generator_late, invalid, verdict_of_all
from sim.evidence.history import History, Left
from sim.evidence.instrument import LATE_S
from sim.evidence.metrics import measure
from tests.sim.handmade import Row, attempted, chain, history, row, sent, whole

GOOD: list[Row] = [one for i in range(20) for one in whole(i, i / 10, i / 10 + 0.05)]


def false_in(of: History) -> set[str]:
    return {one.name for one in check(of) if one.verdict == "false"}


def good_and(*rows: Row) -> History:
    """Twenty messages that were handled as they should be, and more rows."""
    return history(GOOD, rows)


def test_a_good_history() -> None:
    found = check(good_and())
    assert [one.verdict for one in found] == ["true"] * 7
    assert not broken(found) and not invalid(found)
    assert len({one.name for one in found}) == len({one.claim for one in found}) == 7


def test_failures_retries_and_dead_letters_are_no_fault() -> None:
    retried = attempted(20, 2.0, 2.1, "retried", 1) + attempted(20, 2.2, 2.3, "handled", 2)
    dead = [one for n in (1, 2) for one in attempted(21, 2.0 + n, 2.1 + n, "retried", n)]
    dead += attempted(21, 5.0, 5.1, "dead", 3)
    assert false_in(good_and(*sent(20, 2.0), *retried, *sent(21, 2.0), *dead)) == set()


def test_a_message_that_is_never_settled_is_lost() -> None:
    """It was not started; its consumer died and no other took it over; or it waits for a retry."""
    assert false_in(good_and(*sent(20, 2.0))) == {"lost", "balanced"}
    assert false_in(good_and(*sent(20, 2.0), *attempted(20, 2.0, 2.1)[:1])) == {"lost", "balanced"}
    assert false_in(good_and(*sent(20, 2.0), *attempted(20, 2.0, 2.1, "retried"))) == {"lost", "balanced"}


def test_a_message_that_the_server_still_has_is_not_lost() -> None:
    """Two messages were not settled. The server still has one of them, so the other one is lost."""
    two = [*GOOD, *sent(20, 2.0), *sent(21, 2.0)]
    assert false_in(history(two, left=Left(1, 0, 0, 1, 0))) == {"pending"}
    found = {one.name: one for one in check(history(two, left=Left(0, 0, 1, 0, 0)))}
    assert found["lost"].detail == "1 of 22; desk in run 0 (seed 0): 1"


def test_a_dead_letter_that_its_consumer_did_not_record_is_not_lost() -> None:
    """The consumer was killed between moving the entry and recording so."""
    begun = [*sent(20, 2.0), attempted(20, 2.0, 2.1, "dead")[0]]
    assert "lost" not in false_in(history(GOOD, begun, left=Left(0, 0, 0, 0, 1)))


def test_a_publish_without_an_answer_may_be_lost() -> None:
    """The server did not acknowledge the message, so the library did not promise to deliver it."""
    assert false_in(good_and(sent(20, 2.0)[0])) == set()


def test_a_publish_without_an_answer_may_be_handled() -> None:
    """The server had the message, but its sender died before the answer came."""
    assert false_in(good_and(sent(20, 2.0)[0], *attempted(20, 2.0, 2.1))) == set()


@pytest.mark.parametrize("outcome", ["handled", "dead"])
def test_a_message_that_was_never_sent_is_unexpected(outcome: str) -> None:
    assert "unexpected" in false_in(good_and(*attempted(20, 2.0, 2.1, outcome)))
    assert false_in(good_and(*attempted(20, 2.0, 2.1, outcome))) <= {"unexpected", "balanced"}


def test_a_duplicate_needs_a_redelivery() -> None:
    """A consumer died after handling and before the acknowledgement. The second attempt explains the duplicate."""
    unexplained = attempted(3, 0.5, 0.6, attempt=1)
    assert false_in(good_and(*unexplained)) == {"duplicates_explained"}
    explained = attempted(3, 0.5, 0.6, attempt=2)
    assert false_in(good_and(*explained)) == set()


def test_one_redelivery_explains_one_duplicate() -> None:
    once = attempted(3, 0.5, 0.6, attempt=2)
    assert false_in(good_and(*once, *attempted(3, 0.7, 0.8, attempt=2))) == {"duplicates_explained"}
    assert false_in(good_and(*once, *attempted(3, 0.7, 0.8, attempt=3))) == set()


def emitted(*recorded: str, at_s: float) -> list[Row]:
    """The rows that billing records when it emits message 0 to shipping."""
    there = {"service": 0, "consumer": 0, "event": 1, "message": 0, "intended_s": 0.0}
    return [row(kind, at_s, **there) for kind in recorded]


def shipped(at_s: float) -> list[Row]:
    return attempted(0, at_s, at_s + 0.1, service=1, event=1)


def test_a_message_emitted_twice_is_handled_twice() -> None:
    """Billing died after it had emitted, and its second attempt emitted again. Shipping handled each entry once."""
    once = [*whole(0, 0.0, 0.1), *emitted("sent", "published", at_s=0.1), *shipped(0.2)]
    again = [*attempted(0, 0.4, 0.5, attempt=2), *emitted("sent", "published", at_s=0.5), *shipped(0.6)]
    assert false_in(history(once, again, declared=chain())) == set()
    assert false_in(history(once, again[:3], shipped(0.6), declared=chain())) == {"duplicates_explained"}


def test_a_message_emitted_twice_but_recorded_once_is_handled_twice() -> None:
    """Billing died after the server had the first copy and before it recorded so."""
    died = [*sent(0, 0.0), *attempted(0, 0.0, 0.1)[:1], *emitted("sent", at_s=0.1), *shipped(0.2)]
    again = [*attempted(0, 0.4, 0.5, attempt=2), *emitted("sent", "published", at_s=0.5), *shipped(0.6)]
    assert false_in(history(died, again, declared=chain())) == set()


@pytest.mark.parametrize("attempt", [0, 4, 100])
def test_an_attempt_beyond_the_policy(attempt: int) -> None:
    """The policy allows attempts 1 to 3."""
    assert false_in(good_and(*attempted(3, 0.5, 0.6, "retried", attempt))) == {"attempts_within_policy"}


@pytest.mark.parametrize("left", [Left(1, 0, 0, 0, 0), Left(0, 1, 0, 0, 0), Left(0, 0, 1, 0, 0), Left(0, 0, 0, 1, 0)])
def test_entries_left_at_the_end_fail_the_pending_check(left: Left) -> None:
    assert false_in(history(GOOD, left=left)) == {"pending"}


def test_dead_letters_left_at_the_end_are_no_fault() -> None:
    assert false_in(history(GOOD, left=Left(0, 0, 0, 0, 7))) == set()


@pytest.mark.parametrize(("late_s", "expected"), [(LATE_S * 1.01, {"generator_on_time"}), (LATE_S * 0.99, set())])
def test_a_late_generator(late_s: float, expected: set[str]) -> None:
    """Two late messages of twenty-two are more than one in a hundred."""
    late = [one for i in (20, 21) for one in (*sent(i, 2.0, late_s=late_s), *attempted(i, 2.1, 2.2))]
    assert false_in(good_and(*late)) == expected
    assert not broken(check(good_and(*late)))  # a slow machine is not a fault of the system under test
    assert (generator_late(check(good_and(*late))) is not None) == bool(expected)


def test_trap_49_what_a_generator_sent_late_or_skipped_is_counted() -> None:
    """It says so. It shifts nothing: what is late is late against the time at which it was meant to be sent."""
    late = [one for i in (20, 21) for one in (*sent(i, 2.0, late_s=0.5), *attempted(i, 2.6, 2.7))]
    skipped = [row("skipped", 3.0, event=0, message=i, intended_s=2.5) for i in (22, 23, 24)]
    found = generator_late(check(good_and(*late, *skipped)))
    assert found is not None and found.violations == 5
    assert (
        "; 2 messages were sent that late or later; 3 were not sent at all before the run was over; such a "
        in found.detail
    )
    measured = measure(good_and(*late, *skipped))
    assert (measured["sent_late"].tolist(), measured["skipped"].tolist()) == ([2.0], [3.0])
    assert false_in(good_and(*skipped)) == {"generator_on_time"}, "what was never sent is not lost"
    only = generator_late(check(history(skipped)))
    assert only is not None and only.detail.startswith("nothing was sent; 3 were not sent at all")


def test_what_is_lost_is_broken_and_what_is_left_is_invalid() -> None:
    assert {one.name for one in broken(check(good_and(*sent(20, 2.0))))} == {"lost", "balanced"}
    left = check(history(GOOD, left=Left(1, 0, 0, 0, 0)))
    assert ([one.name for one in broken(left)], [one.name for one in invalid(left)]) == ([], ["pending"])


def test_one_bad_run_of_many_is_found_and_named() -> None:
    """The other runs have a message with the same number, which was handled."""
    runs = [one for run in range(3) for i in range(5) for one in sent(i, 0.0, run=run)]
    handled = [one for run in range(3) for i in range(5) if (run, i) != (1, 2) for one in attempted(i, 0, 1, run=run)]
    found = {one.name: one for one in check(history(runs, handled, seeds=(7, 8, 9)))}
    assert found["lost"].verdict == "false"
    assert found["lost"].detail == "1 of 15; desk in run 1 (seed 8): 1"


def test_a_message_is_settled_by_its_own_service_only() -> None:
    """Shipping's message 0 is lost, although billing handled its own message 0."""
    billed = [*whole(0, 0.0, 0.1), *emitted("sent", "published", at_s=0.1)]
    found = {one.name: one for one in check(history(billed, declared=chain()))}
    assert found["lost"].detail == "1 of 2; shipping in run 0 (seed 0): 1"


def test_an_empty_history_gives_unknown_verdicts() -> None:
    verdicts = {one.name: one.verdict for one in check(history())}
    unknown = {"lost", "unexpected", "attempts_within_policy", "balanced", "generator_on_time"}
    assert {name for name, verdict in verdicts.items() if verdict == "unknown"} == unknown
    assert not broken(check(history())) and not invalid(check(history()))


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["true", "true"], "true"),
        (["true", "unknown"], "unknown"),
        (["unknown", "false", "true"], "false"),
        ([], "unknown"),
    ],
)
def test_the_verdict_of_all(verdicts: list[Verdict], expected: Verdict) -> None:
    assert verdict_of_all(verdicts) == expected
