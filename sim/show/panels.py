"""The picture of `explore()`: three panels that are made once and then show one run after the other.

Making axes, their ticks and their texts takes longer than simulating the run that they show.
"""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sim.evidence.history import History
from sim.evidence.lags import lags
from sim.evidence.recovery import backlog
from sim.show import style
from sim.show.frame import SETTINGS

_BINS = 60
# Bottom and height of each panel in inches, for up to three services; a layout engine takes longer than a run.
_PLACES_IN, _HEIGHT_IN = ((2.85, 1.24), (1.43, 1.06), (0.46, 0.46)), 4.6
_BARS, _BAR_IN = 3, 0.15  # each service more makes the picture so much higher


class Panels:
    """Lag and backlog over time, and how busy each service is."""

    @rc_context(SETTINGS)
    def __init__(self, services: Sequence[str]) -> None:
        more_in = _BAR_IN * max(0, len(services) - _BARS)
        high_in = _HEIGHT_IN + more_in
        self._figure = Figure(figsize=(style.WIDTH_IN * 1.2, high_in))
        *above, (bottom_in, bars_in) = _PLACES_IN
        places_in = [(each_in + more_in, of_in) for each_in, of_in in above] + [(bottom_in, bars_in + more_in)]
        self._lag, self._entries, busy = (
            self._figure.add_axes((0.1, each_in / high_in, 0.87, of_in / high_in)) for each_in, of_in in places_in
        )
        self._quantiles = {
            q: self._lag.plot([], [], color=colour, label=f"p{100 * q:g}", linewidth=1.2)[0]
            for q, colour in ((0.5, style.BLUE), (0.99, style.VERMILLION))
        }
        self._lag.set_ylabel("lag (s)")
        self._lag.legend(loc="upper right", ncols=2)
        self._backlogs = [self._entries.plot([], [], label=name, linewidth=1.2)[0] for name in services]
        self._entries.set_ylabel("backlog")
        self._entries.set_xlabel("seconds")
        self._entries.legend(loc="upper right", ncols=4)
        self._bars = busy.barh(range(len(services)), [0.0] * len(services), color=style.BLUE, height=0.6)
        busy.set_yticks(range(len(services)), list(services))
        busy.set_xlim(0, 100)
        busy.set_xlabel("busy (%)")
        # Where these stand is given: else the texts of all ticks are laid out twice.
        for one, below in ((self._entries, -0.3), (busy, -0.32 / (bars_in + more_in))):
            one.xaxis.set_label_coords(0.5, below)
        for one in (self._lag, self._entries):
            one.yaxis.set_label_coords(-0.07, 0.5)
        self._title = self._figure.text(0.012, 1 - 0.16 / high_in, "", fontweight="bold", parse_math=False)
        self._warning = self._figure.text(0.012, 1 - 0.32 / high_in, "", color=style.RUST, fontsize=8, parse_math=False)

    @rc_context(SETTINGS)
    def png(self, history: History, busy: Mapping[str, float], title: str, warning: str) -> bytes:
        """A run as a PNG; `busy` has the share of time for which each service was."""
        self._set_lag(history)
        for place, line in enumerate(self._backlogs):
            line.set_data(*backlog(history.rows, place))
        _fit(self._entries)
        for bar, share in zip(self._bars, busy.values(), strict=True):
            bar.set_width(100 * share)
        self._title.set_text(title)
        self._warning.set_text(warning)
        file = io.BytesIO()
        # The quickest compression: the picture goes no further than the notebook.
        quickest = {"compress_level": 1}
        self._figure.savefig(file, format="png", dpi=100, metadata={"Software": None}, pil_kwargs=quickest)
        return file.getvalue()

    def _set_lag(self, history: History) -> None:
        found = lags(history, warming_up=True)
        edges = np.linspace(0.0, max(float(found.intended_s.max(initial=0.0)), 1e-9), _BINS + 1)
        place = np.clip(np.searchsorted(edges, found.intended_s, side="right") - 1, 0, _BINS - 1)
        known = np.unique(place)
        groups = [found.lag_s[place == index] for index in known]
        values = np.array([np.quantile(group, list(self._quantiles)) for group in groups]).reshape(-1, 2)
        middles = (edges[:-1] + edges[1:])[known] / 2
        for line, of_line in zip(self._quantiles.values(), values.T, strict=True):
            line.set_data(middles, of_line)
        _fit(self._lag)
        self._lag.set_ylim(bottom=0)


def _fit(axes: Axes) -> None:
    """Let both scales fit the new data."""
    axes.relim()
    axes.autoscale(True)
