"""Figures of a sweep: a line with its interval where one field varies, a heat map where two do."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from eventlib.system_errors import with_mend
from eventlib.whole_files import whole_file
from sim.errors import InvalidScenario, SweepFailed
from sim.evidence.export import own_name
from sim.evidence.metrics import Interval, unit_of
from sim.infer.swept import Sweep, SweptPoint
from sim.show import style
from sim.show.frame import SETTINGS, new_figure, titled
from sim.show.wording import seeds
from sim.wording import number

_FORMATS = (".png", ".svg")
_CELLS_WITH_NUMBERS = 100  # in a heat map of more cells, the numbers would not be read
_COLOURS = LinearSegmentedColormap.from_list("paper to blue", [style.PAPER, style.BLUE])


@rc_context(SETTINGS)
def figure_of(sweep: Sweep, *, metric: str | None = None) -> Figure:
    """The mean of a metric at every point of a sweep: by default that of the first expectation, or p99 of lag.

    Raises:
        InvalidScenario: there is no such metric, or more than two fields vary, which no picture shows.
    """
    names = sweep.metrics()
    expected = [name for one in sweep.expectations if (name := own_name(one.metric, names)) in names]
    [shown] = sweep.known([metric or next(iter(expected), "lag_s_p99")])
    _check_fields(sweep.fields)
    return _line(sweep, shown) if len(sweep.fields) == 1 else _heat_map(sweep, shown)


def check_figure(fields: Collection[str], file: Path) -> None:
    """See that a sweep of these fields can be drawn into a file of this name.

    Raises:
        InvalidScenario: more than two fields vary, or the name ends with something else than `.png` or `.svg`.
    """
    _check_fields(fields)
    if file.suffix.lower() not in _FORMATS:
        raise InvalidScenario(str(file), f"is no {' or '.join(_FORMATS)} file; name one")


def _check_fields(fields: Collection[str]) -> None:
    if len(fields) > 2:
        raise InvalidScenario("figure", f"{len(fields)} fields vary; a figure shows one or two: vary fewer")


def write_figure(sweep: Sweep, file: Path, *, metric: str | None = None) -> None:
    """Draw a sweep into a file, SVG or PNG, whole or not at all.

    Raises:
        InvalidScenario: as `figure_of` and `check_figure` do.
        SweepFailed: it could not be written.
    """
    check_figure(sweep.fields, file)
    figure = figure_of(sweep, metric=metric)
    try:
        with rc_context(SETTINGS), whole_file(file) as target:
            figure.savefig(target, format=file.suffix[1:].lower(), dpi=144)
    except OSError as error:
        problem = f"cannot be written: {with_mend(error)}"
        raise SweepFailed(str(file), problem) from error


def _line(sweep: Sweep, metric: str) -> Figure:
    figure, (axes,) = new_figure(3.4)
    [field] = sweep.fields
    points, numeric = _in_order(sweep)
    at = [point.values[0] if numeric else place for place, point in enumerate(points)]
    found = [point.interval(metric) for point in points]
    means = np.array([one.mean for one in found])
    axes.fill_between(at, *_bounds(found), **style.BAND)
    axes.plot(at, means, color=style.BLUE, marker="o", markersize=4)
    bounds = [place for place, one in enumerate(found) if one.unhandled]
    axes.plot(np.array(at)[bounds], means[bounds], linestyle="none", marker="^", markersize=8, color=style.BLUE)
    keys = [((Patch(**style.BAND), Line2D([], [], color=style.BLUE)), "simulated")]
    for one in sweep.expectations:
        if own_name(one.metric, sweep.metrics()) == metric:
            axes.axhline(one.limit, color=style.INK, linewidth=1.0, linestyle=(0, (2, 1.5)))
            keys.append((Line2D([], [], color=style.INK, linewidth=1.0, linestyle="--"), "expected"))  # type: ignore[arg-type]
    if not numeric:
        axes.set_xticks(at, [str(point.values[0]) for point in points])
    _scale(axes, means)
    axes.set_xlabel(field)
    axes.set_ylabel(_label(metric))
    triangles = " Triangles: lower bounds, because not every message was handled." if bounds else ""
    caption = f"Line: mean of {seeds(sweep.seeds)}; band: its 95 % interval.{triangles}"
    return titled(figure, metric, sweep.scenario.name, caption, keys[:2])


def _heat_map(sweep: Sweep, metric: str) -> Figure:
    figure, (axes,) = new_figure(3.9)
    columns, rows = ([*dict.fromkeys(point.values[place] for point in sweep.points)] for place in (0, 1))
    found: dict[tuple[int, int], SweptPoint] = {
        (rows.index(point.values[1]), columns.index(point.values[0])): point for point in sweep.points
    }
    means = np.full((len(rows), len(columns)), np.nan)
    for place, point in found.items():
        means[place] = point.interval(metric).mean
    finite = np.where(np.isfinite(means), means, np.nan)
    positive = finite[finite > 0]
    logarithmic = positive.size and positive.max() > 100 * positive.min() and not np.any(finite <= 0)
    image = axes.imshow(finite, origin="lower", aspect="auto", cmap=_COLOURS, norm="log" if logarithmic else "linear")
    for (row, column), point in found.items():
        if means.size <= _CELLS_WITH_NUMBERS:
            _write_in_cell(axes, row, column, point.interval(metric), image)
        outcomes = {one.outcome for one in sweep.judged(point)}
        if outcomes == {"holds"}:
            cell = Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=style.VERMILLION, linewidth=1.5)
            axes.add_patch(cell)
    axes.grid(visible=False)
    for axis, names, label in ((axes.xaxis, columns, sweep.fields[0]), (axes.yaxis, rows, sweep.fields[1])):
        axis.set_ticks(range(len(names)), [number(name) if isinstance(name, float) else str(name) for name in names])
        axis.set_label_text(label)
    figure.colorbar(image, label=_label(metric))
    keys = [(Patch(fill=False, edgecolor=style.VERMILLION), "holds")] if sweep.expectations else []
    caption = f"Means of {seeds(sweep.seeds)}. >= marks lower bounds, because not every message was handled."
    return titled(figure, metric, sweep.scenario.name, caption, keys)


def _write_in_cell(axes: Axes, row: int, column: int, found: Interval, image: object) -> None:
    share = float(image.norm(found.mean)) if np.isfinite(found.mean) else 0.0  # type: ignore[attr-defined]
    text = (">= " if found.unhandled else "") + number(found.mean, significant=3)
    axes.text(
        column, row, text, ha="center", va="center", fontsize=7.5, color=style.PAPER if share > 0.6 else style.INK
    )


def _in_order(sweep: Sweep) -> tuple[list[SweptPoint], bool]:
    """The points along the axis, and whether it is one of numbers."""
    if all(isinstance(point.values[0], int | float) for point in sweep.points):
        return sorted(sweep.points, key=lambda point: point.values[0]), True
    return list(sweep.points), False


def _bounds(found: list[Interval]) -> tuple[list[float], list[float]]:
    known = [(one.low, one.high) if np.isfinite(one.low) else (one.mean, one.mean) for one in found]
    return [low for low, _ in known], [high for _, high in known]


def _scale(axes: Axes, means: np.ndarray) -> None:
    """A logarithmic scale where the largest number would hide the others."""
    positive = means[np.isfinite(means) & (means > 0)]
    if positive.size == means.size and positive.max() > 30 * positive.min():
        axes.set_yscale("log")


def _label(metric: str) -> str:
    return f"{metric} ({unit_of(metric)})"
