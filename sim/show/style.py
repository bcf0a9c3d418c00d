"""How figures look: colours, markers and matplotlib's settings. Only data: drawing is in `plots`."""

from typing import Any

# Okabe and Ito's palette, which colour-blind readers can tell apart too.
BLUE, VERMILLION = "#0072B2", "#D55E00"
RUST = "#B04A00"  # for texts about what is drawn in vermillion, whose contrast to paper is too low for letters
INK, GREY, SHADE, FLOOR = "#1c1c1c", "#5f6368", "#e8e6e1", "#d2d0ca"
AXIS, GRID, PAPER = "#8a8a8a", "#e3e3e3", "#ffffff"
# What each colour is for. In a page it is the CSS variable --chart-NAME, which a dark page sets to a lighter colour.
ROLES = {
    "simulated": BLUE,
    "live": VERMILLION,
    "live-text": RUST,
    "ink": INK,
    "grey": GREY,
    "shade": SHADE,
    "floor": FLOOR,
    "axis": AXIS,
    "grid": GRID,
    "paper": PAPER,
}
MARKERS = "osD^vP"  # one for each live run; the seventh run has the first one again
BAND: dict[str, Any] = {"color": BLUE, "alpha": 0.2, "linewidth": 0}

WIDTH_IN = 6.0  # on a phone it is shown at six tenths of this, so its texts are not small
CAPTION_LETTERS = 93  # as many as fit on a line of the caption
POINTS_MAX = 1_000  # more are drawn as an image, because each point takes a hundred bytes of SVG

# matplotlib's own font gives the same layout on every machine. It is wider than any font that a browser uses instead.
SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": AXIS,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.titlesize": 9,
    "grid.color": GRID,
    "grid.linewidth": 0.5,
    "xtick.color": GREY,
    "ytick.color": GREY,
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
    "figure.facecolor": PAPER,
    "axes.facecolor": "none",
    "figure.constrained_layout.h_pad": 0.06,
    "svg.fonttype": "none",
    "svg.hashsalt": "event-workbench",
}
FONTS = "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"


def points(count: int, number: int = 0, *, size: float, alpha: float = 1.0) -> dict[str, Any]:
    """How live points look: a marker for each run, and an image where there are many."""
    return {
        "linestyle": "none",
        "marker": MARKERS[number % len(MARKERS)],
        "markersize": size,
        "markeredgewidth": 0,
        "color": VERMILLION,
        "alpha": alpha,
        "rasterized": count > POINTS_MAX,
    }
