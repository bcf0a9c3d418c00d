"""Figures from histories: simulated as line and band, live as points, faults shaded and named.

Every function takes a Comparison, or a single History where only one world ran, and returns a Figure of its own.
It needs no display, opens no window and changes no global state. A figure that is the last value of a notebook's cell
shows itself.
"""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from sim.declare.callers import CALLERS
from sim.declare.declared import Floats
from sim.declare.scenario import Scenario
from sim.evidence import distributions, recovery
from sim.evidence.lags import QUANTILES, lags
from sim.infer.compare import Comparison, Row
from sim.show import style
from sim.show.frame import SETTINGS, new_figure, with_texts
from sim.show.source import Source, Worlds
from sim.show.svg import element
from sim.show.wording import MINUS, TO, difference, percent, seeds, shortened
from sim.wording import quantity


@rc_context(SETTINGS)
def lag_over_time(source: Source, *, service: str | None = None) -> Figure:
    """Lag of each message over its intended send time, at one service or at the last services of the system."""
    worlds = Worlds.of(source)
    simulated, live = (lags(one, service, warming_up=True) if one else None for one in (worlds.simulated, worlds.live))
    both = [found for found in (simulated, live) if found is not None]
    figure, (axes,) = new_figure(3.5)
    axes.set_xlim(0, max((float(found.intended_s.max(initial=0)) for found in both), default=1) or 1)
    if simulated is not None:
        _draw_band(axes, distributions.lag_over_time(simulated))
    if live is not None:
        axes.plot(live.intended_s, live.lag_s, **style.points(live.lag_s.size, size=2.2, alpha=0.45))
    _scale_lag(axes, np.concatenate([found.lag_s for found in both]))
    axes.set_xlabel("intended send time (s)")
    axes.set_ylabel(_lag_label(service))
    _mark_faults(axes, worlds.scenario, worlds.behind(service))
    caption = worlds.caption(
        f"Line: median of the messages in each time bin; band: 5{TO}95 % of them.", "Points: messages."
    )
    return with_texts(figure, "Lag over time", worlds, caption)


@rc_context(SETTINGS)
def lag_distribution(source: Source, *, service: str | None = None) -> Figure:
    """Share of the messages with more than a given lag, on logarithmic axes, so that the tail can be read."""
    worlds = Worlds.of(source)
    figure, (axes,) = new_figure(3.7)
    quantiles: list[tuple[str, Floats]] = []
    every: list[Floats] = []
    if worlds.simulated:
        runs = lags(worlds.simulated, service).by_run()
        every += runs
        band = distributions.lag_tail_over_runs(runs, places=150)
        axes.fill_betweenx(band.at, band.low, band.high, **style.BAND)
        axes.plot(band.middle, band.at, color=style.BLUE)
        quantiles.append((style.BLUE, distributions.lag_quantiles(runs)))
    if worlds.live:
        runs = lags(worlds.live, service).by_run()
        every += runs
        for number, lags_s in enumerate(runs):
            shares, exceeded_s = distributions.lag_tail(lags_s, places=32)
            axes.plot(exceeded_s, shares, **style.points(0, number, size=3.4, alpha=0.75))
        quantiles.append((style.RUST, distributions.lag_quantiles(runs)))
    shortest_s = min((lags_s.min() for lags_s in every), default=0)
    if shortest_s > 0:
        axes.set_xscale("log")
        _write_plainly(axes, "x")
    axes.set_yscale("log")
    axes.set_ylim(0.7 / max(100, *(lags_s.size for lags_s in every)) if every else 0.007, 1.4)
    _write_percent(axes)
    _mark_quantiles(axes, quantiles)
    axes.set_xlabel(_lag_label(service))
    axes.set_ylabel("messages with more lag (%)")
    caption = worlds.caption(
        f"Line: median over seeds; band: 5{TO}95 % of seeds. Numbers: means over runs.",
        "Points: quantiles of each run.",
    )
    return with_texts(figure, "Distribution of lag", worlds, caption)


@rc_context(SETTINGS)
def attempts(source: Source) -> Figure:
    """Share of messages settled (handled or dead-lettered) at each attempt, for each service."""
    worlds = Worlds.of(source)
    columns = min(len(worlds.services), 3)
    rows = -(-len(worlds.services) // columns)
    figure, panels = new_figure(1.1 + 1.9 * rows, rows=rows, columns=columns)
    for panel, service in zip(panels, worlds.services, strict=False):
        _draw_attempts(panel, worlds, service)
        panel.set_title(shortened(service), loc="left", fontweight="bold")
        panel.set_xlabel("attempt (number)")
    for panel in panels[len(worlds.services) :]:
        panel.remove()
    for panel in figure.axes:
        panel.set_ylim(min(other.get_ylim()[0] for other in figure.axes), 1.6)
    for panel in panels[::columns]:
        panel.set_ylabel("messages settled (%)")
    caption = worlds.caption(
        f"Line: mean share over seeds; band: 5{TO}95 % of seeds.", "Points: each run; a share of zero has no point."
    )
    return with_texts(figure, "Attempts per message", worlds, caption)


@rc_context(SETTINGS)
def backlog(source: Source) -> Figure:
    """Messages that each service had yet to settle over time: waiting, being handled or put aside for a retry."""
    worlds = Worlds.of(source)
    figure, panels = new_figure(1.1 + 1.6 * len(worlds.services), rows=len(worlds.services), share_x=True)
    histories = [history for history in (worlds.simulated, worlds.live) if history]
    end_s = max(max(run.ended_s for run in history.runs) for history in histories)
    for panel, service in zip(panels, worlds.services, strict=True):
        panel.set_xlim(0, end_s)
        if worlds.simulated:
            _draw_band(panel, distributions.backlog_over_time(worlds.simulated, service, end_s))
        for number, (_, rows) in enumerate(worlds.live.each_run() if worlds.live else ()):
            sampled_s, entries = recovery.backlog(rows, worlds.services.index(service))
            panel.plot(sampled_s, entries, color=style.VERMILLION, linewidth=0.5, alpha=0.5)
            panel.plot(sampled_s, entries, **style.points(entries.size, number, size=2.4, alpha=0.7))
        panel.set_ylim(bottom=0)
        panel.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        panel.set_ylabel(f"{shortened(service)}\nbacklog (messages)")
        _mark_faults(panel, worlds.scenario, [service])
    panels[-1].set_xlabel("time since the load began (s)")
    caption = worlds.caption(f"Line: median over seeds; band: 5{TO}95 % of seeds.", "Points: samples of each run.")
    return with_texts(figure, "Backlog", worlds, caption)


@rc_context(SETTINGS)
def errors(comparison: Comparison) -> Figure:
    """Each metric's error with its error bar, both as a share of the live value, the largest error first."""
    rows = [row for row in comparison.predictions if np.isfinite(row.relative_error)]
    rows.sort(key=lambda row: abs(row.relative_error))
    figure, (axes,) = new_figure(1.3 + 0.19 * max(len(rows), 3))
    _draw_errors(axes, rows)
    axes.set_xlabel("simulated minus live (% of live)")
    worlds = Worlds.of(comparison)
    caption = worlds.caption(
        f"Dot: mean error over the seeds that ran in both worlds ({seeds(comparison.seeds)}). "
        f"Bar: 95 % interval of it, from the noise of n = {comparison.headline.live_runs} live runs. "
        f"Lines: the tolerance of {percent(comparison.tolerance)}.",
        "",
    )
    return with_texts(figure, "Errors", worlds, caption, legend=_error_legend(rows))


def svg(figure: Figure, *, name: str, label: str) -> str:
    """The figure as an <svg> element to put into a page, without a reference to anything outside itself.

    `name` makes its ids unique in the page; `label` is what a screen reader says. Title and caption are left out: a
    page has them as text, which keeps its size on a phone. The colours follow the page's (`sim.show.svg`).
    """
    file = io.StringIO()
    with rc_context(SETTINGS), _without_texts(figure), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # the browser has other fonts
        figure.savefig(file, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")), dpi=144)
    return element(file.getvalue(), name=name, label=label)


def caption(figure: Figure) -> str:
    """How to read the figure, and the seeds and replications behind it, as one line of text."""
    return " ".join(figure.get_supxlabel().split())


# Texts around a figure, and what is drawn in it


@contextmanager
def _without_texts(figure: Figure) -> Iterator[None]:
    """Leave out the title and the caption, and the place they take."""
    texts = {text: text.get_in_layout() for text in figure.texts if text.get_text() in _around(figure)}
    for text in texts:
        text.set_visible(False)
        text.set_in_layout(False)
    try:
        yield
    finally:
        for text, in_layout in texts.items():
            text.set_visible(True)
            text.set_in_layout(in_layout)


def _around(figure: Figure) -> tuple[str, str]:
    return figure.get_suptitle(), figure.get_supxlabel()


def _error_legend(rows: Sequence[Row]) -> list[tuple[Artist, str]]:
    names = {"within": "within the tolerance", "outside": "outside it", "too noisy": "too noisy to tell"}
    found = {row.verdict: row for row in rows}
    keys: list[tuple[Artist, str]] = [
        (Line2D([], [], **_dot_style(found[verdict])), name) for verdict, name in names.items() if verdict in found
    ]
    return [*keys, (Patch(color=style.FLOOR), "noise")]


def _dot_style(row: Row) -> dict[str, Any]:
    """Within or outside the tolerance: told by shape as well as by colour."""
    marker, color, face = {
        "within": ("o", style.BLUE, style.BLUE),
        "outside": ("D", style.VERMILLION, style.VERMILLION),
    }.get(row.verdict, ("o", style.GREY, style.PAPER))
    return {"linestyle": "none", "marker": marker, "color": color, "markerfacecolor": face, "markersize": 5}


def _write_beside(axes: Axes, height: float, error: str, noise: str, *, color: str = style.GREY) -> None:
    """Write two numbers to the right of a row."""
    how: dict[str, Any] = {"textcoords": "offset points", "va": "center", "fontsize": 7.5, "color": color}
    for points, text in ((8, error), (64, noise)):
        number = text.removesuffix(" messages").removesuffix(" attempts")
        axes.annotate(number, (1, height), xycoords=("axes fraction", "data"), xytext=(points, 0), **how)


def _draw_band(axes: Axes, band: distributions.Band) -> None:
    axes.fill_between(band.at, band.low, band.high, **style.BAND)
    axes.plot(band.at, band.middle, color=style.BLUE)


def _draw_attempts(axes: Axes, worlds: Worlds, service: str) -> None:
    simulated, live = (
        distributions.attempt_shares(one, service) if one else np.empty((0, 0))
        for one in (worlds.simulated, worlds.live)
    )
    # A message that killed its consumers is given up at one attempt more than the policy allows.
    most = max(worlds.scenario.services[service].retry.attempts, simulated.shape[1], live.shape[1])
    if simulated.size:
        band = distributions.attempts_over_runs(simulated)
        axes.bar(band.at, band.high - band.low, bottom=band.low, width=0.72, **style.BAND)
        axes.hlines(band.middle, band.at - 0.36, band.at + 0.36, color=style.BLUE, linewidth=1.6)
    if live.size:
        aside = np.linspace(-0.16, 0.16, len(live)) if len(live) > 1 else np.zeros(1)
        for run, (shares, shift) in enumerate(zip(live, aside, strict=True)):
            at = np.flatnonzero(shares)
            axes.plot(at + 1 + shift, shares[at], **style.points(0, run, size=4, alpha=0.85))
    known = np.concatenate([shares[shares > 0] for shares in (simulated, live)])
    axes.set_yscale("log")
    axes.set_ylim(bottom=10 ** np.floor(np.log10(known.min(initial=1)) - 0.02))
    axes.set_xlim(0.4, most + 0.6)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    _write_percent(axes)


def _draw_errors(axes: Axes, rows: Sequence[Row]) -> None:
    reach = 1.15 * max((abs(value) for row in rows for value in (row.relative_error, _noise_width(row))), default=1.0)
    for height, row in enumerate(rows):
        left = row.relative_error - _noise_width(row)
        axes.barh(height, 2 * _noise_width(row), left=left, height=0.62, color=style.FLOOR)
        axes.plot(row.relative_error, height, **_dot_style(row))
        _write_beside(axes, height, difference(row.error, row.unit), quantity(row.noise, row.unit))
    axes.axvline(0, color=style.INK, linewidth=0.8)
    for side in (-1, 1) if rows else ():
        axes.axvline(side * rows[0].tolerance, color=style.GREY, linewidth=0.8, linestyle=(0, (4, 2)))
    top = max(len(rows), 1)
    _write_beside(axes, top - 0.1, "error", "noise", color=style.INK)
    axes.set_xlim(-max(reach, 0.01), max(reach, 0.01))
    axes.set_ylim(-0.6, top - 0.4)
    axes.set_yticks(range(len(rows)), [shortened(row.metric) for row in rows])
    axes.tick_params(axis="y", labelcolor=style.INK)
    axes.grid(visible=True, axis="x")
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda share, _: f"{100 * share:+g}".replace("-", MINUS) if share else "0")
    )


def _mark_quantiles(axes: Axes, worlds: Sequence[tuple[str, Floats]]) -> None:
    """Draw a line at each quantile and write beside it the value in each world, given as its colour and quantiles."""
    for index, (name, quantile) in enumerate(QUANTILES.items()):
        axes.axhline(1 - quantile, color=style.GREY, linewidth=0.6, linestyle=(0, (2, 3)))
        place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "va": "center"}
        axes.annotate(name, (1, 1 - quantile), xytext=(6, 0), fontweight="bold", fontsize=8, **place)
        for column, (color, quantiles_s) in enumerate(worlds):
            lines = 5.2 if len(worlds) > 1 else 0
            axes.annotate(
                quantity(float(quantiles_s[index]), "s"),
                (1, 1 - quantile),
                xytext=(28, lines * (1 - 2 * column)),
                color=color,
                fontsize=8,
                **place,
            )


def _mark_faults(axes: Axes, scenario: Scenario, services: Sequence[str]) -> None:
    """Shade the time of each fault and name it above, in as many lines as keep the names apart."""
    start_s, end_s = axes.get_xlim()
    letter_s = (end_s - start_s) * 4.4 / (style.WIDTH_IN * 72 * 0.86)
    taken_until_s: list[float] = []  # of each line of names
    marks = [fault.mark() for fault in scenario.faults if any(fault.hits(name, scenario) for name in services)]
    for mark in sorted((mark for mark in marks if mark.from_s <= end_s), key=lambda mark: mark.from_s):
        axes.axvspan(mark.from_s, min(mark.until_s, end_s), color=style.SHADE, linewidth=0, zorder=0)
        axes.axvline(mark.from_s, color=style.GREY, linewidth=0.8, zorder=0.5)
        width_s = letter_s * (len(shortened(mark.label)) + 2)
        at_s = min(mark.from_s, end_s - width_s)
        line = next((index for index, until_s in enumerate(taken_until_s) if until_s <= at_s), len(taken_until_s))
        taken_until_s[line : line + 1] = [at_s + width_s]
        above: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
        axes.annotate(
            shortened(mark.label), (at_s, 1), xytext=(0, 3 + 10 * line), fontsize=7.5, color=style.GREY, **above
        )


def _lag_label(service: str | None) -> str:
    if service == CALLERS:
        return "round trip (s)"
    return f"lag of {shortened(service)} (s)" if service else "lag (s)"


def _noise_width(row: Row) -> float:
    """How far the error bar reaches to either side, as a share of the live value; 0 where it is unknown."""
    return row.relative_noise if np.isfinite(row.relative_noise) else 0.0


def _scale_lag(axes: Axes, values: Floats) -> None:
    """Make the axis logarithmic where the lags span more than a linear axis can show."""
    if values.size and values.min() > 0 and values.max() > 20 * np.quantile(values, 0.05):
        axes.set_yscale("log")
        _write_plainly(axes, "y")
    else:
        axes.set_ylim(bottom=0)


def _write_plainly(axes: Axes, which: str) -> None:
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _write_percent(axes: Axes) -> None:
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
