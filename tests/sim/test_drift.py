"""A machine that is not as it was when it was timed is told by how late the load is sent; then no error is blamed."""

from dataclasses import replace

import numpy as np
import pytest

from sim.calibration import Calibration
from sim.evidence.history import History
from sim.evidence.metrics import is_predicted
from sim.infer.compare import Comparison, compare, comparison_json
from sim.infer.drift import Drift
from sim.infer.fidelity import Fidelity
from sim.infer.predict import predict
from sim.worlds.simulated import simulate
from tests.model.small import constant, scenario, service, steady

DECLARED = scenario(steady(50.0, 2.0), desk=service(service_time=constant(0.005), concurrency=4))
TIMED = Calibration.constant(lateness_s=0.0004, dispatch_s=0.001)


def ran(lateness_s: float, dispatch_s: float) -> History:
    """Live runs on a machine as it is now."""
    now = Calibration.constant(lateness_s=lateness_s, dispatch_s=dispatch_s)
    history = simulate(DECLARED, [0], repeats=2, calibration=now)
    return replace(history, world="live", server="Redis 8.2.3", calibration={})


def compared(lateness_s: float, dispatch_s: float) -> Comparison:
    return compare(predict(DECLARED, [0], calibration=TIMED, replications=3), ran(lateness_s, dispatch_s))


@pytest.mark.parametrize(("lateness_s", "verdict"), [(0.0005, "outside"), (0.0007, "too noisy"), (0.0002, "too noisy")])
def test_an_error_is_blamed_on_the_model_where_the_machine_is_as_it_was_timed(lateness_s: float, verdict: str) -> None:
    """Dispatching takes 10 ms, and was timed with 1 ms."""
    found = compared(lateness_s, 0.01)
    assert found["lag_s_p50"].relative_error < -0.5 and found["lag_s_p50"].verdict == verdict
    assert found.drift is not None and found.drift.as_timed == (verdict == "outside")
    assert list(Fidelity((found,)).invalid.values()) == ([] if verdict == "outside" else ["not as timed"])
    assert comparison_json(found)["drift"]["ratios"] == pytest.approx([lateness_s / 0.0004] * 2)


def test_what_is_right_in_spite_of_it_is_right() -> None:
    found = compared(0.0007, 0.001)
    assert found["lag_s_p50"].verdict == "within" and found.drift is not None and not found.drift.as_timed


def test_a_machine_that_was_not_timed_cannot_drift() -> None:
    assert compare(predict(DECLARED, [0], replications=3), ran(0.0004, 0.001)).drift is None


def test_how_late_the_load_is_sent_is_predicted_and_not_judged() -> None:
    row = compared(0.0004, 0.001)["lateness_s_p50"]
    assert row.simulated == pytest.approx(0.0004) and not is_predicted(row.metric)


@pytest.mark.parametrize(("ratios", "as_timed"), [((1.4, 2.8), True), ((1.6, 1.0), False), ((1.0, 3.2), False)])
def test_its_words_say_how_it_is(ratios: tuple[float, float], as_timed: bool) -> None:
    found = Drift(ratios)
    assert found.as_timed == as_timed
    assert found.in_words.startswith("As it was timed" if as_timed else "The machine is not as it was timed")
    assert Drift(tuple(1.0 / np.array(ratios))).as_timed == as_timed
