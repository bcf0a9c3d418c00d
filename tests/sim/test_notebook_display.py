"""What a notebook shows of a result: short tables without NaN, and a bar while a live cell runs."""

import builtins
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import sim
from sim.evidence.history import History
from sim.evidence.metrics import Metrics
from sim.progress import shown
from tests.model.small import scenario, service, steady

LONG = re.compile(r"\d\.\d{6,}|\bnan\b|\binf\b")


@pytest.fixture(scope="module")
def simulated() -> History:
    return sim.simulate(scenario(steady(50, 1), one=service()), range(2))


def shows() -> dict[str, Callable[[History], Any]]:
    return {
        "history": lambda simulated: simulated,
        "measures": sim.measure,
        "comparison": lambda simulated: sim.compare(simulated, replace(simulated, world="live", server="Redis 8.2.3")),
    }


@pytest.mark.parametrize("show", shows().values(), ids=shows())
def test_a_result_is_a_short_table(simulated: History, show: Callable[[History], Any]) -> None:
    shown = show(simulated)
    html = shown._repr_html_()
    assert html.startswith("<table>") and html.count("<tr>") > 5
    assert not LONG.search(html)
    assert not LONG.search(repr(shown))


@pytest.mark.parametrize("show", [shows()["history"], shows()["comparison"]])
def test_a_console_names_a_result_in_a_line(simulated: History, show: Callable[[History], Any]) -> None:
    said = repr(show(simulated))
    assert "live" in said or "simulated" in said
    assert len(said) < 200 and "\n" not in said


def test_a_metric_that_is_not_there_is_refused_by_name(simulated: History) -> None:
    with pytest.raises(KeyError, match=r"'lag_p50'; there are: .*lag_s_p50"):
        shows()["comparison"](simulated)["lag_p50"]


def test_metrics_that_are_unknown_or_endless_are_words() -> None:
    odd = Metrics({"lag_s_p95": np.array([np.nan]), "recovery_s": np.array([np.inf, 1.0])})
    assert "<td>-</td>" in odd._repr_html_() and "not recovered" in odd._repr_html_()


def test_names_are_escaped() -> None:
    assert '<th scope="row">&lt;i&gt;.lag_s_p50</th>' in Metrics({"<i>.lag_s_p50": np.ones(2)})._repr_html_()


def test_one_interval_and_the_overheads_are_short() -> None:
    assert (
        repr(sim.summarize(np.array([1 / 3, 2 / 3, 1.0]))) == "Interval(mean=0.6667, low=-0.1614, high=1.495, runs=3)"
    )
    assert "publish_s=0.000123," in repr(sim.Calibration.constant(publish_s=0.000123456789))


@pytest.fixture
def outputs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a notebook's cell shows, state by state."""
    states: list[str] = []

    class Output:
        def update(self, shown: Any) -> None:
            states.append(shown._repr_html_())

    def display(shown: Any, *, display_id: bool) -> Output:
        states.append(shown._repr_html_())
        return Output()

    package, module = ModuleType("IPython"), ModuleType("IPython.display")
    package.display, module.display = module, display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", package)
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    monkeypatch.setattr(builtins, "__IPYTHON__", True, raising=False)
    return states


def test_a_live_cell_shows_a_bar(outputs: list[str]) -> None:
    with shown(None, "running <a> live") as advance:
        for share in (0.0, 0.101, 0.102, 0.5, 2.0):
            advance(share)
    assert [found[1] for text in outputs if (found := re.search(r'value="(\d+)"', text))] == ["0", "10", "50", "100"]
    assert re.fullmatch(r"running &lt;a&gt; live: took \d+ s", outputs[-1])


def test_a_program_shows_nothing_and_a_callers_own_progress_is_used(
    outputs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[float] = []
    with shown(told.append, "running") as advance:
        advance(0.5)
    monkeypatch.delattr(builtins, "__IPYTHON__")
    with shown(None, "running") as advance:
        advance(0.5)
    assert (told, outputs) == ([0.5], [])
