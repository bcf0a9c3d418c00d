"""Figures show what the histories hold, with units, seeds and the names of the faults."""

import html
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

import sim
from sim.declare.scenario import Scenario
from sim.evidence import metrics
from sim.evidence.history import History
from sim.evidence.lags import QUANTILES, lags
from sim.evidence.recovery import backlog
from sim.infer.compare import Comparison
from sim.show import plots
from sim.show.wording import seeds
from sim.wording import quantity

OF_ONE = (plots.lag_over_time, plots.lag_distribution, plots.attempts, plots.backlog)
ALL = (*OF_ONE, plots.errors)
SIMULATED, LIVE = "#0072b2", "#d55e00"
Draw = Callable[[Comparison], Figure]


def texts(figure: Figure) -> list[str]:
    return [text for found in figure.findobj(Text) if (text := found.get_text())]


def caption(figure: Figure) -> str:
    return " ".join(figure.get_supxlabel().split())


def lines(axes: Axes, color: str, *, marked: bool) -> list[Line2D]:
    found = [line for line in axes.get_lines() if to_hex(line.get_color()) == color]
    return [line for line in found if (line.get_marker() != "None") == marked]


@pytest.fixture(scope="module")
def drawn(comparison: Comparison) -> dict[Draw, str]:
    """Every figure of the comparison as SVG. Drawing takes most of the time of these tests."""
    return {draw: plots.svg(draw(comparison), name="x", label="x") for draw in ALL}


@pytest.mark.parametrize("draw", ALL)
def test_axes_have_units(draw: Draw, comparison: Comparison) -> None:
    labels = [label for axes in draw(comparison).axes for label in (axes.get_xlabel(), axes.get_ylabel()) if label]
    assert labels
    assert all(re.search(r"\((s|%|messages|number|% of live)\)$", label) for label in labels)


@pytest.mark.parametrize("draw", ALL)
def test_the_caption_has_seeds_and_replications(draw: Draw, comparison: Comparison) -> None:
    said = caption(draw(comparison))
    assert "Simulated: 2 runs (seeds 0, 1)" in said, "of the six, those that ran live too"
    assert "Live: 4 runs (seeds 0, 1 x 2 repeats) on Redis 8.2.3" in said


@pytest.mark.parametrize("draw", OF_ONE)
def test_one_history_can_be_drawn_alone(draw: Callable[[History], Figure], simulated: History, live: History) -> None:
    for history, other in ((simulated, "Live"), (live, "Simulated")):
        figure = draw(history)
        assert f"{history.world.capitalize()}: {len(history.runs)} runs" in caption(figure)
        assert f"{other}:" not in caption(figure)
        assert plots.svg(figure, name="one", label="one history")


@pytest.mark.parametrize("draw", [plots.lag_over_time, plots.backlog])
def test_faults_are_named(draw: Draw, comparison: Comparison) -> None:
    assert {"billing 0 killed", "shipping fails 60%"} <= set(texts(draw(comparison)))


def test_a_service_shows_only_its_own_faults(comparison: Comparison) -> None:
    assert "shipping fails 60%" not in texts(plots.lag_over_time(comparison, service="billing"))
    assert "billing 0 killed" in texts(plots.lag_over_time(comparison, service="billing"))


def test_lag_points_are_the_live_messages(comparison: Comparison) -> None:
    (points,) = lines(plots.lag_over_time(comparison).axes[0], LIVE, marked=True)
    assert np.sort(np.asarray(points.get_ydata())) == pytest.approx(np.sort(lags(comparison.live).lag_s))


def test_simulated_is_a_line_and_live_are_points(comparison: Comparison) -> None:
    for draw in (plots.lag_over_time, plots.lag_distribution, plots.backlog):
        axes = draw(comparison).axes[0]
        assert lines(axes, SIMULATED, marked=False)
        assert not lines(axes, SIMULATED, marked=True)
        assert lines(axes, LIVE, marked=True)


def test_quantiles_are_written_beside_the_tail(simulated: History) -> None:
    runs = [metrics.measure(simulated)[f"lag_s_{name}"] for name in QUANTILES]
    wanted = {quantity(float(np.mean(of_runs)), "s") for of_runs in runs}
    assert wanted | set(QUANTILES) <= set(texts(plots.lag_distribution(simulated)))


def test_the_tail_falls_from_all_messages_to_the_last(comparison: Comparison) -> None:
    for line in plots.lag_distribution(comparison).axes[0].get_lines():
        if line.get_linestyle() == "-":
            shares, lags_s = np.asarray(line.get_ydata()), np.asarray(line.get_xdata())
            assert shares[0] == 1
            assert np.all(np.diff(shares) < 0)
            assert np.all(np.diff(lags_s) >= 0)


def test_shares_of_attempts_add_up_to_all(comparison: Comparison) -> None:
    for axes in plots.attempts(comparison).axes:
        (means,) = [found for found in axes.collections if isinstance(found, LineCollection)]
        assert sum(segment[0][1] for segment in means.get_segments()) == pytest.approx(1)
        for points in lines(axes, LIVE, marked=True):
            assert np.sum(np.asarray(points.get_ydata())) == pytest.approx(1)


def test_backlog_points_are_the_samples(live: History) -> None:
    upper, _ = plots.backlog(live).axes
    drawn = lines(upper, LIVE, marked=True)
    assert len(drawn) == len(live.runs)
    for points, (_, rows) in zip(drawn, live.each_run(), strict=True):
        assert np.array_equal(np.asarray(points.get_ydata()), backlog(rows, 0)[1])


def test_errors_are_sorted_and_coloured_by_their_verdict(comparison: Comparison) -> None:
    axes = plots.errors(comparison).axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    sizes = [abs(comparison[name].relative_error) for name in names]
    assert sizes == sorted(sizes)
    dots = [line for line in axes.get_lines() if line.get_marker() in ("o", "D")]
    for name, dot in zip(names, dots, strict=True):
        shown = dot.get_marker(), to_hex(dot.get_color())
        verdict = comparison[name].verdict
        assert (verdict == "within") == (shown == ("o", SIMULATED)), name
        assert (verdict == "outside") == (shown == ("D", LIVE)), name


def test_numbers_beside_live_ones_are_of_the_same_seeds(comparison: Comparison) -> None:
    """Six seeds are simulated, two of them ran live."""
    assert comparison.simulated is not None
    paired = [lags(comparison.simulated).by_run()[seed] for seed in (0, 1)]
    p95_s = float(np.mean([np.quantile(lags_s, 0.95) for lags_s in paired]))
    assert quantity(p95_s, "s") in texts(plots.lag_distribution(comparison))


def test_errors_are_of_predictions_only(comparison: Comparison) -> None:
    names = {row.metric for row in comparison.predictions}
    assert {"lag_s_p95", "billing.lag_s_p95", "shipping.backlog_mean"} <= names
    assert not {name for name in names if "little" in name or "lateness" in name}
    assert "shipping.lag_s_p95" not in names  # it is the system's


@pytest.mark.parametrize("draw", ALL)
def test_the_same_input_gives_the_same_bytes(draw: Draw, comparison: Comparison, drawn: dict[Draw, str]) -> None:
    assert plots.svg(draw(comparison), name="x", label="x") == drawn[draw]
    assert not re.search(r"20\d\d-\d\d-\d\d", drawn[draw])


def test_drawing_changes_no_global_state(comparison: Comparison) -> None:
    before = dict(matplotlib.rcParams)
    for draw in ALL:
        plots.svg(draw(comparison), name="x", label="x")
    assert dict(matplotlib.rcParams) == before


def test_what_the_user_set_for_matplotlib_changes_no_figure(comparison: Comparison, drawn: dict[Draw, str]) -> None:
    own: dict[Any, Any] = {"font.size": 30, "axes.facecolor": "red", "text.usetex": True, "savefig.dpi": 10}
    own |= {"svg.fonttype": "path", "lines.marker": "x", "axes.titlecolor": "red"}
    with matplotlib.rc_context(own):
        for draw in (plots.lag_distribution, plots.errors):
            assert plots.svg(draw(comparison), name="x", label="x") == drawn[draw]


@pytest.mark.parametrize("name", ["$x_1$ $$ 100 %", "_hidden", "日本語 עברית 🙂", "語" * 300, "a\\b {x} <b>&"])
def test_a_name_in_a_figure_is_text(comparison: Comparison, name: str) -> None:
    """It is neither TeX nor hidden, and a character that matplotlib's font does not have is left to the browser."""
    scenario = comparison.live.scenario.model_copy(update={"name": name})
    renamed = replace(comparison, live=replace(comparison.live, scenario=scenario))
    figure = plots.backlog(renamed)
    svg = plots.svg(figure, name="x", label=name)
    shown = figure.get_suptitle().removeprefix("Backlog: ").removesuffix("...")
    assert shown == name or (len(name) == 300 and name.startswith(shown) and len(shown) > 30)
    assert html.unescape(svg.partition('aria-label="')[2].partition('"')[0]) == name


def test_a_figure_is_displayed_in_a_notebook(comparison: Comparison) -> None:
    figure: Any = plots.errors(comparison)
    png, size = figure._repr_png_()
    assert png.startswith(b"\x89PNG")
    assert size["width"] == 576


def test_svg_needs_no_other_file(comparison: Comparison) -> None:
    text = plots.svg(plots.lag_over_time(comparison), name="lag", label='A "lag" & <more>')
    assert text.startswith('<svg role="img" aria-label="A &quot;lag&quot; &amp; &lt;more&gt;"')
    assert "<style" not in text
    assert all(found.startswith("lag-") for found in re.findall(r'\bid="([^"]*)"', text))
    assert set(re.findall(r"url\(#([^)]*)\)", text)) <= set(re.findall(r'\bid="([^"]*)"', text))


def test_a_long_name_leaves_room_for_the_figure(scenario: Scenario) -> None:
    """Its end is shown too: there is the metric. Without room matplotlib warns, and that fails a test."""
    services = {"b" * 120: scenario.services["billing"], "shipping": scenario.services["shipping"]}
    long = scenario.model_copy(update={"services": services, "faults": ()})
    history = sim.simulate(Scenario.model_validate(long.model_dump(by_alias=True)), range(2))
    compared = sim.compare(history, replace(history, world="live", server="Redis 8.2.3"))
    for draw in ALL:
        plots.svg(draw(compared), name="x", label="x")
    assert f"{16 * 'b'}...{13 * 'b'}.lag_s_p95"[-21:] in " ".join(texts(plots.errors(compared)))


@pytest.mark.parametrize("draw", ALL)
def test_every_colour_follows_the_page(draw: Draw, drawn: dict[Draw, str]) -> None:
    """A dark page has dark charts: each colour is a variable of the page, and none is left over."""
    text = drawn[draw]
    variables = re.compile(r"var\(--chart-[\w-]+, #[0-9a-f]{6}\)")
    assert variables.search(text)
    rest = re.sub(r'href="[^"]*"|url\([^)]*\)', "", variables.sub("", text))
    assert not re.findall(r"#[0-9a-fA-F]{3,8}\b|\b(?:white|black)\b", rest)


def test_a_page_has_title_and_caption_as_text(comparison: Comparison) -> None:
    """In the figure they would be too small on a phone. The figure itself, in a notebook, keeps them."""
    figure = plots.backlog(comparison)
    words = "Backlog: shop", "Points: samples of each run"
    assert not [word for word in words if word in plots.svg(figure, name="x", label="x")]
    assert figure.get_suptitle() == words[0] and words[1] in plots.caption(figure)
    assert [text.get_visible() for text in figure.texts] == [True] * len(figure.texts)


def test_many_points_become_an_image(scenario: Scenario) -> None:
    def size(rate_per_s: float) -> tuple[bool, int]:
        load = scenario.offered_load.model_copy(update={"rate_per_s": rate_per_s})
        busy = scenario.model_copy(update={"offered_load": load, "faults": ()})
        history = replace(sim.simulate(busy, range(3)), world="live", server="Redis 8.2.3")
        text = plots.svg(plots.lag_over_time(history), name="x", label="x")
        return "data:image/png" in text, len(text)

    assert not size(60)[0]
    is_image, letters = size(600)
    assert is_image and letters < 200_000


ODD: list[dict[str, Any]] = [
    {"load": {"kind": "poisson", "event": "a", "rate_per_s": 0.001, "duration_s": 1}},  # nothing was sent
    {"load": {"kind": "constant", "event": "a", "rate_per_s": 1, "duration_s": 1}},  # one message
    {"services": {"s": {"consumes": "a", "service_time": {"kind": "constant", "mean_s": 0.0}}}},  # no lag
    {"services": {"s": {"consumes": "a", "error_rate": 1.0, "service_time": {"kind": "constant", "mean_s": 0.01}}}},
]


@pytest.mark.parametrize("odd", ODD, ids=["nothing sent", "one message", "no lag", "nothing handled"])
def test_histories_with_missing_data_can_be_drawn(odd: dict[str, Any]) -> None:
    declared: dict[str, Any] = {
        "name": "odd",
        "load": {"kind": "constant", "event": "a", "rate_per_s": 20, "duration_s": 1},
        "services": {"s": {"consumes": "a", "service_time": {"kind": "constant", "mean_s": 0.01}}},
    }
    history = sim.simulate(Scenario.model_validate(declared | odd), [0])
    live = replace(history, world="live", server="Redis 8.2.3")
    for draw in OF_ONE:
        assert plots.svg(draw(history), name="x", label="x")
    assert plots.svg(plots.errors(sim.compare(history, live)), name="x", label="x")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.18273, "s", "183 ms"),
        (1.5, "s", "1.5 s"),
        (0.0000489, "s", "48.9 µs"),
        (0.0, "s", "0 ms"),
        (5088, "messages", "5,088 messages"),
        (207.63, "1/s", "208 /s"),
        (0.0312, "share", "3.12 %"),
        (-0.02, "s", "\N{MINUS SIGN}20 ms"),
        (float("nan"), "s", "-"),
        (float("inf"), "s", "not recovered"),
    ],
)
def test_quantities_are_written_with_units(value: float, unit: str, text: str) -> None:
    assert quantity(value, unit) == text


@pytest.mark.parametrize(
    ("numbers", "text"), [([3], "seed 3"), ([0, 1], "seeds 0, 1"), ([2, 0, 1, 1], "seeds 0\N{EN DASH}2")]
)
def test_seeds_are_written_as_a_list_or_a_range(numbers: list[int], text: str) -> None:
    assert seeds(numbers) == text
