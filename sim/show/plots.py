"""Figures from histories: simulated as line and band, live as points, faults shaded and named.

Every function takes a Comparison, or a single History where only one world ran, and returns a Figure of its own:
no global state, no window, no display needed. In a notebook a figure as the last value of a cell shows itself.
"""

import io
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from sim.declare.declared import Floats
from sim.declare.faults.kill import Kill
from sim.declare.scenario import Scenario
from sim.evidence import metrics
from sim.evidence.history import KIND, SAMPLE_EVERY_S, History
from sim.infer.compare import Comparison, Row
from sim.wording import quantity

Source = Comparison | History
MEASUREMENT = ("little_residual", "lateness_s_p99")  # metrics that tell how good the measurement was

# Okabe and Ito's palette, which colour-blind readers can tell apart too.
_BLUE, _VERMILLION = "#0072B2", "#D55E00"
_INK, _GREY, _SHADE = "#1c1c1c", "#5f6368", "#e8e6e1"
_MARKERS = "osD^vP"  # one for each live run, over and over
_BAND: dict[str, Any] = {"color": _BLUE, "alpha": 0.2, "linewidth": 0}

_WIDTH_IN = 7.2
_CAPTION_LETTERS = 112  # fit on a line of the caption
_POINTS_MAX = 1_000  # more are drawn as an image: each costs a hundred bytes of SVG
_QUANTILES = (5, 50, 95)
_MINUS, _TO = "\N{MINUS SIGN}", "\N{EN DASH}"

# matplotlib's own font, so that the layout is the same on every machine; wider than any that a browser takes instead.
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": "#8a8a8a",
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.titlesize": 9,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.5,
    "xtick.color": _GREY,
    "ytick.color": _GREY,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.handlelength": 1.6,
    "legend.borderpad": 0,
    "legend.borderaxespad": 0.7,
    "figure.facecolor": "white",
    "figure.constrained_layout.h_pad": 0.06,
    "svg.fonttype": "none",
    "svg.hashsalt": "event-workbench",
}
_FONTS = "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"


class Chart(Figure):
    """A figure that shows itself in a notebook, whichever backend is on."""

    @rc_context(_STYLE)
    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=144, metadata={"Software": None})
        width_in, height_in = self.get_size_inches()
        return file.getvalue(), {"width": round(width_in * 96), "height": round(height_in * 96)}


@rc_context(_STYLE)
def lag_over_time(source: Source, *, service: str | None = None) -> Figure:
    """Lag of each message over the time it was meant to be sent; of one service, or of the system's last ones."""
    worlds = _Worlds.of(source)
    simulated, live = (_lags(history, service) if history else None for history in (worlds.simulated, worlds.live))
    figure, (axes,) = _figure(3.5)
    both = [found for found in (simulated, live) if found is not None]
    axes.set_xlim(0, max((float(found.intended_s.max(initial=0)) for found in both), default=1) or 1)
    if simulated is not None:
        at_s, (low, mid, high) = simulated.binned()
        axes.fill_between(at_s, low, high, **_BAND)
        axes.plot(at_s, mid, color=_BLUE)
    if live is not None:
        axes.plot(live.intended_s, live.lag_s, **_points(live.lag_s.size, size=2.2, alpha=0.45))
    _scale(axes, np.concatenate([found.lag_s for found in both]))
    axes.set_xlabel("intended send time (s)")
    axes.set_ylabel(f"lag{f' of {service}' if service else ''} (s)")
    _mark_faults(axes, worlds.scenario, [service] if service else worlds.services)
    said = worlds.caption(
        f"Line: median of the messages in each time bin; band: 5{_TO}95 % of them.", "Points: messages."
    )
    return _finish(figure, "Lag over time", worlds, said)


@rc_context(_STYLE)
def lag_distribution(source: Source, *, service: str | None = None) -> Figure:
    """Share of messages with more than a given lag, on logarithmic axes, so that the tail can be read."""
    worlds = _Worlds.of(source)
    figure, (axes,) = _figure(3.7)
    drawn: list[tuple[str, Floats]] = []
    every: list[Floats] = []
    if worlds.simulated:
        runs = _lags(worlds.simulated, service).by_run()
        every += runs
        shares, low, mid, high = _tail(runs)
        axes.fill_betweenx(shares, low, high, **_BAND)
        axes.plot(mid, shares, color=_BLUE)
        drawn.append((_BLUE, _median_quantiles(runs)))
    if worlds.live:
        runs = _lags(worlds.live, service).by_run()
        every += runs
        for number, lags_s in enumerate(runs):
            shares = np.geomspace(1, 1 / max(lags_s.size, 1), 32)
            axes.plot(_upper(lags_s, shares), shares, **_points(0, number, size=3.4, alpha=0.75))
        drawn.append((_VERMILLION, _median_quantiles(runs)))
    shortest_s = min((lags_s.min() for lags_s in every), default=0)
    if shortest_s > 0:
        axes.set_xscale("log")
        _plain(axes, "x")
    axes.set_yscale("log")
    axes.set_ylim(0.7 / max(100, *(lags_s.size for lags_s in every)) if every else 0.007, 1.4)
    _percent(axes)
    _guide_quantiles(axes, drawn)
    axes.set_xlabel(f"lag{f' of {service}' if service else ''} (s)")
    axes.set_ylabel("messages with more lag (%)")
    said = worlds.caption(
        f"Line: median over seeds; band: 5{_TO}95 % of seeds. Numbers: medians over runs.",
        "Points: quantiles of each run.",
    )
    return _finish(figure, "Distribution of lag", worlds, said)


@rc_context(_STYLE)
def attempts(source: Source) -> Figure:
    """Share of messages settled (handled or dead-lettered) at each attempt, for each service."""
    worlds = _Worlds.of(source)
    columns = min(len(worlds.services), 3)
    rows = -(-len(worlds.services) // columns)
    figure, panels = _figure(1.1 + 1.9 * rows, rows=rows, columns=columns)
    for panel, service in zip(panels, worlds.services, strict=False):
        _draw_attempts(panel, worlds, service)
        panel.set_title(service, loc="left", fontweight="bold")
        panel.set_xlabel("attempt (number)")
    for panel in panels[len(worlds.services) :]:
        panel.remove()
    for panel in figure.axes:
        panel.set_ylim(min(other.get_ylim()[0] for other in figure.axes), 1.6)
    for panel in panels[::columns]:
        panel.set_ylabel("messages settled (%)")
    said = worlds.caption(
        f"Line: mean share over seeds; band: 5{_TO}95 % of seeds.", "Points: each run; a share of zero has no point."
    )
    return _finish(figure, "Attempts per message", worlds, said)


@rc_context(_STYLE)
def backlog(source: Source) -> Figure:
    """What each service had waiting, in work or put aside for a retry, over time."""
    worlds = _Worlds.of(source)
    figure, panels = _figure(1.1 + 1.6 * len(worlds.services), rows=len(worlds.services), share_x=True)
    histories = [history for history in (worlds.simulated, worlds.live) if history]
    end_s = max(max(run.ended_s for run in history.runs) for history in histories)
    for panel, service in zip(panels, worlds.services, strict=True):
        panel.set_xlim(0, end_s)
        if worlds.simulated:
            at_s, (low, mid, high) = _backlog_band(worlds.simulated, service, end_s)
            panel.fill_between(at_s, low, high, **_BAND)
            panel.plot(at_s, mid, color=_BLUE)
        for number, (_, rows) in enumerate(worlds.live.each_run() if worlds.live else ()):
            sampled_s, entries = metrics.backlog(rows, worlds.services.index(service))
            panel.plot(sampled_s, entries, color=_VERMILLION, linewidth=0.5, alpha=0.5)
            panel.plot(sampled_s, entries, **_points(entries.size, number, size=2.4, alpha=0.7))
        panel.set_ylim(bottom=0)
        panel.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        panel.set_ylabel(f"{service}\nbacklog (messages)")
        _mark_faults(panel, worlds.scenario, [service])
    panels[-1].set_xlabel("time since the load began (s)")
    said = worlds.caption(f"Line: median over seeds; band: 5{_TO}95 % of seeds.", "Points: samples of each run.")
    return _finish(figure, "Backlog", worlds, said)


@rc_context(_STYLE)
def errors(comparison: Comparison) -> Figure:
    """Each metric's error beside the noise floor, both as a share of the live value, the largest error first."""
    rows = [row for row in predictions(comparison) if np.isfinite(row.relative_error)]
    rows.sort(key=lambda row: abs(row.relative_error))
    figure, (axes,) = _figure(1.3 + 0.19 * max(len(rows), 3))
    reach = 1.15 * max((abs(value) for row in rows for value in (row.relative_error, _floor(row))), default=1.0)
    for height, row in enumerate(rows):
        axes.barh(height, 2 * _floor(row), left=-_floor(row), height=0.62, color="#d2d0ca")
        axes.plot(row.relative_error, height, **_dot(row))
        _beside(axes, height, _signed(row.error, row.unit), quantity(row.noise_floor, row.unit))
    axes.axvline(0, color=_INK, linewidth=0.8)
    top = max(len(rows), 1)
    _beside(axes, top - 0.1, "error", "noise floor", color=_INK)
    axes.set_xlim(-max(reach, 0.01), max(reach, 0.01))
    axes.set_ylim(-0.6, top - 0.4)
    axes.set_yticks(range(len(rows)), [row.metric for row in rows])
    axes.tick_params(axis="y", labelcolor=_INK)
    axes.grid(visible=True, axis="x")
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda share, _: f"{100 * share:+g}".replace("-", _MINUS) if share else "0")
    )
    axes.set_xlabel("simulated minus live (% of live)")
    worlds = _Worlds.of(comparison)
    said = worlds.caption(
        f"Dot: mean error over the seeds that ran in both worlds ({seeds(comparison.seeds)}). "
        "Bar: what two live runs of one seed differ by, to either side.",
        "",
    )
    return _finish(figure, "Errors", worlds, said, legend=_error_legend(rows))


def predictions(comparison: Comparison) -> list[Row]:
    """The rows that the simulation predicts, each once.

    Lag and throughput of a service that ends every flow are the system's own.
    """
    names = {row.metric for row in comparison.rows}
    last = _last(comparison.live.scenario)
    twice = {f"{last[0]}.{name}" for name in names} if len(last) == 1 else set()
    return [row for row in comparison.rows if row.metric not in twice and not row.metric.endswith(MEASUREMENT)]


def svg(figure: Figure, *, name: str, label: str) -> str:
    """The figure as an <svg> element to put into a page: no prolog, no date, nothing it refers to outside itself.

    `name` makes its ids unique in the page; `label` is what a screen reader says.
    """
    file = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with rc_context(_STYLE):
        figure.savefig(file, format="svg", metadata=nothing, dpi=144)
    text = file.getvalue()
    text = text[text.index("<svg") :]
    # matplotlib's style rule is for all elements, and would be so for those of the page.
    text = re.sub(r"<style[^>]*>.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    text = text.replace("'DejaVu Sans'", _FONTS)
    head = f'<svg role="img" aria-label="{_attribute(label)}" style="stroke-linejoin:round;stroke-linecap:butt"'
    return text.replace("<svg", head, 1).replace(" xmlns:xlink", "\n xmlns:xlink", 1).strip()


def seeds(numbers: Sequence[int]) -> str:
    """Seeds as people write them: "seed 0", "seeds 0, 3, 7"; a row of them by its ends."""
    found = sorted(set(numbers))
    word = "seed" if len(found) == 1 else "seeds"
    if len(found) > 2 and found[-1] - found[0] == len(found) - 1:
        return f"{word} {found[0]}{_TO}{found[-1]}"
    return f"{word} {', '.join(map(str, found))}"


def replications(history: History) -> str:
    """How many runs there are, of which seeds, how often each."""
    numbers = [run.seed for run in history.runs]
    each = len(numbers) / len(set(numbers))
    repeated = f" x {each:g} repeats" if each > 1 else ""
    return f"{len(numbers)} run{'s' if len(numbers) > 1 else ''} ({seeds(numbers)}{repeated})"


# Numbers as text


def _signed(value: float, unit: str) -> str:
    return ("+" if value > 0 else "") + quantity(value, unit)


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


# What is drawn


@dataclass(frozen=True, slots=True)
class _Worlds:
    """The histories there are."""

    scenario: Scenario
    simulated: History | None
    live: History | None

    @classmethod
    def of(cls, source: Source) -> Self:
        if isinstance(source, Comparison):
            return cls(source.live.scenario, source.simulated, source.live)
        if source.world == "simulated":
            return cls(source.scenario, source, None)
        return cls(source.scenario, None, source)

    @property
    def services(self) -> list[str]:
        return list(self.scenario.services)

    def caption(self, simulated: str, live: str) -> str:
        """How to read the figure, and the seeds and replications behind it."""
        parts = []
        if self.simulated:
            parts += [simulated, f"Simulated: {replications(self.simulated)}."]
        if self.live:
            parts += [live, f"Live: {replications(self.live)} on {self.live.server}."]
        return " ".join(filter(None, parts))


@dataclass(frozen=True, slots=True)
class _Lags:
    """Messages of all runs: when each was meant to be sent, and how long after that it was first handled."""

    run: npt.NDArray[np.int32]
    intended_s: Floats
    lag_s: Floats

    def by_run(self) -> list[Floats]:
        """The lags of each run that handled anything."""
        return [self.lag_s[self.run == run] for run in np.unique(self.run)]

    def binned(self) -> tuple[Floats, Floats]:
        """Middles of time bins, shape (bins,), and the quantiles of the lags in each, shape (3, bins)."""
        bins = int(np.clip(self.lag_s.size // 40, 8, 60))
        edges = np.linspace(0, self.intended_s.max(initial=0) or 1, bins + 1)
        place = np.clip(np.searchsorted(edges, self.intended_s, "right") - 1, 0, bins - 1)
        found = np.full((3, bins), np.nan)
        for index in np.unique(place):
            found[:, index] = np.percentile(self.lag_s[place == index], _QUANTILES)
        return (edges[:-1] + edges[1:]) / 2, found


def _last(scenario: Scenario) -> list[str]:
    return [name for name, service in scenario.services.items() if not service.emits]


def _lags(history: History, service: str | None) -> _Lags:
    names = [service] if service else _last(history.scenario)
    codes = [history.services.index(name) for name in names]
    rows = history.rows[(history.rows["kind"] == KIND["handled"]) & np.isin(history.rows["service"], codes)]
    # Rows are in time order, so the first of a key is the first time that the message was handled there.
    most = int(rows["message"].max(initial=0)) + 1
    key = (rows["run"].astype(np.int64) * len(history.services) + rows["service"]) * most + rows["message"]
    first = rows[np.unique(key, return_index=True)[1]]
    return _Lags(first["run"], first["intended_s"], first["t_s"] - first["intended_s"])


def _upper(lags_s: Floats, shares: Floats) -> Floats:
    """The lag that a share of the messages is above."""
    return np.asarray(np.quantile(lags_s, 1 - shares))


def _tail(runs: Sequence[Floats]) -> tuple[Floats, Floats, Floats, Floats]:
    """Shares, and over runs the quantiles of the lag that each share of messages is above."""
    shares = np.geomspace(1, 1 / min((lags_s.size for lags_s in runs), default=1), 150)
    if not runs:
        return shares, *np.full((3, shares.size), np.nan)
    low, mid, high = np.percentile([_upper(lags_s, shares) for lags_s in runs], _QUANTILES, axis=0)
    return shares, low, mid, high


def _median_quantiles(runs: Sequence[Floats]) -> Floats:
    """p50, p95, p99: the median over runs of each."""
    if not runs:
        return np.full(len(metrics.QUANTILES), np.nan)
    return np.asarray(np.median([np.quantile(lags_s, list(metrics.QUANTILES.values())) for lags_s in runs], axis=0))


def _shares(history: History | None, service: str) -> Floats:
    """Of each run that settled anything the share of messages settled at each attempt; shape (runs, most attempts)."""
    if history is None:
        return np.empty((0, 0))
    code = history.services.index(service)
    found = [metrics.attempts(rows, code) for _, rows in history.each_run()]
    settled = [of_run for of_run in found if of_run.sum()]
    if not settled:
        return np.empty((0, 0))
    most = max(of_run.size for of_run in settled)
    return np.array([np.pad(of_run, (0, most - of_run.size)) / of_run.sum() for of_run in settled])


def _backlog_band(history: History, service: str, end_s: float) -> tuple[Floats, Floats]:
    at_s = np.arange(0, end_s + SAMPLE_EVERY_S, SAMPLE_EVERY_S)
    runs = []
    for run, rows in history.each_run():
        sampled_s, entries = metrics.backlog(rows, history.services.index(service))
        left = run.left[service]
        rest = left.waiting + left.pending + left.retrying + left.delayed
        times, values = np.append(sampled_s, run.ended_s), np.append(entries, rest)
        runs.append(np.interp(at_s, times, values, right=rest))
    return at_s, np.asarray(np.percentile(runs, _QUANTILES, axis=0))


def _floor(row: Row) -> float:
    """The noise floor as a share of the live value; 0 where it is unknown."""
    return 0.0 if np.isnan(row.noise_floor) else abs(row.noise_floor / row.live)


# How it is drawn


def _figure(height_in: float, *, rows: int = 1, columns: int = 1, share_x: bool = False) -> tuple[Chart, list[Axes]]:
    figure = Chart(figsize=(_WIDTH_IN, height_in), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False, sharex=share_x).flat)


def _finish(
    figure: Figure, title: str, worlds: _Worlds, caption: str, *, legend: Sequence[tuple[Any, str]] | None = None
) -> Figure:
    """The title and the legend above, the caption below."""
    keys = legend if legend is not None else _legend(worlds)
    room = int((500 - sum(23 + 4.7 * len(name) for _, name in keys)) / 5.7) - len(title) - 2
    name = worlds.scenario.name
    text = f"{title}: {name if len(name) <= room else name[: room - 3] + '...'}"
    figure.suptitle(text, x=0.012, ha="left", fontsize=10.5, fontweight="bold", parse_math=False)
    figure.legend([key for key, _ in keys], [name for _, name in keys], loc="outside upper right", ncols=len(keys))
    lines = textwrap.fill(caption, _CAPTION_LETTERS)
    figure.supxlabel(lines, x=0.012, ha="left", fontsize=7.5, color=_GREY, linespacing=1.35, parse_math=False)
    return figure


def _legend(worlds: _Worlds) -> list[tuple[Any, str]]:
    keys: list[tuple[Any, str]] = []
    if worlds.simulated:
        keys.append(((Patch(**_BAND), Line2D([], [], color=_BLUE)), "simulated"))
    if worlds.live:
        keys.append((Line2D([], [], **_points(0, size=4)), "live"))
    return keys


def _error_legend(rows: Sequence[Row]) -> list[tuple[Artist, str]]:
    names = {True: "error within the noise", False: "error beyond it", None: "error, noise unknown"}
    found = {row.within_noise: row for row in rows}
    keys: list[tuple[Artist, str]] = [
        (Line2D([], [], **_dot(found[within])), name) for within, name in names.items() if within in found
    ]
    return [*keys, (Patch(color="#d2d0ca"), "noise floor")]


def _dot(row: Row) -> dict[str, Any]:
    """By shape as well as by colour."""
    marker, color, face = {
        True: ("o", _BLUE, _BLUE),
        False: ("D", _VERMILLION, _VERMILLION),
        None: ("o", _GREY, "white"),
    }[row.within_noise]
    return {"linestyle": "none", "marker": marker, "color": color, "markerfacecolor": face, "markersize": 5}


def _beside(axes: Axes, height: float, error: str, floor: str, *, color: str = _GREY) -> None:
    """Two numbers to the right of a row."""
    style: dict[str, Any] = {"textcoords": "offset points", "va": "center", "fontsize": 7.5, "color": color}
    for points, text in ((8, error), (64, floor)):
        number = text.removesuffix(" messages").removesuffix(" attempts")
        axes.annotate(number, (1, height), xycoords=("axes fraction", "data"), xytext=(points, 0), **style)


def _points(count: int, number: int = 0, *, size: float, alpha: float = 1.0) -> dict[str, Any]:
    return {
        "linestyle": "none",
        "marker": _MARKERS[number % len(_MARKERS)],
        "markersize": size,
        "markeredgewidth": 0,
        "color": _VERMILLION,
        "alpha": alpha,
        "rasterized": count > _POINTS_MAX,
    }


def _draw_attempts(axes: Axes, worlds: _Worlds, service: str) -> None:
    simulated, live = _shares(worlds.simulated, service), _shares(worlds.live, service)
    # One more than the policy allows is where a message is given up that killed its consumers.
    most = max(worlds.scenario.services[service].retry.attempts, simulated.shape[1], live.shape[1])
    if simulated.size:
        number = np.arange(1, simulated.shape[1] + 1)
        low, high = np.percentile(simulated, (5, 95), axis=0)
        axes.bar(number, high - low, bottom=low, width=0.72, **_BAND)
        axes.hlines(simulated.mean(axis=0), number - 0.36, number + 0.36, color=_BLUE, linewidth=1.6)
    if live.size:
        aside = np.linspace(-0.16, 0.16, len(live)) if len(live) > 1 else np.zeros(1)
        for run, (shares, shift) in enumerate(zip(live, aside, strict=True)):
            at = np.flatnonzero(shares)
            axes.plot(at + 1 + shift, shares[at], **_points(0, run, size=4, alpha=0.85))
    known = np.concatenate([shares[shares > 0] for shares in (simulated, live)])
    axes.set_yscale("log")
    axes.set_ylim(bottom=10 ** np.floor(np.log10(known.min(initial=1)) - 0.02))
    axes.set_xlim(0.4, most + 0.6)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    _percent(axes)


def _guide_quantiles(axes: Axes, drawn: Sequence[tuple[str, Floats]]) -> None:
    """A line at each quantile, and beside it what both worlds have there."""
    for index, (name, quantile) in enumerate(metrics.QUANTILES.items()):
        axes.axhline(1 - quantile, color=_GREY, linewidth=0.6, linestyle=(0, (2, 3)))
        place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "va": "center"}
        axes.annotate(name, (1, 1 - quantile), xytext=(6, 0), fontweight="bold", fontsize=8, **place)
        for column, (color, quantiles_s) in enumerate(drawn):
            lines = 5.2 if len(drawn) > 1 else 0
            axes.annotate(
                quantity(float(quantiles_s[index]), "s"),
                (1, 1 - quantile),
                xytext=(28, lines * (1 - 2 * column)),
                color=color,
                fontsize=8,
                **place,
            )


def _mark_faults(axes: Axes, scenario: Scenario, services: Sequence[str]) -> None:
    """Shade when each fault lasted and name it above, in as many lines as keep the names apart."""
    start_s, end_s = axes.get_xlim()
    letter_s = (end_s - start_s) * 4.4 / (_WIDTH_IN * 72 * 0.86)
    taken: list[float] = []  # of each line, up to when
    for fault in sorted(scenario.faults, key=lambda fault: fault.at_s):
        if fault.service not in services or fault.at_s > end_s:
            continue
        if isinstance(fault, Kill):
            name = f"{fault.service} {fault.consumer} killed"
            until_s = end_s if fault.back_after_s is None else fault.at_s + fault.back_after_s
        else:
            name, until_s = f"{fault.service} fails {fault.error_rate:.0%}", fault.at_s + fault.for_s
        axes.axvspan(fault.at_s, min(until_s, end_s), color=_SHADE, linewidth=0, zorder=0)
        axes.axvline(fault.at_s, color=_GREY, linewidth=0.8, zorder=0.5)
        width_s = letter_s * (len(name) + 2)
        at_s = min(fault.at_s, end_s - width_s)
        line = next((index for index, free_s in enumerate(taken) if free_s <= at_s), len(taken))
        taken[line : line + 1] = [at_s + width_s]
        above: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
        axes.annotate(name, (at_s, 1), xytext=(0, 3 + 10 * line), fontsize=7.5, color=_GREY, **above)


def _scale(axes: Axes, values: Floats) -> None:
    """Logarithmic where the values span more than a linear axis can show."""
    if values.size and values.min() > 0 and values.max() > 20 * np.quantile(values, 0.05):
        axes.set_yscale("log")
        _plain(axes, "y")
    else:
        axes.set_ylim(bottom=0)


def _plain(axes: Axes, which: str) -> None:
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _percent(axes: Axes) -> None:
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
