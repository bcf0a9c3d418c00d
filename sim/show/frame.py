"""What stands around every figure: matplotlib's settings, title, legend and caption."""

import io
import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib import rc_context, rcParamsDefault
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from sim.show import style
from sim.show.source import Worlds

# matplotlib's own settings, not those of the user: the same input gives the same figure.
_FOREIGN = (
    "backend",
    "date.epoch",
    "docstring",
    "figure.max",
    "figure.raise",
    "interactive",
    "timezone",
    "tk.",
    "toolbar",
)
SETTINGS = {name: value for name, value in rcParamsDefault.items() if not name.startswith(_FOREIGN)} | style.SETTINGS


class Chart(Figure):
    """A figure that shows itself in a notebook, with any of matplotlib's backends."""

    @rc_context(SETTINGS)
    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=144, metadata={"Software": None})
        width_in, height_in = self.get_size_inches()
        return file.getvalue(), {"width": round(width_in * 96), "height": round(height_in * 96)}


def new_figure(height_in: float, *, rows: int = 1, columns: int = 1, share_x: bool = False) -> tuple[Chart, list[Axes]]:
    """A figure and its panels, row by row."""
    figure = Chart(figsize=(style.WIDTH_IN, height_in), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False, sharex=share_x).flat)


def with_texts(
    figure: Figure, title: str, worlds: Worlds, caption: str, *, legend: Sequence[tuple[Any, str]] | None = None
) -> Figure:
    """Put the title and the legend above the figure and the caption below it. A long scenario's name is shortened."""
    return titled(figure, title, worlds.scenario.name, caption, legend if legend is not None else _legend(worlds))


def titled(figure: Figure, title: str, name: str, caption: str, keys: Sequence[tuple[Any, str]]) -> Figure:
    """As `with_texts`, for a figure that is of no two worlds: `keys` are the legend, and `name` is what it shows."""
    letters = int((416 - sum(23 + 4.7 * len(name) for _, name in keys)) / 5.7) - len(title) - 2
    text = f"{title}: {name if len(name) <= letters else name[: letters - 3] + '...'}"
    figure.suptitle(text, x=0.012, ha="left", fontsize=10.5, fontweight="bold", parse_math=False)
    if keys:
        figure.legend([key for key, _ in keys], [name for _, name in keys], loc="outside upper right", ncols=len(keys))
    lines = textwrap.fill(caption, style.CAPTION_LETTERS)
    figure.supxlabel(lines, x=0.012, ha="left", fontsize=7.5, color=style.GREY, linespacing=1.35, parse_math=False)
    return figure


def _legend(worlds: Worlds) -> list[tuple[Any, str]]:
    keys: list[tuple[Any, str]] = []
    if worlds.simulated:
        keys.append(((Patch(**style.BAND), Line2D([], [], color=style.BLUE)), "simulated"))
    if worlds.live:
        keys.append((Line2D([], [], **style.points(0, size=4)), "live"))
    return keys
