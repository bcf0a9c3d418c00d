"""Clients that wait for an answer, ask again and give up: against theory, at extremes, and in a storm of retries."""

from typing import Any

import numpy as np
import pytest

from eventlib.policy import Retry
from sim.calibration import Calibration
from sim.declare.callers import Callers
from sim.declare.faults import Fault
from sim.declare.loads import Load
from sim.declare.loads.closed import ClosedLoad
from sim.declare.scenario import Scenario
from sim.evidence.history import History, Rows
from sim.evidence.metrics import measure
from sim.evidence.requests import answers_of
from sim.worlds.simulated import simulate
from tests.model.small import exponential, fault, problems, rows_of, service, steady, with_callers

ONCE = Retry(attempts=1)
TWICE = Retry(attempts=2)
COSTS = Calibration.constant(publish_s=0.002, dispatch_s=0.005, read_s=0.001, handle_s=0.003)


def closed(clients: int, think_s: float, duration_s: float = 10.0, **fields: Any) -> ClosedLoad:
    """Clients that ask for `placed`."""
    declared = {"clients": clients, "think_s": think_s, "duration_s": duration_s} | fields
    return ClosedLoad.model_validate({"kind": "closed", "event": "placed"} | declared)


def asking(load: Load, *faults: Fault, retry: Retry = ONCE, timeout_s: float = 1e4, **fields: Any) -> Scenario:
    """Callers ask one service, `quoting`. `fields` are the service's."""
    callers = Callers(reply="given", timeout_s=timeout_s, retry=retry, processes=fields.pop("processes", 1))
    return with_callers(callers, load, *faults, quoting=service(emits=("given",), **fields))


def found(history: History, metric: str) -> float:
    return float(measure(history)[f"callers.{metric}"].mean())


def requests_of(history: History) -> Rows:
    sent = rows_of(history, "sent")
    of_load: Rows = sent[sent["service"] == -1]
    return of_load


def repairman_per_s(clients: int, think_s: float, service_s: float) -> float:
    """Throughput of M/M/1 with a finite number of clients. Source: Kleinrock, "Queueing Systems", vol. 1, 1975, 3.8."""
    ratio, weight, total = service_s / think_s, 1.0, 1.0
    for waiting in range(clients):
        weight *= (clients - waiting) * ratio
        total += weight
    return (1 - 1 / total) / service_s


@pytest.mark.parametrize("clients", [1, 5, 20])
def test_the_throughput_of_a_loop_is_that_of_theory(clients: int) -> None:
    """Within four standard errors of six runs: at a light load, a middling one, and where the service is the limit."""
    history = simulate(asking(closed(clients, 0.1, 30.0), service_time=exponential(0.01)), range(6))
    per_s = np.array([(requests_of(history)["run"] == run).sum() / 30.0 for run in range(6)])
    error = per_s.std(ddof=1) / np.sqrt(per_s.size)
    assert abs(per_s.mean() - repairman_per_s(clients, 0.1, 0.01)) < 4 * error + 0.05


def test_no_client_has_two_requests_at_once() -> None:
    history = simulate(asking(closed(3, 0.05), mean_s=0.05, processes=2), [0], calibration=COSTS)
    replied = {int(row["message"]): float(row["t_s"]) for row in rows_of(history, "replied")}
    sent = {int(row["message"]): float(row["intended_s"]) for row in requests_of(history)}
    assert len(sent) > 100
    assert all(sent[message] >= replied[message - 3] for message in sent if message >= 3)
    assert {int(row["consumer"]) for row in requests_of(history)} == {0, 1}


def test_constant_thinking_begins_spread_out() -> None:
    history = simulate(asking(closed(4, 1.0, 10.0, think="constant"), mean_s=0.0), [0])
    sent_s = requests_of(history)["t_s"]
    assert sent_s.size == 40
    assert np.unique(sent_s[:4]).size == 4 and sent_s[3] < 1.0
    assert sent_s[4:8] == pytest.approx(sent_s[:4] + 1.0)


def test_a_slower_service_is_asked_less() -> None:
    """That is what an open loop never does."""
    sent = [requests_of(simulate(asking(closed(10, 0.1), mean_s=mean_s), [0])).size for mean_s in (0.001, 0.02, 0.1)]
    assert sent[0] > 1.3 * sent[1] > 1.3 * sent[2]


def storm(load: Load) -> Scenario:
    """An outage of two seconds; who gets no answer within 0.2 s asks again, five times in all."""
    away = fault("outage", service="quoting", at_s=1.0, back_after_s=2.0)
    return asking(load, away, retry=Retry(attempts=5, wait_s=0.05), timeout_s=0.2, mean_s=0.002, lease_s=0.5)


@pytest.mark.parametrize("load", [steady(50.0, 4.0), closed(50, 1.0, 4.0)], ids=["open", "closed"])
def test_an_outage_makes_a_storm_of_retries(load: Load) -> None:
    """In the outage, each request becomes several messages; those that wait in the stream are worked on afterwards."""
    history = simulate(storm(load), [0])
    answers = answers_of(history.scenario, history.runs[0], history.rows)
    assert answers.sent.max() == 5
    assert found(history, "requests_mean") > 1.4
    assert found(history, "given_up") > 10
    assert found(history, "answered") + found(history, "given_up") == answers.sent.size
    assert found(history, "asked_again") == np.count_nonzero(answers.sent > 1)
    handled = rows_of(history, "handled", "quoting")
    assert handled.size == requests_of(history).size > 1.4 * answers.sent.size
    assert problems(history) == {}


def test_without_retries_the_same_outage_makes_none() -> None:
    history = simulate(asking(steady(50.0, 4.0), storm(steady(50.0, 4.0)).faults[0], timeout_s=0.2, lease_s=0.5), [0])
    assert requests_of(history).size == 200


def test_the_time_to_answer_counts_from_the_first_try() -> None:
    """Work takes 0.25 s and callers wait 0.1 s: each asks three times, 0.05 s apart, and gives up."""
    waits = Retry(attempts=3, wait_s=0.05, factor=1.0, jitter="none")
    history = simulate(asking(steady(1.0, 3.0), retry=waits, timeout_s=0.1, mean_s=0.25, concurrency=9), [0])
    assert found(history, "answer_s_p50") == pytest.approx(3 * 0.1 + 2 * 0.05)
    assert found(history, "given_up") == 3 and found(history, "answered") == 0
    first = requests_of(history)[:3]
    assert first["message"].tolist() == [0, 1, 2]
    assert first["t_s"] == pytest.approx([0.0, 0.15, 0.3])


def test_a_request_that_began_in_the_warm_up_does_not_count_for_its_later_messages() -> None:
    """The first of three requests is asked at 0, 0.15 and 0.3 s: the cut at 0.1 s takes all of its messages."""
    waits = Retry(attempts=3, wait_s=0.05, factor=1.0, jitter="none")
    declared = asking(steady(1.0, 3.0), retry=waits, timeout_s=0.1, mean_s=0.25, concurrency=9)
    history = simulate(declared.model_copy(update={"warm_up_s": 0.1}), [0])
    assert (found(history, "given_up"), found(history, "asked_again")) == (2.0, 2.0)
    assert found(history, "requests_mean") == 3.0


def test_a_request_that_fails_once_is_answered_by_its_second_message() -> None:
    """The outage is over before the callers give up."""
    away = fault("outage", service="quoting", at_s=0.95, back_after_s=0.3)
    waits = Retry(attempts=9, wait_s=0.1, factor=1.0, jitter="none")
    history = simulate(asking(steady(10.0, 2.0), away, retry=waits, timeout_s=0.1, mean_s=0.001), [0])
    assert found(history, "answered") == 20 and found(history, "given_up") == 0
    assert found(history, "asked_again") >= 2
    assert found(history, "answer_s_p99") > 0.2


def test_the_same_seed_gives_the_same_rows() -> None:
    declared = storm(closed(20, 0.2, 3.0))
    one, other = (simulate(declared, [7], calibration=COSTS) for _ in range(2))
    assert one.rows.tobytes() == other.rows.tobytes()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"clients": 0}, "clients: a closed loop without clients sends nothing; give at least one"),
        ({"think_s": 0}, "think_s: Input should be greater than or equal to 0.001"),
    ],
)
def test_a_loop_that_cannot_be_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told.partition(": ")[2]):
        closed(**{"clients": 2, "think_s": 0.1} | changes)


def test_what_a_loop_does_not_go_with_is_refused() -> None:
    with pytest.raises(ValueError, match="clients of a closed loop wait for replies; say which"):
        Scenario(name="small", load=closed(2, 0.1), services={"desk": service()})
    stages = {"kind": "stages", "event": "placed", "stages": [closed(2, 0.1).model_dump()]}
    with pytest.raises(ValueError, match="a closed loop is a load by itself"):
        asking(stages)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="callers that ask again, or in a closed loop, cannot be killed yet"):
        asking(closed(2, 0.1), fault("kill", service="callers", at_s=1.0))
    with pytest.raises(ValueError, match="which a closed loop decides"):
        asking(closed(2, 0.1), fault("poison", service="quoting", share=0.1))


def test_each_message_of_a_poisoned_request_may_kill() -> None:
    """Ten requests of ten messages each kill a consumer in each of two attempts."""
    poison = fault("poison", service="quoting", messages=list(range(10)), how="kill")

    def asked(tries: int) -> Scenario:
        waits = Retry(attempts=tries)
        return with_callers(
            Callers(reply="given", retry=waits),
            steady(10.0, 4.0),
            poison,
            quoting=service(emits=("given",), retry=TWICE),
        )

    assert asked(1).faults == (poison,)
    with pytest.raises(ValueError, match="about 200 consumers would be killed"):
        asked(10)
