"""Services that a rule scales by their backlog: the rule, and what it does in the simulated world."""

from typing import Any

import numpy as np
import pytest

from eventlib.policy import Retry
from sim.calibration import Calibration
from sim.declare.autoscale import Autoscale, Autoscaler, moves
from sim.declare.scenario import Scenario
from sim.declare.varying import with_fields
from sim.errors import InvalidScenario
from sim.evidence.history import KIND, History
from sim.evidence.metrics import measure
from sim.worlds.simulated import simulate
from sim.worlds.simulated.link import Link
from tests.model.small import (
    exponential,
    fault,
    kill,
    poisson,
    problems,
    rows_of,
    saga_service,
    saga_step,
    scenario,
    service,
    steady,
)

RULE = {"min": 1, "max": 6, "backlog_per_consumer": 5, "every_s": 0.5, "down_after_s": 2.0}


def scaled(mean_s: float = 0.05, rule: dict[str, Any] | None = None, **fields: Any) -> Any:
    return service(mean_s, autoscale=rule or RULE, lease_s=0.5, **fields)


def series(history: History) -> list[tuple[float, float]]:
    return [(round(float(row["t_s"]), 6), float(row["value"])) for row in rows_of(history, "scaled")]


def decided(looks: list[tuple[float, float]], **rule: Any) -> list[int]:
    """What the rule makes of these looks, each a time and a backlog."""
    scaler, consumers, found = Autoscaler(Autoscale.model_validate(RULE | rule), 1, looks[0][0]), 1, []
    for at_s, backlog in looks:
        consumers = scaler.decide(backlog, consumers, at_s)
        found.append(consumers)
    return found


def test_there_is_one_consumer_for_each_share_of_the_backlog() -> None:
    rule = Autoscale(min=2, max=6, backlog_per_consumer=5)
    assert [rule.wanted(backlog) for backlog in (0, 10, 11, 15, 29, 31, 1e9)] == [2, 2, 3, 3, 6, 6, 6]


def test_fewer_are_wanted_only_when_the_whole_window_called_for_fewer() -> None:
    """As Kubernetes' window: the most that any look of the last two seconds called for stays."""
    looks = [(0.0, 30.0), (1.0, 15.0), (1.9, 0.0), (2.0, 0.0), (3.0, 0.0), (4.0, 0.0)]
    assert decided(looks) == [6, 6, 6, 3, 1, 1]
    assert decided(looks, down_after_s=0.0) == [6, 3, 1, 1, 1, 1]
    at_once = Autoscaler(Autoscale.model_validate(RULE | {"down_after_s": 0.0, "up_after_s": 9.0}), 6, 0.0)
    assert at_once.decide(0.0, 6, 1.0) == 1


def test_what_there_is_at_first_counts_as_called_for() -> None:
    rule = Autoscaler(Autoscale.model_validate(RULE), 4, 0.0)
    assert [rule.decide(0.0, 4, at_s) for at_s in (0.5, 1.9, 2.0)] == [4, 4, 1]


def test_more_are_wanted_only_when_the_whole_window_called_for_more() -> None:
    """The least that any look of the last second called for is what there is, so a short burst starts nothing."""
    looks = [(0.0, 0.0), (0.5, 30.0), (0.9, 20.0), (1.0, 30.0), (1.5, 30.0), (2.0, 30.0)]
    assert decided(looks, up_after_s=1.0) == [1, 1, 1, 4, 4, 6]


def test_the_highest_numbers_come_last_and_leave_first() -> None:
    assert moves({0, 1}, 4) == ([2, 3], []) and moves({0, 1, 2, 3}, 2) == ([], [2, 3])
    assert moves({0, 2}, 3) == ([1], [])


def test_a_rule_with_one_answer_is_a_fixed_number_of_consumers() -> None:
    """The same rows, beside the one that says how many there are."""
    fixed = simulate(scenario(poisson(60.0, 6.0), desk=service(0.05, consumers=4, prefetch=2, lease_s=0.5)), [0])
    rule = RULE | {"min": 4, "max": 4}
    ruled = simulate(scenario(poisson(60.0, 6.0), desk=scaled(rule=rule, prefetch=2)), [0])
    assert series(ruled) == [(0.0, 4.0)]
    assert ruled.rows[ruled.rows["kind"] != KIND["scaled"]].tobytes() == fixed.rows.tobytes()
    ruled_metrics, fixed_metrics = measure(ruled), measure(fixed)
    assert all(np.array_equal(ruled_metrics[name], fixed_metrics[name], equal_nan=True) for name in fixed_metrics)
    assert ruled_metrics["consumer_hours"] == pytest.approx(4 * ruled.runs[0].ended_s / 3600)


def test_consumers_follow_a_burst_and_leave_again() -> None:
    load = {"kind": "spike", "event": "placed", "rate_per_s": 5, "peak_rate_per_s": 80, "at_s": 2, "for_s": 4}
    declared = Scenario.model_validate({"name": "s", "load": load | {"duration_s": 20}, "services": {"desk": scaled()}})
    history = simulate(declared, range(3))
    assert problems(history) == {}
    found = measure(history)
    assert (found["consumers_max"] == 6).all() and (found["consumers_mean"] < 4).all()
    assert all(series(history.of_seeds([seed]))[-1][1] == 1.0 for seed in range(3))
    gone = rows_of(history, "left")
    assert set(gone["consumer"]) == {1, 2, 3, 4, 5}
    # Who has left handles nothing until the next one of its number is started.
    started, up = rows_of(history, "started"), rows_of(history, "scaled")
    for row in gone:
        again_s = up["t_s"][(up["run"] == row["run"]) & (up["t_s"] > row["t_s"]) & (up["value"] > row["consumer"])]
        later = started[(started["run"] == row["run"]) & (started["consumer"] == row["consumer"])]
        assert not ((later["t_s"] > row["t_s"]) & (later["t_s"] < again_s.min(initial=1e9))).any()


def test_more_consumers_cost_more_and_wait_less() -> None:
    fields = {"services.desk.autoscale.max": 2}
    declared = scenario(poisson(45.0, 20.0), desk=scaled())
    two, six = (measure(simulate(one, range(6))) for one in (with_fields(declared, fields), declared))
    assert six["lag_s_p99"].mean() < 0.5 * two["lag_s_p99"].mean()
    assert (two["consumers_max"] == 2).all() and six["consumer_hours"].mean() > two["consumer_hours"].mean()


def test_who_leaves_ends_what_it_handles_and_gives_the_rest_back() -> None:
    """Long handlers and a prefetch: at the scaling down each leaving consumer handles one message and holds nine."""
    rule = {"min": 1, "max": 3, "backlog_per_consumer": 20, "every_s": 1.0, "down_after_s": 0}
    desk = scaled(0.4, rule, consumers=3, prefetch=9)
    history = simulate(scenario(steady(20.0, 0.9), desk=desk, drain_s=60.0), [0])
    assert problems(history) == {} and series(history) == [(0.0, 3.0), (1.0, 1.0)]
    assert (rows_of(history, "started")["attempt"] == 1).all() and rows_of(history, "handled").size == 18
    left = rows_of(history, "left")
    assert left["consumer"].tolist() == [1, 2] and (left["t_s"] < 1.4).all()
    late = rows_of(history, "started")
    assert set(late[late["t_s"] > 1.0]["consumer"]) == {0}


def test_what_takes_longer_than_a_grace_is_cut_short_and_does_not_count() -> None:
    rule = {"min": 1, "max": 2, "backlog_per_consumer": 2, "every_s": 1.0, "down_after_s": 0}
    desk = scaled(8.0, rule, consumers=2, retry=Retry(attempts=1))
    history = simulate(scenario(steady(2.0, 1.0), desk=desk, drain_s=60.0), [0])
    assert problems(history) == {}
    assert rows_of(history, "left")["t_s"].tolist() == pytest.approx([6.0])
    assert (rows_of(history, "started")["attempt"] == 1).all() and rows_of(history, "handled").size == 2


def test_an_outage_brings_back_as_many_as_are_wanted_by_then() -> None:
    out = fault("outage", service="desk", at_s=2.0, back_after_s=3.0)
    history = simulate(scenario(poisson(20.0, 8.0), out, desk=scaled(consumers=2)), [0])
    assert problems(history) == {}
    killed, back = rows_of(history, "killed"), rows_of(history, "restarted")
    assert killed.size < 6 and back.size == 6 and (back["t_s"] == 5.0).all()
    started = rows_of(history, "started")["t_s"]
    assert not ((started > 2.0) & (started < 5.0)).any()


@pytest.mark.parametrize("how", ["kill", "pause"])
def test_an_outage_meets_consumers_that_are_still_starting(how: str) -> None:
    """At 0.5 s more are started, which takes 0.6 s. The outage begins meanwhile, and lasts for longer."""
    out = fault("outage", service="desk", at_s=0.7, back_after_s=2.0, how=how)
    starts = Calibration.constant(start_s=0.6)
    history = simulate(scenario(steady(60.0, 5.0), out, desk=scaled()), [0], calibration=starts)
    assert problems(history) == {} and series(history)[1][0] == 0.5
    started = rows_of(history, "started")
    assert not ((started["t_s"] > 0.7) & (started["t_s"] < 2.7)).any()
    first = {int(one): started["t_s"][started["consumer"] == one].min() for one in np.unique(started["consumer"])}
    assert set(first) == set(range(6)) and min(first[one] for one in range(1, 6)) == pytest.approx(3.3)


def test_a_dead_consumer_that_is_wanted_no_more_does_not_come_back() -> None:
    """Poison kills one of two consumers early. By the time it would be replaced, one is enough."""
    poison = fault("poison", service="desk", at_s=0.0, for_s=1.0, messages=[1], how="kill", back_after_s=4.0)
    rule = RULE | {"max": 2, "backlog_per_consumer": 3}
    desk = scaled(0.1, rule, consumers=2, retry=Retry(attempts=1))
    history = simulate(scenario(steady(2.0, 8.0), poison, desk=desk), [0])
    assert problems(history) == {} and rows_of(history, "killed").size == 1
    assert series(history)[-1][1] == 1.0 and not rows_of(history, "restarted").size
    started = rows_of(history, "started")
    assert set(started[started["t_s"] > 5.0]["consumer"]) == {0}


def test_killed_consumers_lose_nothing_where_the_number_changes() -> None:
    faults = [kill("desk", 1.0, 0.5), kill("desk", 3.0, 0.5)]
    declared = scenario(poisson(40.0, 8.0), *faults, desk=scaled(error_rate=0.2, prefetch=3, ordered_by={"keys": 5}))
    assert problems(simulate(declared, range(4))) == {}


@pytest.mark.parametrize(
    ("desk", "words"),
    [
        (lambda: service(autoscale=RULE | {"max": 0}), "autoscale.max"),
        (lambda: service(autoscale=RULE | {"min": 7}), "max: 6 is below min, 7"),
        (lambda: service(autoscale=RULE, consumers=8), "consumers: 8 is over autoscale.max, 6"),
        (lambda: service(autoscale=RULE, queue={}), "task queues are not scaled yet"),
        (lambda: saga_service(saga_step("a"), autoscale=RULE), "workers of sagas are not scaled yet"),
        (lambda: service(autoscale=RULE | {"backlog_per_consumer": 0}), "backlog_per_consumer"),
    ],
)
def test_what_cannot_be_scaled_is_refused(desk: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        scenario(steady(1.0, 1.0), desk=desk())


def test_a_fault_meets_only_consumers_that_are_there_at_all_times() -> None:
    with pytest.raises(ValueError, match="'desk' has consumers 0 to 0 at all times, no 1"):
        scenario(steady(1.0, 1.0), kill("desk", 0.5, 0.1, consumer=1), desk=scaled())
    with pytest.raises(InvalidScenario, match="no field 'most'"):
        with_fields(scenario(steady(1.0, 1.0), desk=scaled()), {"services.desk.autoscale.most": 3})


def test_the_shipped_example_says_what_it_costs() -> None:
    declared = Scenario.load("data/scenarios/autoscale.yaml")
    found = measure(simulate(declared, range(3)))
    assert (found["consumers_max"] >= 4).all()
    assert (found["consumer_hours"] < 0.75 * 6 * declared.offered_load.duration_s / 3600).all()


def test_exponential_services_scale_by_what_theory_needs() -> None:
    """At 30 a second and 50 ms each, 1.5 consumers are busy: fewer than two cannot last, all six are not needed."""
    history = simulate(scenario(poisson(30.0, 60.0), desk=service(autoscale=RULE, service_time=exponential(0.05))), [0])
    assert 1.5 < measure(history)["consumers_mean"][0] < 4.0


def test_all_consumers_that_there_are_by_then_try_to_bring_retries_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server without memory refuses to move what is due again; the first try that it takes counts."""
    tried, first_of = set[int](), Link.first_of

    def look(link: Link, processes: int, at_s: float, *, adds: bool) -> float:
        tried.add(processes)
        return first_of(link, processes, at_s, adds=adds)

    monkeypatch.setattr(Link, "first_of", look)
    full, retry = fault("server_full", at_s=2.0, for_s=1.0), Retry(attempts=9, wait_s=0.2)
    declared = scenario(steady(60.0, 4.0), full, desk=scaled(error_rate=0.3, retry=retry))
    history = simulate(declared, [0])
    assert max(wanted for at_s, wanted in series(history) if at_s < 2.0) in tried
    assert min(tried) > 1
