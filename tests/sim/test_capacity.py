"""How busy a service was, what it is offered and can do; and a run's size, which its events decide."""

import math
from typing import Any

import numpy as np
import pytest

from sim.declare.scenario import MAX_ROWS, Scenario
from sim.errors import InvalidScenario
from sim.evidence.capacity import matched, overloads
from sim.evidence.checks import check
from sim.evidence.export import runs_json
from sim.evidence.history import ROW, Left
from sim.evidence.metrics import measure
from sim.worlds.simulated import simulate
from tests.model.small import constant, exponential, kill, poisson, rows_of, scenario, service, steady
from tests.sim.handmade import attempted, desk, history, row, sent, whole


def test_utilisation_is_the_share_of_the_run_in_which_handlers_work() -> None:
    """Two attempts of one second, one of half a second, and one that the run's end at 10 s cuts off after two."""
    cut = attempted(3, 8.0, 9.0)[:1]
    known = history(whole(0, 1.0, 2.0), whole(1, 3.0, 4.0), attempted(2, 5.0, 5.5, "retried"), cut)
    assert measure(known)["utilisation"][0] == pytest.approx(0.45)


def test_an_attempt_that_a_kill_cuts_off_ends_with_it() -> None:
    killed = row("killed", 3.0, service=0, consumer=0)
    known = history(sent(0, 1.0), attempted(0, 1.0, 9.0)[:1], [killed], declared=desk(kill("desk", 1.5, None)))
    assert measure(known)["utilisation"][0] == pytest.approx(0.2)


def test_a_simulated_service_is_as_busy_as_theory_says() -> None:
    declared = scenario(
        poisson(50.0, 200.0),
        desk=service(consumers=2, concurrency=2).model_copy(update={"service_time": exponential(0.06)}),
    )
    assert measure(simulate(declared, range(3)))["utilisation"].mean() == pytest.approx(50 * 0.06 / 4, rel=0.03)


OVERLOADED = scenario(steady(20.0, 5.0), drain_s=1.0, desk=service(0.1))


def test_overload_is_told_in_words() -> None:
    (found,) = overloads(simulate(OVERLOADED, [0]))
    assert [found.offered_per_s, found.capacity_per_s] == pytest.approx([20.0, 10.0])
    assert found.in_words() == (
        "desk is overloaded: it is offered 20 /s and can do 10 /s, so its backlog grows by 10 /s on average "
        "while the load lasts; add consumers or concurrency, or lower the rate"
    )


def test_what_may_be_in_the_way_of_more_handlers_is_told() -> None:
    """A key that is frequent, and a dependency: more consumers may not help."""
    keys: dict[str, Any] = {"ordered_by": {"keys": 2, "skew": 1.0}}
    [by_key] = overloads(simulate(scenario(steady(100.0, 2.0), desk=service(0.05, **keys)), [0]))
    assert "messages of one key wait for each other" in by_key.in_words()
    declared = scenario(steady(100.0, 2.0), desk=service(0.05)).model_dump(by_alias=True)
    declared["services"]["desk"]["uses"] = ("database",)
    declared["dependencies"] = {"database": {"capacity": 1, "service_time": constant(0.001).model_dump()}}
    [calling] = overloads(simulate(Scenario.model_validate(declared), [0]))
    assert "wait for database: add capacity there" in calling.in_words()


def test_what_is_left_is_told_in_words_with_its_reason() -> None:
    overloaded = simulate(OVERLOADED, [0])
    (pending,) = (one for one in check(overloaded) if one.name == "pending")
    assert pending.detail.startswith("desk in run 0 (seed 0): 40 left (39 waiting, 1 pending); desk is overloaded: ")
    assert [one["service"] for one in runs_json(overloaded)["overloads"]] == ["desk"]
    stuck = history(whole(0, 0.0, 1.0), left=Left(0, 0, 0, 2, 7))
    (pending,) = (one for one in check(stuck) if one.name == "pending")
    assert pending.detail == "desk in run 0 (seed 0): 2 left (2 delayed)"


@pytest.mark.parametrize("changes", [{"concurrency": 3}, {"consumers": 3}])
def test_a_service_that_keeps_up_is_not_overloaded(changes: dict[str, Any]) -> None:
    assert not list(overloads(simulate(scenario(steady(20.0, 5.0), desk=service(0.1, **changes)), [0])))


def test_retries_use_up_capacity() -> None:
    """It could do 30 messages a second if none failed; with every other attempt it is half of that."""
    fails = scenario(steady(20.0, 20.0), desk=service(0.1, concurrency=3, error_rate=0.5))
    (found,) = overloads(simulate(fails, range(3)))
    assert found.capacity_per_s == pytest.approx(30 / 1.75, rel=0.1)  # three attempts at most


def quiet(duration_s: float, rate_per_s: float) -> Scenario:
    return scenario(poisson(rate_per_s, duration_s), drain_s=36_000.0, desk=service(30.0, consumers=8, lease_s=3600.0))


def test_a_quiet_week_takes_memory_by_its_events() -> None:
    """It lasts 600,000 seconds and has a thousand orders. A short run is looked at ten times a second."""
    week = simulate(quiet(604_800.0, 1000 / 604_800), [0])
    assert len(rows_of(week, "sampled")) <= 10_001
    assert len(week.rows) < 20_000
    assert quiet(604_800.0, 1000 / 604_800).sample_every_s == pytest.approx(64.08)
    assert quiet(604_800.0, 1.0).sample_every_s == pytest.approx(640_800 / 604_800)
    assert scenario(steady(10.0, 5.0), desk=service()).sample_every_s == 0.1


def test_recovery_is_found_between_samples_that_are_far_apart() -> None:
    week = scenario(
        poisson(0.005, 604_800.0),
        kill("desk", 300_000.0, 40_000.0),
        drain_s=36_000.0,
        desk=service(30.0, lease_s=3600.0),
    )
    recovery_s = float(measure(simulate(week, [0]))["recovery_s"][0])
    assert 40_000.0 < recovery_s < 60_000.0 and math.isfinite(recovery_s)


def test_what_would_take_too_much_is_refused_with_the_number() -> None:
    declared = scenario(steady(1000.0, 10_000.0), desk=service(0.0))
    with pytest.raises(InvalidScenario) as refused:
        simulate(declared, range(10))
    assert str(refused.value) == (
        f"small: about 501,003,000 rows would be recorded in 10 runs, over {MAX_ROWS:,}; "
        "lower rate_per_s or duration_s or the number of runs"
    )


@pytest.mark.parametrize("most", [5, 10**12, 2**62], ids=["few", "many", "too many for one number"])
def test_a_call_ends_with_the_next_end_of_all_that_names_it(most: int) -> None:
    rng, columns = np.random.default_rng(1), ["message", "consumer", "attempt"]
    rows = np.zeros(500, ROW)
    rows["t_s"] = np.arange(rows.size)
    rows["message"], rows["consumer"] = rng.integers(-1, 6, rows.size), rng.integers(-1, 4, rows.size)
    rows["message"][:2], rows["attempt"] = most, rng.integers(0, 4, rows.size)
    begins = rng.random(rows.size) < 0.5
    expected: dict[float, float] = {}
    for place in np.flatnonzero(begins):
        later = (rows[columns] == rows[columns][place]) & ~begins & (rows["t_s"] > place)
        expected[float(place)] = float(rows["t_s"][later].min(initial=np.inf))
    starts_s, ends_s, cut = matched(rows, begins)
    cut_s = [start_s for start_s, end_s in expected.items() if end_s == np.inf]
    assert 0 < len(cut_s) < len(expected)
    assert cut["t_s"].tolist() == sorted(cut_s) == starts_s[ends_s.size :].tolist()
    assert dict(zip(starts_s.tolist(), ends_s.tolist(), strict=False)) == {
        start_s: end_s for start_s, end_s in expected.items() if end_s < np.inf
    }


def test_rows_that_are_packed_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    declared = scenario(poisson(100.0, 3.0), desk=service(0.005, error_rate=0.2))
    whole_run = simulate(declared, [1]).rows
    monkeypatch.setattr("sim.worlds.simulated.noting._MANY", 50)
    assert simulate(declared, [1]).rows.tobytes() == whole_run.tobytes()
