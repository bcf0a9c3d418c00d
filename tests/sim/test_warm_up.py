"""The warm-up: what is cut, that it is the same in all runs and both worlds, and how MSER-5 finds it."""

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from sim.declare.declared import Floats
from sim.declare.scenario import Scenario
from sim.evidence.export import history_json
from sim.evidence.history import History
from sim.evidence.lags import lags
from sim.evidence.metrics import measure, summaries
from sim.evidence.warm_up import mser_5, warm_up_s
from sim.infer.predict import predict
from sim.show.wording import warm_up_in_words
from sim.worlds.simulated import simulate
from tests.model.small import exponential, poisson, scenario, service, steady
from tests.sim.handmade import history, sampled, sent, whole

# Twenty handlers of a second each begin idle: after some seconds, twelve of them are busy.
BUSY = scenario(poisson(12.0, 30.0), desk=service(service_time=exponential(1.0), consumers=4, concurrency=5))


def cut(known: History, warm_up_s: float) -> History:
    """The same history of a scenario with this warm-up."""
    return replace(known, scenario=known.scenario.model_copy(update={"warm_up_s": warm_up_s}))


def test_metrics_leave_the_warm_up_out() -> None:
    """Messages of the first 5 s take 2 s each, those after it 1 s. One of either kind is never handled."""
    rows = [whole(i, float(i), i + (2.0 if i < 5 else 1.0)) for i in range(10) if i not in (4, 9)]
    backlog = sampled([8.0] * 5 + [3.0] * 5, every_s=1.0)
    known = history(*rows, sent(4, 4.0), sent(9, 9.0), backlog, ended_s=20.0)
    whole_run, warm = (measure(one) for one in (known, cut(known, 5.0)))
    assert (whole_run["lag_s_p50"][0], warm["lag_s_p50"][0]) == (2.0, 1.0)
    assert (whole_run["unhandled"][0], warm["unhandled"][0]) == (pytest.approx(0.2), pytest.approx(0.2))
    assert warm["throughput_per_s"][0] == pytest.approx(4 / (9.0 - 5.0))
    assert (whole_run["backlog_max"][0], warm["backlog_max"][0], warm["backlog_mean"][0]) == (8.0, 3.0, 3.0)
    assert warm["utilisation"][0] == pytest.approx(4.0 / 15.0)  # from 5 s on: four messages of 1 s
    assert lags(cut(known, 5.0)).intended_s.min() == 5.0 and lags(known, warming_up=True).intended_s.min() == 0.0
    told = history_json(cut(known, 5.0), summaries(known), [])
    assert told["warm_up_s"] == 5.0
    assert warm_up_in_words(cut(known, 5.0)) == "Warm-up: the first 5 s of each run are left out, as declared"


def test_an_attempt_that_began_in_the_warm_up_is_busy_from_its_end_on() -> None:
    known = history(whole(0, 1.0, 7.0), ended_s=10.0)
    assert measure(cut(known, 5.0))["utilisation"][0] == pytest.approx(2.0 / 5.0)


def test_what_was_handled_once_in_the_warm_up_is_no_negative_duplicate() -> None:
    known = history(*(whole(i, float(i), i + 0.5) for i in range(10)), whole(9, 9.0, 9.7, attempt=2), ended_s=20.0)
    assert [measure(one)["duplicates"][0] for one in (known, cut(known, 5.0))] == [1.0, 1.0]


def standard_errors(values: Floats) -> list[float]:
    """The rule as its source has it, cut by cut."""
    batches = values.reshape(-1, 5).mean(axis=1)
    kept = [batches[cut:] for cut in range(batches.size)]
    return [float(((one - one.mean()) ** 2).sum()) / one.size**2 for one in kept]


def test_mser_5_cuts_where_the_standard_error_of_the_rest_is_least() -> None:
    at = np.arange(500)
    settling = 10.0 * (1.0 - np.exp(-at / 30.0)) + np.random.default_rng(1).normal(0.0, 0.5, 500)
    errors = standard_errors(settling)
    found = mser_5(settling) or 0
    assert found == int(np.argmin(errors[:-5]))
    assert 60 <= 5 * found <= 250
    assert mser_5(np.random.default_rng(2).normal(5.0, 1.0, 500)) in range(10)
    assert mser_5(at.astype(float)) is None  # it never settles
    assert mser_5(np.ones(3)) is None


def test_trap_51_all_runs_are_cut_at_the_same_time() -> None:
    """Each run by itself would be cut elsewhere. So the rule looks at the mean of all runs, and cuts all alike."""
    declared = BUSY.model_copy(update={"warm_up": "mser-5"})
    together = simulate(declared, range(8))
    cut_s = warm_up_s(together)
    alone = {warm_up_s(together.of_seeds([seed])) for seed in range(8)}
    assert cut_s > 0.0 and len(alone) > 1
    found = lags(together)
    firsts_s = [found.intended_s[found.run == run].min() for run in range(8)]
    assert all(cut_s <= first_s < cut_s + 0.5 for first_s in firsts_s)
    assert measure(together)["lag_s_p50"] == pytest.approx(measure(cut(together_without(together), cut_s))["lag_s_p50"])
    assert "found by MSER-5" in warm_up_in_words(together)


def test_looks_that_failed_do_not_move_the_cut() -> None:
    """The backlog is 9 until 10 s and 1 after it. From 4 s to 7 s no look succeeded."""
    declared = scenario(steady(5.0, 40.0), desk=service()).model_copy(update={"warm_up": "mser-5"})
    looks = sampled([9.0] * 100 + [1.0] * 300, every_s=0.1)
    known = replace(history(looks, ended_s=40.0), scenario=declared)
    without = replace(known, rows=known.rows[~((known.rows["t_s"] > 3.95) & (known.rows["t_s"] < 6.95))])
    assert warm_up_s(known) == warm_up_s(without) == pytest.approx(10.0)


def together_without(known: History) -> History:
    """The history of the scenario without a rule."""
    return replace(known, scenario=known.scenario.model_copy(update={"warm_up": None}))


def test_a_prediction_says_where_live_runs_are_cut() -> None:
    prediction = predict(BUSY.model_copy(update={"warm_up": "mser-5"}), [0, 1], replications=3)
    assert prediction.scenario.warm_up is None and prediction.scenario.warm_up_s > 0.0


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"warm_up_s": 2.0}, "warm_up_s: 2 leaves nothing of 2 s of load; lower it"),
        ({"warm_up_s": 1.0, "warm_up": "mser-5"}, "leave warm_up_s or warm_up out"),
        ({"warm_up": "welch"}, "mser-5"),
    ],
)
def test_a_warm_up_that_cannot_be_cut_is_refused(fields: dict[str, object], problem: str) -> None:
    declared = scenario(steady(5.0, 2.0), desk=service()).model_dump(by_alias=True)
    with pytest.raises(ValidationError, match=problem):
        Scenario.model_validate(declared | fields)
