"""Each fault in the simulated world: who does what meanwhile, what is lost, and when all is as before."""

from typing import Any

import numpy as np
import pytest

from eventlib.policy import Retry
from sim.calibration import Calibration
from sim.declare.callers import Callers
from sim.declare.declared import Floats
from sim.declare.faults import FAULT_KINDS, Fault
from sim.declare.loads.spike import SpikeLoad
from sim.declare.scenario import Scenario
from sim.errors import InvalidScenario
from sim.evidence.history import History
from sim.evidence.metrics import measure
from sim.worlds.simulated import simulate
from sim.worlds.simulated.link import PUBLISHES, SILENCE_S
from tests.model.small import (
    fault,
    problems,
    rows_of,
    saga_service,
    saga_step,
    scenario,
    service,
    steady,
    with_callers,
)

LEASE_S = 0.6
RECONNECT_S = 0.5  # longest wait between two tries of the library
ALL = [
    fault("outage", service="desk", at_s=1.02, back_after_s=0.5),
    fault("outage", service="desk", at_s=1.02, back_after_s=0.5, how="pause"),
    fault("slow", service="desk", at_s=1.02, for_s=0.5, factor=4.0),
    fault("poison", service="desk", share=0.05),
    fault("poison", service="desk", messages=[20, 41], how="kill", back_after_s=0.1),
    fault("server_away", at_s=1.02, for_s=1.5),
    fault("server_restart", at_s=1.02, back_after_s=0.5),
    fault("server_full", at_s=1.02, for_s=1.0),
    fault("reset", at_s=1.02),
    fault("black_hole", at_s=1.02, for_s=1.0),
    fault("latency", at_s=1.02, for_s=1.0, added_s=0.02),
    fault("bandwidth", at_s=1.02, for_s=1.0, bytes_per_s=20_000),
    fault("lost_replies", at_s=1.02, for_s=0.5),
]


def declared(*faults: Fault, duration_s: float = 4.0, **desk: Any) -> Scenario:
    """Forty events a second, for two consumers of two handlers that take 20 ms each."""
    fields: dict[str, Any] = {"consumers": 2, "concurrency": 2, "lease_s": LEASE_S} | desk
    return scenario(steady(40.0, duration_s), *faults, desk=service(0.02, **fields))


def run(*faults: Fault, **desk: Any) -> History:
    return simulate(declared(*faults, **desk), range(3))


def at_s(history: History, kind: str) -> Floats:
    return np.asarray(rows_of(history, kind)["t_s"])


def second_s(history: History, kind: str) -> Floats:
    """Of the second message."""
    rows = rows_of(history, kind)
    return np.asarray(rows[rows["message"] == 1]["t_s"])


def within(times_s: Floats, from_s: float, until_s: float) -> int:
    return int(np.count_nonzero((times_s > from_s) & (times_s < until_s)))


@pytest.mark.parametrize("one", ALL, ids=lambda one: f"{one.kind}-{one.label}")
@pytest.mark.parametrize("calibration", [None, Calibration.constant(publish_s=0.002, dispatch_s=0.001, settle_s=0.001)])
def test_no_fault_breaks_a_promise(one: Fault, calibration: Calibration | None) -> None:
    """Whatever happens: what was published is handled or a dead letter, and the same seed gives the same rows."""
    failing = declared(one, error_rate=0.1, retry=Retry(attempts=4, wait_s=0.05), emits=["done"])
    services = dict(failing.services) | {"till": service(0.001, consumes="done", lease_s=LEASE_S)}
    history = simulate(failing.with_services(services), range(2), calibration=calibration)
    assert problems(history) == {}
    assert len(np.unique(rows_of(history, "sent", None)[["run", "event", "message"]])) >= 2 * 160
    again = simulate(failing.with_services(services), range(2), calibration=calibration)
    assert history.rows.tobytes() == again.rows.tobytes()


def test_every_kind_of_fault_is_tried() -> None:
    assert {one.kind for one in ALL} == set(FAULT_KINDS) - {"kill", "pause", "errors", "random", "dependency_out"}


@pytest.mark.parametrize("one", [one for one in ALL if one.kind not in ("poison", "server_restart")])
def test_task_queues_and_sagas_survive_it(one: Fault) -> None:
    queue = service(0.02, consumers=2, lease_s=LEASE_S, queue={"tenants": {"a": 0.5, "b": 0.5}, "limit": 3})
    assert problems(simulate(scenario(steady(40.0, 4.0), one, desk=queue), range(2))) == {}
    steps = saga_step("pay", undo=0.01), saga_step("ship", error_rate=0.3)
    sagas = saga_service(*steps, consumers=2, lease_s=LEASE_S, concurrency=4)
    assert problems(simulate(scenario(steady(40.0, 4.0), one, desk=sagas), range(2))) == {}


# A service


def test_an_outage_takes_all_consumers_out() -> None:
    history = run(fault("outage", service="desk", at_s=1.01, back_after_s=1.0))
    assert set(rows_of(history, "killed")["consumer"]) == set(rows_of(history, "restarted")["consumer"]) == {0, 1}
    assert within(at_s(history, "started"), 1.01, 2.01) == within(at_s(history, "handled"), 1.01, 2.01) == 0
    found = measure(history)
    assert np.all((found["recovery_s"] > 1.0) & (found["recovery_s"] < 3.5))
    assert np.all(found["attempts_mean"] > 1.0)  # what ran when they were killed


def test_an_outage_for_good_leaves_the_rest() -> None:
    history = simulate(declared(fault("outage", service="desk", at_s=2.0)), [0])
    assert history.runs[0].left["desk"].waiting >= 70
    assert problems(history).keys() == {"pending"}


def test_a_paused_service_goes_on_with_what_it_held() -> None:
    history = run(fault("outage", service="desk", at_s=1.01, back_after_s=0.3, how="pause"))
    assert within(at_s(history, "handled"), 1.01, 1.31) == 0
    assert set(rows_of(history, "started")["attempt"]) == {1}
    assert len(rows_of(history, "paused")) == len(rows_of(history, "resumed")) == 3 * 2


def test_a_slow_service_takes_longer_and_no_more() -> None:
    history = run(fault("slow", service="desk", at_s=1.0, for_s=1.0, factor=1.5))
    started, handled = rows_of(history, "started"), rows_of(history, "handled")
    took_s = np.sort(handled, order=["run", "message"])["t_s"] - np.sort(started, order=["run", "message"])["t_s"]
    slow = np.sort(started, order=["run", "message"])["t_s"]
    slow = (slow >= 1.0) & (slow < 2.0)
    assert took_s[slow] == pytest.approx(0.03) and took_s[~slow] == pytest.approx(0.02)


def test_where_a_service_is_slow_twice_over_the_factors_multiply() -> None:
    slows = [
        fault("slow", service="desk", at_s=at_s, for_s=1.0, factor=factor) for at_s, factor in ((1, 1.5), (1.5, 2))
    ]
    history = run(*slows)
    started, handled = (
        np.sort(rows_of(history, kind), order=["run", "message"])["t_s"] for kind in ("started", "handled")
    )
    wanted_s = (
        0.02 * np.where((started >= 1) & (started < 2), 1.5, 1) * np.where((started >= 1.5) & (started < 2.5), 2, 1)
    )
    assert handled - started == pytest.approx(wanted_s) and set(np.round(wanted_s, 3)) == {0.02, 0.03, 0.04, 0.06}


def test_poison_ends_in_the_dead_letters() -> None:
    """All attempts that are allowed are made, and what is no poison is handled at once."""
    history = run(fault("poison", service="desk", messages=[20, 41]), retry=Retry(attempts=3, wait_s=0.05))
    dead, failed = rows_of(history, "dead"), rows_of(history, "failed")
    assert sorted(dead["message"]) == [20] * 3 + [41] * 3 and set(dead["attempt"]) == {3}
    assert sorted(set(failed["message"])) == [20, 41] and len(failed) == 3 * 2 * 3
    assert len(rows_of(history, "handled")) == 3 * 158


def test_poison_that_kills_ends_in_the_dead_letters() -> None:
    """It kills a consumer for each attempt. Beside it, all is handled."""
    poison = fault("poison", service="desk", messages=[20], how="kill", back_after_s=0.1)
    history = run(poison, retry=Retry(attempts=3, wait_s=0.05))
    assert len(rows_of(history, "killed")) == len(rows_of(history, "restarted")) == 3 * 3
    assert rows_of(history, "dead")["message"].tolist() == [20] * 3
    assert len(np.unique(rows_of(history, "handled")[["run", "message"]])) == 3 * 159


# The server


def test_a_server_that_is_away_takes_and_hands_out_nothing() -> None:
    """What was to be sent is sent when it is back, half a second later at most."""
    history = run(fault("server_away", at_s=1.01, for_s=1.0))
    assert problems(history) == {}
    published, started = at_s(history, "published"), at_s(history, "started")
    assert within(published, 1.01, 2.01) == within(started, 1.01, 2.01) == 0
    assert within(published, 2.01, 2.01 + RECONNECT_S) >= 3 * 40
    assert np.all(rows_of(history, "sent")["t_s"] == pytest.approx(rows_of(history, "sent")["intended_s"]))
    assert {row["t_s"] for row in rows_of(history, "network_fails")} == {1.01}
    assert np.all(measure(history)["recovery_s"] > 1.0)


@pytest.mark.parametrize("callers", [None, Callers(reply="given", processes=2, timeout_s=5.0)], ids=["load", "callers"])
def test_what_waits_for_a_server_that_stays_away_was_sent(callers: Callers | None) -> None:
    """Nothing stops the load: each message is sent when it is due, though the run ends before the server has it."""
    away = fault("server_away", at_s=1.01, for_s=19.0)
    desk = service(0.02, consumers=2, emits=("given",))
    small = scenario(steady(40.0, 2.0), away, desk=desk)
    if callers is not None:
        small = with_callers(callers, steady(40.0, 2.0), away, desk=desk)
    history = simulate(small.model_copy(update={"drain_s": 0.5}), [0])
    sent = rows_of(history, "sent")
    sent = sent[sent["event"] == 0]
    assert sent["message"].tolist() == list(range(80)) and sent["t_s"] == pytest.approx(sent["intended_s"])
    assert rows_of(history, "skipped").size == 0
    assert at_s(history, "published").max() < 1.01


def test_what_is_handled_meanwhile_is_acknowledged_afterwards() -> None:
    history = run(fault("server_away", at_s=1.01, for_s=1.0))
    handled, acked = rows_of(history, "handled"), rows_of(history, "acked")
    held = handled[(handled["t_s"] > 1.01) & (handled["t_s"] < 2.0)][["run", "message"]]
    late = acked[(acked["t_s"] > 2.01) & np.isin(acked[["run", "message"]], held)]
    assert held.size == late.size == 3  # the one that ran at 1.01 s


def test_a_lease_that_ends_while_the_server_is_away_is_taken_over_afterwards() -> None:
    """By whoever sweeps before the holder has renewed: slow handlers are lost, and their messages done again."""
    slow: dict[str, Any] = {"consumers": 6, "concurrency": 20, "lease_s": 0.3}
    history = simulate(
        scenario(steady(40.0, 4.0), fault("server_away", at_s=1.01, for_s=1.5), desk=service(3.0, prefetch=0, **slow)),
        range(5),
    )
    assert problems(history) == {}
    again = rows_of(history, "started")
    again = again[again["attempt"] > 1]
    assert again.size and np.all(again["t_s"] > 2.51)
    assert len(rows_of(history, "lost")) >= 1


def test_a_server_that_restarts_keeps_what_it_had() -> None:
    history = run(fault("server_restart", at_s=1.01, back_after_s=0.3))
    assert problems(history) == {}
    assert len(rows_of(history, "server_stopped")) == len(rows_of(history, "server_started")) == 3


def test_what_a_server_loses_is_shown_as_lost() -> None:
    """It is counted, and not hidden. What is published afterwards is handled."""
    outage = fault("outage", service="desk", at_s=0.51, back_after_s=1.0)
    history = run(outage, fault("server_restart", at_s=1.21, back_after_s=0.1, with_data=False))
    found = problems(history)
    assert set(found) == {"lost", "balanced"}
    handled = np.unique(rows_of(history, "handled")[["run", "message"]])
    lost = 3 * 160 - handled.size
    assert lost == pytest.approx(3 * 28, abs=6)  # what came in 0.7 s
    assert found["lost"].startswith(f"{lost} of 480")
    assert all(one.left["desk"].waiting == 0 for one in history.runs)


def test_a_full_server_hands_out_and_acknowledges() -> None:
    """But takes nothing new: no event, no retry; and none of the retries that are due comes back."""
    behind: dict[str, Any] = {"consumers": 1, "concurrency": 1, "error_rate": 0.2}
    retry = Retry(attempts=9, wait_s=0.4, wait_s_max=0.4, jitter="none")
    history = run(fault("server_full", at_s=1.01, for_s=0.6), retry=retry, prefetch=20, **behind)
    assert problems(history) == {}
    assert within(at_s(history, "published"), 1.01, 1.61) == 0
    assert within(at_s(history, "retried"), 1.01, 1.61) == 0
    assert within(at_s(history, "acked"), 1.01, 1.61) >= 1  # until one fails, whose worker waits for the server
    started = rows_of(history, "started")
    read_before = np.unique(started[started["t_s"] < 1.01]["message"]).size
    again = started[(started["attempt"] > 1) & (started["t_s"] > 1.15) & (started["t_s"] < 1.61)]
    assert read_before and not again.size  # those that were back before are done by then


# The network


def test_a_reset_costs_no_more_than_one_reconnection() -> None:
    calm, cut = run(), run(fault("reset", at_s=1.01))
    assert np.all(rows_of(cut, "handled")["message"].size == rows_of(calm, "handled")["message"].size)
    late_s = at_s(cut, "handled").max() - at_s(calm, "handled").max()
    assert late_s == pytest.approx(0.0)
    waits = rows_of(cut, "started")["t_s"] - rows_of(cut, "started")["intended_s"]
    assert 0.0 < waits.max() <= 0.05


@pytest.mark.parametrize("for_s", [1.0, SILENCE_S + 2.0])
def test_a_black_hole_gives_all_back_at_its_end(for_s: float) -> None:
    """A short one, which no connection notices; and one that is longer than the library waits for a reply."""
    history = simulate(declared(fault("black_hole", at_s=1.01, for_s=for_s), duration_s=for_s + 3.0), range(3))
    assert problems(history) == {}
    assert within(at_s(history, "published"), 1.01, 1.01 + for_s) == 0
    first_s = at_s(history, "published")
    first_s = first_s[first_s > 1.02]
    assert 1.01 + for_s - 1e-9 <= first_s.min() <= 1.01 + for_s + RECONNECT_S


def test_latency_is_added_to_each_way() -> None:
    """To the server, and on to the handler that waits: at least twice. A batch may wait for the one before it."""
    history = run(fault("latency", at_s=1.0, for_s=2.0, added_s=0.03), concurrency=8)
    started = rows_of(history, "started")
    waits_s = started["t_s"] - started["intended_s"]
    inside = (started["intended_s"] >= 1.0) & (started["t_s"] < 3.0)
    assert np.all(waits_s[inside] >= 0.06 - 1e-9) and np.median(waits_s[inside]) < 0.15
    assert np.all(waits_s[started["intended_s"] < 0.9] == pytest.approx(0.0, abs=1e-9))


def test_latency_delays_each_act_of_a_saga_by_four_ways() -> None:
    """To the worker that waits, there and back to begin, and to the server, which stores what follows."""
    one_by_one: dict[str, Any] = {"consumers": 1, "concurrency": 1}
    sagas = saga_service(saga_step("pay", 0.05), saga_step("ship", 0.05), **one_by_one)
    latency = fault("latency", at_s=0.5, for_s=4.0, added_s=0.1)
    history = simulate(scenario(steady(1.0, 2.0), latency, desk=sagas), [0])
    started, done, completed = (second_s(history, kind) for kind in ("step_started", "step_done", "completed"))
    assert np.diff(started) == pytest.approx(0.05 + 4 * 0.1)
    assert completed - done[-1] == pytest.approx(0.1)


def test_a_retry_waits_from_when_the_server_has_it() -> None:
    failing: dict[str, Any] = {"error_rate": 1.0, "retry": Retry(attempts=2, wait_s=0.5, jitter="none")}
    latency = fault("latency", at_s=0.5, for_s=4.0, added_s=0.1)
    plain, sagas = (
        service(0.05, **failing),
        saga_service(saga_step("pay", 0.05, error_rate=1.0), retry=failing["retry"]),
    )
    for desk, ways in ((plain, 2), (sagas, 4)):  # to the server and back; to begin an act takes two more
        history = simulate(scenario(steady(1.0, 2.0), latency, desk=desk), [0])
        started_s = second_s(history, "step_started" if desk.saga else "started")
        assert started_s[1] - started_s[0] == pytest.approx(0.05 + 0.5 + ways * 0.1)


def test_a_narrow_network_is_a_queue_for_its_bytes() -> None:
    """Where forty events a second have more bytes than pass, they wait for each other."""
    wide, narrow = (
        run(fault("bandwidth", at_s=1.0, for_s=2.0, bytes_per_s=rate), concurrency=8) for rate in (1e9, 8_000)
    )
    assert np.all(measure(wide)["lag_s_p95"] < 0.021)
    assert np.all(measure(narrow)["lag_s_p95"] > 0.06)
    assert problems(narrow) == {}


def test_what_is_published_together_comes_together_over_a_narrow_network() -> None:
    """A call is carried out when all of it has come. What is due while one is on its way is a call of its own."""
    bytes_per_s = 10_000
    narrow = fault("bandwidth", at_s=0.0, for_s=3.0, bytes_per_s=bytes_per_s)
    history = simulate(scenario(steady(100.0, 0.1), narrow, desk=service(concurrency=50)), [0])
    due_s = rows_of(history, "sent")["intended_s"][1:].tolist()  # the first is sent before the network is narrow
    published_s = rows_of(history, "published")["t_s"][1:].tolist()
    first_s = due_s[0] + (PUBLISHES.call + PUBLISHES.event) / bytes_per_s
    joined = sum(due_s[0] < one <= first_s for one in due_s)
    second_s = first_s + (PUBLISHES.call + joined * PUBLISHES.event) / bytes_per_s
    assert published_s[: 1 + joined] == pytest.approx([first_s] + [second_s] * joined)
    assert joined > 2 and published_s[1 + joined] > second_s


def test_what_is_handed_out_in_a_lost_reply_comes_again_after_a_lease() -> None:
    history = run(fault("lost_replies", at_s=1.01, for_s=0.5))
    assert problems(history) == {}
    started = rows_of(history, "started")
    again = started[started["attempt"] == 2]
    assert again.size >= 3
    assert np.all(again["t_s"] - 1.01 >= LEASE_S) and np.all(again["t_s"] - 1.51 <= 2.2 * LEASE_S)
    first = started[started["attempt"] == 1][["run", "message"]]
    assert not np.isin(again[["run", "message"]], first).any()  # nobody has seen its first delivery


@pytest.mark.parametrize(
    "halted",
    [
        fault("pause", service="desk", at_s=1.02, for_s=1.5),
        fault("pause", service="desk", at_s=1.02, for_s=0.2),
        fault("outage", service="desk", at_s=1.02, back_after_s=0.2, how="pause"),
    ],
    ids=lambda one: one.label,
)
def test_what_a_standing_consumer_is_handed_out_in_a_lost_reply_comes_again_too(halted: Fault) -> None:
    """A read that was blocked when the consumer was stopped is served all the same, and it never hears of it."""
    history = run(halted, fault("lost_replies", at_s=1.03, for_s=0.5))
    assert problems(history) == {}
    assert all(one.left["desk"].pending == 0 for one in history.runs)
    started = rows_of(history, "started")
    assert np.all(started[started["attempt"] == 2]["t_s"] >= 1.03 + LEASE_S)


def test_callers_wait_for_a_server_that_is_away() -> None:
    """Requests are answered when it is back, if they wait for so long, and for the half second until all are back."""
    quotes = service(0.01, consumers=2, emits=("given",))
    away = fault("server_away", at_s=1.01, for_s=1.0)
    for timeout_s, fewest, most in ((0.5, 20, 60), (5.0, 0, 0)):
        callers = Callers(reply="given", timeout_s=timeout_s)
        history = simulate(with_callers(callers, steady(40.0, 3.0), away, desk=quotes), [0])
        assert fewest <= len(rows_of(history, "timed_out")) <= most
        assert within(at_s(history, "replied"), 1.01, 2.01) == 0


def test_a_server_of_others_is_not_stopped() -> None:
    from sim.worlds.live import refuse_impossible

    for one in (fault("server_restart", at_s=1.0), fault("server_full", at_s=1.0, for_s=1.0)):
        with pytest.raises(InvalidScenario, match="only a server of the run's own is stopped or filled"):
            refuse_impossible(declared(one), "redis://127.0.0.1:6379/0")
    with pytest.raises(InvalidScenario, match="the proxy passes no TLS on"):
        refuse_impossible(declared(fault("reset", at_s=1.0)), "rediss://127.0.0.1:6379/0")


def test_a_spike_of_the_load_long_before_a_fault_is_not_the_level_to_come_back_to() -> None:
    rates = {"rate_per_s": 50, "peak_rate_per_s": 400, "at_s": 2, "for_s": 1, "duration_s": 16}
    spike = SpikeLoad.model_validate({"kind": "spike", "event": "placed"} | rates)
    declared = scenario(spike, fault("outage", service="desk", at_s=12.0, back_after_s=0.5), desk=service(0.005))
    measured = measure(simulate(declared, [0]))
    assert measured["backlog_max"][0] > 100  # in the spike
    assert 0.5 <= measured["recovery_s"][0] < 1.5
