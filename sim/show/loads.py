"""A figure of a load: how many messages it sends over time."""

import io

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from sim.declare.declared import Floats
from sim.declare.loads import Load
from sim.show import style
from sim.show.frame import SETTINGS, new_figure

_PARTS = 60
_SEEDS = 200


@rc_context(SETTINGS)
def load_over_time(load: Load, *, seed: int = 0) -> Figure:
    """The rate at which one seed hands messages over, and the mean rate at which many seeds mean to send them.

    Raises:
        InvalidTrace: the load's trace is missing or broken.
    """
    figure, (axes,) = new_figure(1.9)
    edges_s = np.linspace(0.0, load.duration_s, _PARTS + 1)
    streams = (np.random.SeedSequence(one, spawn_key=(0,)) for one in range(seed, seed + _SEEDS))  # as in a plan
    drawn = [load.draw(np.random.default_rng(stream)) for stream in streams]
    axes.stairs(_rate(drawn[0].due_s, edges_s), edges_s, fill=True, color=style.SHADE)
    mean = np.mean([_rate(one.intended_s, edges_s) for one in drawn], axis=0)
    axes.stairs(mean, edges_s, color=style.BLUE, linewidth=1.2, baseline=None)
    axes.set_xlim(0.0, load.duration_s)
    axes.set_ylim(bottom=0.0)
    axes.set_xlabel("time (s)")
    axes.set_ylabel("messages (1/s)")
    return figure


@rc_context(SETTINGS)
def svg_file(figure: Figure) -> str:
    """The figure as an SVG file that is the same each time."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"


def _rate(at_s: Floats, edges_s: Floats) -> Floats:
    return np.histogram(at_s, edges_s)[0] / np.diff(edges_s)
