"""A consumer that stands still, as after SIGSTOP, and goes on, as after SIGCONT: who handles what, and when."""

import random
from typing import Any, ClassVar, Literal

import numpy as np
import pytest

from eventlib.consume import intake
from eventlib.policy import Retry
from sim.declare.faults.kind import ConsumerFault, System
from sim.declare.faults.worlds import SimulatedWorld, Strike
from sim.declare.scenario import Scenario
from sim.evidence.checks import check
from sim.evidence.history import History, Rows
from sim.evidence.metrics import measure
from sim.worlds.simulated import Overheads, consumer, simulate
from tests.model.small import any_scenario, rows_of, scenario, service, steady

SUSPENDED_AT_S = 1.05  # the load sends an event each 0.1 s: in the middle between two of them


class Standstill(ConsumerFault):
    """A consumer stands still until `until_s`; it may be killed then instead of going on."""

    kind: Literal["standstill"] = "standstill"
    for_s: float
    killed: bool = False

    done_to_it: ClassVar = "suspended"

    @property
    def until_s(self) -> float:
        return self.at_s + self.for_s

    @property
    def label(self) -> str:
        return "standstill"

    def in_words(self, system: System) -> str:
        return "A consumer stands still."

    def strike_simulated(self, world: SimulatedWorld) -> Strike:
        yield world.wait_until(self.at_s)
        world.suspend(self.service, self.consumer)
        yield world.wait_until(self.until_s)
        if self.killed:
            world.kill(self.service, self.consumer)
        else:
            world.resume(self.service, self.consumer)


def standstill(for_s: float, at_s: float = SUSPENDED_AT_S, consumer: int = 0, **fields: Any) -> Standstill:
    return Standstill(service="desk", at_s=at_s, for_s=for_s, consumer=consumer, **fields)


def struck(declared: Scenario, *faults: ConsumerFault) -> Scenario:
    """The scenario with faults of a kind that no file can declare."""
    return declared.model_copy(update={"faults": faults})


def run(*faults: Standstill, seeds: range = range(1), duration_s: float = 3.0, **changes: Any) -> History:
    """Ten events a second, 0.15 s of work each, for two consumers with a lease of 0.6 s."""
    desk = service(0.15, **{"consumers": 2, "lease_s": 0.6} | changes)
    return simulate(struck(scenario(steady(10.0, duration_s), desk=desk), *faults), seeds)


def of(rows: Rows, consumer: int) -> Rows:
    found: Rows = rows[rows["consumer"] == consumer]
    return found


def problems(history: History) -> dict[str, str]:
    return {one.name: one.detail for one in check(history) if one.verdict != "true"}


@pytest.mark.parametrize("for_s", [0.05, 0.3, 1.0, 5.0])
def test_nothing_of_it_runs_while_it_stands_still(for_s: float) -> None:
    """Before and after, it does its share of the work."""
    history = run(standstill(for_s), prefetch=2, duration_s=8.0)
    own = of(history.rows, 0)["t_s"]
    assert not np.any((own > SUSPENDED_AT_S) & (own < SUSPENDED_AT_S + for_s))
    assert np.sum(own < SUSPENDED_AT_S) >= 9
    assert np.sum(own >= SUSPENDED_AT_S + for_s) >= 9
    assert problems(history) == {}


def test_a_handler_whose_time_has_passed_ends_when_it_goes_on() -> None:
    """Message 10 began at 1.0 s and would have ended at 1.15 s."""
    handled = rows_of(run(standstill(0.3)), "handled")
    assert handled[handled["message"] == 10]["t_s"].tolist() == [pytest.approx(SUSPENDED_AT_S + 0.3)]


def test_a_handler_that_is_not_done_yet_ends_in_its_time() -> None:
    handled = rows_of(run(standstill(0.05)), "handled")
    assert handled[handled["message"] == 10]["t_s"].tolist() == [pytest.approx(1.15)]


def test_a_short_standstill_loses_nothing_and_moves_nothing() -> None:
    """It was last renewed 0.2 s ago at most, so that its lease of 0.6 s does not end within 0.39 s."""
    for at_s in (1.01, 1.05, 1.13, 1.22):
        history = run(standstill(0.39, at_s), prefetch=2)
        assert len(rows_of(history, "lost")) == 0
        assert set(rows_of(history, "started")["attempt"]) == {1}
        assert problems(history) == {}


def test_what_it_held_is_taken_over_once_its_lease_has_ended() -> None:
    """Another one starts it, as a second attempt, one to two leases after the last renewal; then it is lost here."""
    history = run(standstill(3.0), seeds=range(10), duration_s=5.0, prefetch=2, concurrency=2)
    lost, started = rows_of(history, "lost"), rows_of(history, "started")
    again = started[started["attempt"] > 1]
    assert len(lost) >= 10
    assert set(lost["consumer"]) == {0} and set(lost["attempt"]) == {1}
    assert set(lost["t_s"]) == {SUSPENDED_AT_S + 3.0}
    assert set(lost[["run", "message"]].tolist()) <= set(again[["run", "message"]].tolist())
    assert set(again["consumer"]) == {1} and set(again["attempt"]) == {2}
    assert again["t_s"].min() >= SUSPENDED_AT_S - 0.2 + 0.6
    assert again["t_s"].max() <= SUSPENDED_AT_S + 0.1 + 2.1 * 0.6 + 0.3  # the last was read 0.1 s later, and may queue
    assert problems(history) == {}


def test_what_it_lost_is_handled_here_too_and_settled_by_its_new_owner() -> None:
    """Its handler did return, so that it is noted; only the new owner acknowledges."""
    history = run(standstill(2.0))
    lost = rows_of(history, "lost")["message"]
    handled, acked = rows_of(history, "handled"), rows_of(history, "acked")
    assert len(lost) == 1
    assert handled[handled["message"] == lost[0]][["consumer", "attempt"]].tolist() == [(1, 2), (0, 1)]
    assert acked[acked["message"] == lost[0]][["consumer", "attempt"]].tolist() == [(1, 2)]
    assert measure(history)["duplicates"].tolist() == [1.0]
    assert problems(history) == {}


def test_a_failure_of_what_it_lost_decides_nothing() -> None:
    """It is noted as failed, and neither tried again nor given up by this consumer: its new owner does that."""
    retry = Retry(attempts=3, wait_s=0.0, jitter="none")
    history = run(standstill(2.0), error_rate=1.0, retry=retry)
    (lost,) = rows_of(history, "lost")["message"]
    (by_loser,) = (row for row in of(rows_of(history, "failed"), 0) if row["message"] == lost and row["attempt"] == 1)
    assert by_loser["t_s"] == SUSPENDED_AT_S + 2.0
    retried, dead = rows_of(history, "retried"), rows_of(history, "dead")
    assert retried[retried["message"] == lost][["consumer", "attempt"]].tolist() == [(1, 2)]
    assert dead[dead["message"] == lost]["attempt"].tolist() == [3]


def test_what_waited_in_it_is_lost_without_a_start() -> None:
    """A prefetched message that others took over is passed over when it goes on."""
    history = run(standstill(3.0), prefetch=3, service_time={"kind": "constant", "mean_s": 0.3})
    started, lost = rows_of(history, "started"), rows_of(history, "lost")
    first = {(row["message"], row["attempt"]) for row in of(started, 0)}
    never = [row for row in lost if (row["message"], row["attempt"]) not in first]
    assert len(never) >= 1
    assert problems(history) == {}


@pytest.mark.parametrize("for_s", [0.5, 2.0, 10.0])
def test_nobody_takes_over_from_the_only_consumer(for_s: float) -> None:
    """What it holds is its own still when it goes on, however long that took."""
    history = run(standstill(for_s), consumers=1, prefetch=5, duration_s=1.5)
    assert len(rows_of(history, "lost")) == 0
    assert set(rows_of(history, "started")["attempt"]) == {1}
    assert len(rows_of(history, "handled")) == 15
    assert problems(history) == {}


# A service of two idle consumers, and what their blocked reads bring


def idle(at_s: float, for_s: float, rate_per_s: float = 2.0, duration_s: float = 1.0) -> dict[int, list[Any]]:
    """Consumer, attempt and time of each start, by message. Consumer 1, which has waited longest, stands still."""
    desk = service(0.01, consumers=2, lease_s=0.3)
    declared = struck(scenario(steady(rate_per_s, duration_s), desk=desk), standstill(for_s, at_s, consumer=1))
    history = simulate(declared, [0])
    assert problems(history) == {}
    assert len(rows_of(history, "lost")) == 0
    starts: dict[int, list[Any]] = {}
    for row in rows_of(history, "started"):
        starts.setdefault(int(row["message"]), []).append((row["consumer"], row["attempt"], row["t_s"]))
    return starts


def test_a_blocked_read_is_served_while_its_consumer_stands_still() -> None:
    """The message is in its socket then: another consumer takes it over after a lease, as a second attempt."""
    ((consumer, attempt, at_s),) = idle(at_s=0.45, for_s=5.0)[1]
    assert (consumer, attempt) == (0, 2)
    assert 0.5 + 0.3 <= at_s <= 0.5 + 2.1 * 0.3


def test_what_a_blocked_read_brought_is_handled_when_its_consumer_goes_on() -> None:
    assert idle(at_s=0.45, for_s=0.2)[1] == [(1, 1, pytest.approx(0.65))]


def test_what_others_took_over_from_its_socket_is_not_lost_but_unseen() -> None:
    """When the consumer goes on, it asks who owns what it was given, before it looks at it."""
    starts = idle(at_s=0.45, for_s=2.0, duration_s=4.0)
    assert [(consumer, attempt) for consumer, attempt, _ in starts[1]] == [(0, 2)]
    assert 1 in {consumer for of_message in starts.values() for consumer, _, at_s in of_message if at_s > 2.45}


def test_a_blocked_read_ends_after_its_block() -> None:
    """It asked at 0 s and again at 1 s. A message at 1.25 s comes to it only if it could ask for the second time."""
    assert idle(at_s=0.9, for_s=3.0, rate_per_s=0.8, duration_s=2.5)[1] == [(0, 1, 1.25)]
    ((consumer, attempt, _),) = idle(at_s=1.1, for_s=3.0, rate_per_s=0.8, duration_s=2.5)[1]
    assert (consumer, attempt) == (0, 2)


def test_a_consumer_whose_block_has_ended_asks_again_when_it_goes_on() -> None:
    """At 1.2 s it stands behind the other one, which gets the message of 1.25 s; the one of 2.5 s is its own."""
    starts = idle(at_s=0.9, for_s=0.3, rate_per_s=0.8, duration_s=3.75)
    assert starts[1] == [(0, 1, 1.25)]
    assert starts[2] == [(1, 1, 2.5)]


def test_the_block_is_the_librarys() -> None:
    assert consumer.BLOCK_S == intake.BLOCK_S


def test_a_suspended_consumer_may_be_killed() -> None:
    """What it held is taken over once, and it never goes on."""
    history = run(standstill(1.5, killed=True), prefetch=2, concurrency=2)
    assert of(history.rows, 0)["t_s"].max() <= SUSPENDED_AT_S
    assert len(rows_of(history, "lost")) == 0
    assert len(rows_of(history, "acked")) == 30
    assert problems(history) == {}


def test_renewals_go_on_from_where_it_went_on() -> None:
    """It renews each 0.2 s: after the standstill at 1.35 s and 1.55 s, instead of 1.4 s and 1.6 s. It dies at 1.7 s."""
    dies = standstill(0.01, at_s=1.69, killed=True)
    work = {"kind": "constant", "mean_s": 3.0}
    history = run(standstill(0.3), dies, seeds=range(30), service_time=work, concurrency=20)
    started = rows_of(history, "started")
    again_s = started[started["attempt"] > 1]["t_s"]
    assert len(again_s) >= 30
    assert 1.55 + 0.6 - 1e-9 <= again_s.min() < 1.6 + 0.6


def test_what_a_handler_emits_is_sent_when_it_goes_on() -> None:
    """Publishing takes time too, and none of it while the consumer stands still."""
    declared = scenario(steady(10.0, 2.0), desk=service(0.15, emits=("paid",)), next=service(consumes="paid"))
    history = simulate(struck(declared, standstill(0.5)), [0], overheads=Overheads(publish_s=0.04))
    sent = rows_of(history, "sent", "desk")["t_s"]
    assert not np.any((sent > SUSPENDED_AT_S) & (sent < SUSPENDED_AT_S + 0.5))
    assert problems(history) == {}


def any_standstills(number: int) -> Scenario:
    """A scenario drawn at random, with standstills of about as many leases as decide anything."""
    draw = random.Random(number)
    declared = any_scenario(number)
    faults: list[ConsumerFault] = []
    for name, one in declared.services.items():
        for index in range(one.consumers):
            at_s = draw.uniform(0.0, 1.0)
            for _ in range(draw.randint(0, 2)):
                for_s = draw.choice((0.2, 0.8, 1.5, 3.0)) * one.lease_s
                faults.append(Standstill(service=name, at_s=at_s, for_s=for_s, consumer=index))
                at_s += for_s + draw.uniform(0.01, 0.5)
    return struck(declared, *faults)


@pytest.mark.parametrize("number", range(40))
def test_every_message_is_settled_whoever_stands_still(number: int) -> None:
    """At each service, published = handled or dead; only what was lost is handled, and emits, twice."""
    declared = any_standstills(number)
    history = simulate(declared, [0, 1])
    assert problems(history) == {}
    for name, one in declared.services.items():
        settled = np.concatenate([rows_of(history, kind, name)[["run", "message"]] for kind in ("acked", "dead")])
        published = rows_of(history, "published")
        published = published[published["event"] == history.events.index(one.consumes)][["run", "message"]]
        assert np.array_equal(np.sort(settled), np.sort(published)), name
        once = {tuple(key) for key, count in zip(*np.unique(published, return_counts=True), strict=True) if count == 1}
        ended = [row for kind in ("handled", "failed") for row in rows_of(history, kind, name)]
        keys = [(row["run"], row["message"], row["attempt"]) for row in ended]
        keys = [key for key in keys if key[:2] in once]  # what was lost upstream may have been emitted twice
        assert len(set(keys)) == len(keys), "an attempt ends once"


def test_the_random_standstills_are_no_easy_ones() -> None:
    """Between them, they take over much, and many handlers go on."""
    histories = [simulate(any_standstills(number), [0]) for number in range(40)]
    lost = [len(rows_of(history, "lost")) for history in histories]
    assert sum(count > 0 for count in lost) >= 15
    assert (
        sum(measure(history)[name].sum() for history in histories for name in measure(history) if "dupl" in name) > 10
    )
