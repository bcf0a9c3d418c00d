"""The figure of a task queue's turns, and its place in the report."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex

import sim
from sim.declare.task_queue import PriorityShares, TaskQueue
from sim.evidence.history import History
from sim.infer.compare import Comparison
from sim.show import style
from sim.show.report import render
from sim.show.turns import turns
from tests.model.small import poisson, scenario, service

QUEUE = TaskQueue(priorities=PriorityShares(critical=0.6, low=0.4), tenants={"acme": 0.9, "tiny": 0.1}, fair=False)


@pytest.fixture(scope="module")
def worlds() -> tuple[History, History]:
    """A live history is played by a slower simulated one."""
    desk = service(0.02, consumers=2, queue=QUEUE)
    declared = scenario(poisson(110.0, 1.0, "placed"), desk=desk)
    slow = sim.simulate(declared, [0, 1], calibration=sim.Calibration.constant(handle_s=0.002))
    runs = tuple(replace(run, seed=0, repeat=index) for index, run in enumerate(slow.runs))
    return sim.simulate(declared, range(4)), replace(slow, world="live", server="Redis 8.2.3", runs=runs)


@pytest.fixture(scope="module")
def comparison(worlds: tuple[History, History]) -> Comparison:
    return sim.compare(*worlds)


def panels(source: Comparison | History) -> list[Axes]:
    return turns(source, service="desk").axes


def test_each_priority_and_tenant_has_its_lag_and_what_passed_it(comparison: Comparison) -> None:
    lags, passed = panels(comparison)
    for panel in (lags, passed):
        assert [label.get_text() for label in panel.get_xticklabels()] == ["critical", "low", "acme", "tiny"]
    live = sim.measure(comparison.live)
    points = [line for line in passed.lines if line.get_marker() not in ("None", None)]
    drawn = [float(np.asarray(line.get_ydata())[0]) for line in points]
    assert drawn == [value for name in ("critical", "low", "acme", "tiny") for value in live[f"{name}.passed_by"]]
    assert lags.get_ylabel() == "p95 lag of desk (s)" and passed.get_ylabel() == "passed by (dispatches)"


def test_what_the_weights_allow_is_marked_where_something_is_promised(comparison: Comparison) -> None:
    _, passed = panels(comparison)
    lines = [one for one in passed.collections if isinstance(one, LineCollection)]
    marks = [one.get_segments()[0] for one in lines if to_hex(np.asarray(one.get_color())[0]) == style.INK]
    assert [float(mark[0][1]) for mark in marks] == [1.0, 14.0]  # tenants take no turns here


@pytest.mark.parametrize("world", [0, 1])
def test_one_world_can_be_drawn_alone(worlds: tuple[History, History], world: int) -> None:
    lags, _ = panels(worlds[world])
    assert bool(lags.lines) == (world == 1)
    assert bool(lags.patches) == (world == 0)
    assert all(line.get_color() == style.VERMILLION for line in lags.lines)


def test_the_report_shows_the_queue(comparison: Comparison) -> None:
    page = render([comparison], [], command="x")
    assert "Turns of desk" in page and "60 % critical, 40 % low; turns 8:1" in page
    assert "passed by, most" in page
