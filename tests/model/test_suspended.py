"""A consumer stands still, as after SIGSTOP, and goes on, as after SIGCONT: who handles what, and when."""

import random
from typing import Any, ClassVar, Literal

import numpy as np
import pytest

from eventlib.consume import intake
from eventlib.policy import Retry
from sim.calibration import Calibration
from sim.declare.faults.errors import Errors
from sim.declare.faults.kind import ConsumerFault, FaultKind, System
from sim.declare.faults.worlds import Injection, SimulatedWorld
from sim.declare.scenario import Scenario
from sim.evidence.history import KINDS, History, Rows
from sim.evidence.metrics import measure
from sim.worlds.simulated import consumer, simulate
from sim.worlds.simulated.group import Group
from sim.worlds.simulated.run_state import Message
from tests.model.small import any_scenario, kill, problems, rows_of, scenario, service, steady

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

    def inject_simulated(self, world: SimulatedWorld) -> Injection:
        yield world.wait_until(self.at_s)
        world.suspend(self.service, self.consumer)
        yield world.wait_until(self.until_s)
        if self.killed:
            world.kill(self.service, self.consumer)
        else:
            world.resume(self.service, self.consumer)


def standstill(for_s: float, at_s: float = SUSPENDED_AT_S, consumer: int = 0, **fields: Any) -> Standstill:
    return Standstill(service="desk", at_s=at_s, for_s=for_s, consumer=consumer, **fields)


def with_faults(declared: Scenario, *faults: FaultKind) -> Scenario:
    """The scenario with faults of a kind that no file can declare."""
    return declared.model_copy(update={"faults": faults})


def run(*faults: Standstill, seeds: range = range(1), duration_s: float = 3.0, **changes: Any) -> History:
    """Ten events a second, 0.15 s of work each, for two consumers with a lease of 0.6 s."""
    desk = service(0.15, **{"consumers": 2, "lease_s": 0.6} | changes)
    return simulate(with_faults(scenario(steady(10.0, duration_s), desk=desk), *faults), seeds)


def of(rows: Rows, consumer: int) -> Rows:
    found: Rows = rows[rows["consumer"] == consumer]
    return found


@pytest.mark.parametrize("for_s", [0.05, 0.3, 1.0, 5.0])
def test_a_consumer_starts_and_ends_no_handler_while_it_stands_still(for_s: float) -> None:
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


def test_a_handler_that_is_not_done_yet_ends_at_its_usual_time() -> None:
    handled = rows_of(run(standstill(0.05)), "handled")
    assert handled[handled["message"] == 10]["t_s"].tolist() == [pytest.approx(1.15)]


def test_a_standstill_shorter_than_a_lease_moves_no_message() -> None:
    """It was last renewed 0.2 s ago at most, so that its lease of 0.6 s does not end within 0.39 s."""
    for at_s in (1.01, 1.05, 1.13, 1.22):
        history = run(standstill(0.39, at_s), prefetch=2)
        assert len(rows_of(history, "lost")) == 0
        assert set(rows_of(history, "started")["attempt"]) == {1}
        assert problems(history) == {}


def test_what_it_held_is_taken_over_once_its_lease_has_ended() -> None:
    """Another consumer starts it, as a second attempt, one to two leases after the last renewal."""
    history = run(standstill(3.0), seeds=range(10), duration_s=5.0, prefetch=2, concurrency=2)
    started = rows_of(history, "started")
    again = started[started["attempt"] > 1]
    assert len(again) >= 10
    assert set(again["consumer"]) == {1} and set(again["attempt"]) == {2}
    assert again["t_s"].min() >= SUSPENDED_AT_S - 0.2 + 0.6
    assert again["t_s"].max() <= SUSPENDED_AT_S + 0.1 + 2.1 * 0.6 + 0.3  # the last was read 0.1 s later, and may queue
    assert problems(history) == {}


def ends_of(history: History, message: int) -> list[tuple[float, str, int, int]]:
    """What became of a message: time, kind, consumer and attempt."""
    own = history.rows[(history.rows["message"] == message) & (history.rows["service"] == 0)]
    rows = [(float(row["t_s"]), KINDS[row["kind"]], int(row["consumer"]), int(row["attempt"])) for row in own]
    return [row for row in rows if row[1] in ("handled", "failed", "acked", "retried", "dead", "lost")]


def test_what_others_have_settled_is_acknowledged_once_more() -> None:
    """Its handler returned, and Redis takes an ack of what is pending no more: the consumer cannot know better."""
    history = run(standstill(2.0))
    end_s = SUSPENDED_AT_S + 2.0
    (_, *taken_over), acked, *own = ends_of(history, 10)
    assert (taken_over, acked[1:]) == (["handled", 1, 2], ("acked", 1, 2))
    assert own == [(end_s, "handled", 0, 1), (end_s, "acked", 0, 1)]
    assert len(rows_of(history, "lost")) == 0
    assert measure(history)["duplicates"].tolist() == [1.0]
    assert problems(history) == {}


def long_work(for_s: float, mean_s: float, message: int = 0, **changes: Any) -> list[tuple[float, str, int, int]]:
    """What became of a message that consumer 0 holds and consumer 1 takes over, at 2.31 s at the latest."""
    history = run(standstill(for_s), service_time={"kind": "constant", "mean_s": mean_s}, concurrency=50, **changes)
    assert problems(history) == {}
    return ends_of(history, message)


def test_what_others_still_handle_is_lost_when_it_is_settled_here() -> None:
    """The handler's time was over at 1.4 s; the new owner, which began at 1.45 s or later, is at it until 2.85 s."""
    end_s = SUSPENDED_AT_S + 1.75
    *own, handled, acked = long_work(for_s=1.75, mean_s=1.4)
    assert own == [(end_s, "handled", 0, 1), (end_s, "lost", 0, 1)]
    assert (handled[1:], acked[1:]) == (("handled", 1, 2), ("acked", 1, 2))


def test_a_handler_goes_on_with_what_it_has_lost() -> None:
    """The consumer asks who owns it as soon as it goes on, so that its own outcome decides nothing."""
    lost, handled, *taken_over = long_work(for_s=1.75, mean_s=4.0)
    assert lost == (SUSPENDED_AT_S + 1.75, "lost", 0, 1)
    assert handled == (4.0, "handled", 0, 1)
    assert [row[1:] for row in taken_over] == [("handled", 1, 2), ("acked", 1, 2)]


def test_a_handler_that_publishes_finds_out_what_it_has_lost() -> None:
    """It ends when the reply is here, later than the answer to who owns what. What it published is published twice."""
    rows = long_work(for_s=2.5, mean_s=0.5, message=10, duration_s=4.0, emits=("paid",))
    assert [row[1:] for row in rows] == [
        ("handled", 1, 2),
        ("acked", 1, 2),
        ("handled", 0, 1),
        ("lost", 0, 1),
    ]


def test_what_was_tried_again_meanwhile_is_acknowledged_once_more() -> None:
    """Its new owner has put it aside, so that its entry is pending no more; the retry that it runs has another one."""
    fails = Errors(kind="errors", service="desk", at_s=1.4, for_s=0.95, error_rate=1.0)  # at the second attempt
    retry = Retry(attempts=5, wait_s=0.0, jitter="none")
    desk = service(1.0, consumers=2, lease_s=0.6, concurrency=50, retry=retry)
    history = simulate(with_faults(scenario(steady(10.0, 3.0), desk=desk), standstill(2.35), fails), [0])
    rows = [row[1:] for row in ends_of(history, 10)]
    assert rows == [
        *(("failed", 1, 2), ("retried", 1, 2)),
        *(("handled", 0, 1), ("acked", 0, 1)),
        *(("handled", 1, 3), ("acked", 1, 3)),
    ]
    assert problems(history) == {}


def test_what_went_on_to_a_third_consumer_is_lost() -> None:
    """The second one stands still too: what it took over from the first one is taken over from it."""
    faults = [standstill(2.75), standstill(60.0, at_s=2.35, consumer=1)]
    desk = service(1.4, consumers=3, lease_s=0.6, concurrency=50)
    chains = 0
    for seed in range(20):
        history = simulate(with_faults(scenario(steady(10.0, 4.5), desk=desk), *faults), [seed])
        started = rows_of(history, "started")
        for message in range(11):
            if started[started["message"] == message]["consumer"].tolist() == [0, 1, 2]:
                own = [row[:2] for row in ends_of(history, message) if row[2] == 0]
                assert own == [(SUSPENDED_AT_S + 2.75, "handled"), (SUSPENDED_AT_S + 2.75, "lost")]
                chains += 1
    assert chains >= 5


def test_a_failure_of_what_it_lost_decides_nothing() -> None:
    """It is noted as failed, and neither tried again nor given up by this consumer: its new owner does that."""
    retry = Retry(attempts=5, wait_s=0.0, jitter="none")
    history = run(standstill(2.0), error_rate=1.0, retry=retry, concurrency=5)
    started = of(rows_of(history, "started"), 0)
    held = started[(started["t_s"] > SUSPENDED_AT_S - 0.15) & (started["t_s"] <= SUSPENDED_AT_S)]
    assert len(held) >= 3
    for message, attempt in held[["message", "attempt"]].tolist():
        own = [(at_s, kind) for at_s, kind, consumer, n in ends_of(history, message) if (consumer, n) == (0, attempt)]
        assert own == [(SUSPENDED_AT_S + 2.0, "failed"), (SUSPENDED_AT_S + 2.0, "lost")]
        assert [row[3] for row in ends_of(history, message) if row[1] == "dead"] == [max(5, attempt + 1)]
    assert problems(history) == {}


def test_what_waited_in_it_is_lost_without_a_start() -> None:
    """A prefetched message that others took over is passed over when it goes on."""
    faults = [standstill(3.0), standstill(0.2, at_s=4.5)]
    history = run(*faults, prefetch=3, service_time={"kind": "constant", "mean_s": 0.3})
    started, lost = rows_of(history, "started"), rows_of(history, "lost")
    first = {(row["message"], row["attempt"]) for row in of(started, 0)}
    never = [row for row in lost if (row["message"], row["attempt"]) not in first]
    assert len(never) >= 1
    assert len(np.unique(lost[["message", "attempt"]])) == len(lost)  # a second standstill does not tell it again
    assert problems(history) == {}


@pytest.mark.parametrize("for_s", [0.5, 2.0, 10.0])
def test_the_only_consumer_keeps_its_messages(for_s: float) -> None:
    """There is no other consumer to take them over, however long it stands still."""
    history = run(standstill(for_s), consumers=1, prefetch=5, duration_s=1.5)
    assert len(rows_of(history, "lost")) == 0
    assert set(rows_of(history, "started")["attempt"]) == {1}
    assert len(rows_of(history, "handled")) == 15
    assert problems(history) == {}


# A service of two idle consumers, and what their blocked reads bring


def idle(at_s: float, for_s: float, rate_per_s: float = 2.0, duration_s: float = 1.0) -> dict[int, list[Any]]:
    """Consumer, attempt and time of each start, by message. Consumer 1, which has waited longest, stands still."""
    desk = service(0.01, consumers=2, lease_s=0.3)
    declared = with_faults(scenario(steady(rate_per_s, duration_s), desk=desk), standstill(for_s, at_s, consumer=1))
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


def test_messages_of_a_blocked_read_are_handled_when_the_consumer_goes_on() -> None:
    assert idle(at_s=0.45, for_s=0.2)[1] == [(1, 1, pytest.approx(0.65))]


def test_messages_that_were_taken_over_before_they_were_read_are_not_recorded_as_lost() -> None:
    """When the consumer goes on, it first asks the server which messages it still owns."""
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


def test_the_block_time_is_that_of_the_library() -> None:
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


def test_a_handlers_events_are_sent_when_the_consumer_goes_on() -> None:
    """Publishing takes time too, and none of it while the consumer stands still."""
    declared = scenario(steady(10.0, 2.0), desk=service(0.15, emits=("paid",)), next=service(consumes="paid"))
    history = simulate(with_faults(declared, standstill(0.5)), [0], calibration=Calibration.constant(publish_s=0.04))
    sent = rows_of(history, "sent", "desk")["t_s"]
    assert not np.any((sent > SUSPENDED_AT_S) & (sent < SUSPENDED_AT_S + 0.5))
    assert problems(history) == {}


def any_standstills(number: int) -> Scenario:
    """A scenario drawn at random, with standstills of about as many leases as decide anything."""
    draw = random.Random(number)
    declared = any_scenario(number)
    faults: list[FaultKind] = []
    for name, one in declared.services.items():
        for index in range(one.consumers):
            at_s = draw.uniform(0.0, 1.0)
            for _ in range(draw.randint(0, 2)):
                for_s = draw.choice((0.2, 0.8, 1.5, 3.0)) * one.lease_s
                faults.append(Standstill(service=name, at_s=at_s, for_s=for_s, consumer=index))
                at_s += for_s + draw.uniform(0.01, 0.5)
    return with_faults(declared, *faults)


@pytest.mark.parametrize("number", range(40))
def test_every_message_is_settled_whichever_consumers_stand_still(number: int) -> None:
    """At each service, published = handled or dead; only what was lost is handled, and emits, twice."""
    declared = any_standstills(number)
    history = simulate(declared, [0, 1])
    assert problems(history) == {}
    for name, one in declared.services.items():
        published = rows_of(history, "published")
        published = published[published["event"] == history.events.index(one.consumes)][["run", "message"]]
        settled = np.concatenate([rows_of(history, kind, name) for kind in ("acked", "dead")])
        assert np.array_equal(np.unique(settled[["run", "message"]]), np.unique(published)), name
        once = {tuple(key) for key, count in zip(*np.unique(published, return_counts=True), strict=True) if count == 1}
        # What was lost upstream may have been emitted twice; here, only what was taken over is acknowledged twice.
        last = dict.fromkeys(once, 0)
        for row in settled:
            key = (row["run"], row["message"])
            if key in once:
                assert last[key] != row["attempt"]
                last[key] = max(last[key], row["attempt"])
        for row in rows_of(history, "started", name):
            assert row["attempt"] <= last.get((row["run"], row["message"]), row["attempt"]), "the last attempt settles"
        ended = [row for kind in ("handled", "failed") for row in rows_of(history, kind, name)]
        keys = [(row["run"], row["message"], row["attempt"]) for row in ended]
        keys = [key for key in keys if key[:2] in once]
        assert len(set(keys)) == len(keys), "an attempt ends once"
        lost = [
            key for key in rows_of(history, "lost", name)[["run", "message", "attempt"]].tolist() if key[:2] in once
        ]
        assert len(set(lost)) == len(lost), "a loss is noted once"


def test_the_random_standstills_take_over_many_messages() -> None:
    """Many messages are taken over and many handlers go on. Otherwise the test above would prove little."""
    histories = [simulate(any_standstills(number), [0]) for number in range(20)]
    lost = [len(rows_of(history, "lost")) for history in histories]
    assert sum(count > 0 for count in lost) >= 8
    measured = [measure(history) for history in histories]
    assert sum(found[name].sum() for found in measured for name in found if "dupl" in name) > 10


def test_settling_does_not_go_through_all_leases_that_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """One message is taken out of what is not renewed. A new collection each time made many held messages slow."""
    renew, renewed = Group.renew, list[bool]()

    def watched(group: Group, message: Message) -> None:
        before = group.unrenewed
        renew(group, message)
        renewed.append(group.unrenewed is before)

    monkeypatch.setattr(Group, "renew", watched)
    desk = service(0.02, consumers=2, prefetch=20, lease_s=0.6)
    assert problems(simulate(scenario(steady(80.0, 2.0), kill("desk", 1.01, 0.5), desk=desk), [0])) == {}
    assert renewed and all(renewed)
