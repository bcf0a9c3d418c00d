"""Which runs seeds and repeats make, and which make none: told before anything is drawn or run."""

import numpy as np
import pytest

import sim
from sim.declare.order import run_order
from sim.errors import InvalidScenario
from tests.model.small import any_scenario


def test_all_seeds_run_then_all_of_them_again() -> None:
    assert run_order(range(2), 2) == [(0, 0), (1, 0), (0, 1), (1, 1)]


@pytest.mark.parametrize(
    ("seeds", "repeats", "told"),
    [
        ([], 1, "there are none"),
        ([0], 0, "there are none"),
        ([0, -1], 1, "-1 is below 0"),
        ([0.5], 1, "whole numbers"),
        ("ab", 1, "whole numbers"),
        (None, 1, "whole numbers"),
        ([0], float("nan"), "whole numbers"),
        (range(10**18), 1, "lower the number of seeds or repeats"),
        ([0], 10**18, "lower the number of seeds or repeats"),
    ],
)
def test_what_makes_no_runs_is_refused(seeds: list[int], repeats: int, told: str) -> None:
    with pytest.raises(InvalidScenario, match=told):
        run_order(seeds, repeats)
    with pytest.raises(InvalidScenario):
        sim.simulate(any_scenario(1), seeds, repeats=repeats)


def test_seeds_of_numpy_are_seeds() -> None:
    """They cannot be written as JSON, and a prediction and a history are."""
    scenario = any_scenario(1)
    assert sim.predict(scenario, np.arange(2), replications=1).seeds == (0, 1)  # type: ignore[arg-type]
    assert sim.simulate(scenario, np.arange(1, 2)).runs[0].seed.__class__ is int
