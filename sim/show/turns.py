"""A figure of a task queue: how long each priority and tenant waited, and how many dispatches passed its tasks."""

from collections.abc import Callable

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sim.declare.declared import Floats
from sim.evidence.history import History
from sim.evidence.metrics import Metrics, measure
from sim.show import style
from sim.show.frame import SETTINGS, new_figure, with_texts
from sim.show.source import Source, Worlds
from sim.show.wording import TO, shortened


@rc_context(SETTINGS)
def turns(source: Source, *, service: str) -> Figure:
    """The p95 lag of each priority and tenant of a task queue, and the most dispatches that passed one of its tasks."""
    worlds = Worlds.of(source)
    queue = worlds.scenario.services[service].queue
    assert queue is not None, f"{service} is no task queue"
    parts = queue.bounds()
    figure, (lags, passed) = new_figure(3.4, columns=2)
    prefix = f"{service}." if len(worlds.services) > 1 else ""
    for world, draw in ((worlds.simulated, _draw_simulated), (worlds.live, _draw_live)):
        if world is not None:
            _draw(lags, passed, world, [f"{prefix}{name}" for name in parts], draw)
    for at, allowed in enumerate(parts.values()):
        if allowed is not None:
            passed.hlines(allowed, at - 0.5, at + 0.5, color=style.INK, linewidth=1.0, linestyle=(0, (2, 1.5)))
    for panel, label in ((lags, f"p95 lag of {shortened(service)} (s)"), (passed, "passed by (dispatches)")):
        panel.set_xticks(range(len(parts)), [shortened(name) for name in parts])
        panel.set_xlim(-0.6, len(parts) - 0.4)
        panel.set_ylim(0, 1.05 * panel.get_ylim()[1])
        panel.set_ylabel(label)
    passed.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    caption = worlds.caption(
        f"Line: mean over seeds; band: 5{TO}95 % of seeds. Dashes: as many as the weights allow.", "Points: each run."
    )
    return with_texts(figure, "Turns", worlds, caption)


_Draw = Callable[[Axes, int, Floats], None]


def _draw(lags: Axes, passed: Axes, world: History, parts: list[str], draw: _Draw) -> None:
    found: Metrics = measure(world)
    for at, name in enumerate(parts):
        for panel, metric in ((lags, "lag_s_p95"), (passed, "passed_by")):
            values = found[f"{name}.{metric}"]
            if (known := values[~np.isnan(values)]).size:
                draw(panel, at, known)


def _draw_simulated(axes: Axes, at: int, values: Floats) -> None:
    low, high = np.percentile(values, (5, 95))
    axes.bar(at, high - low, bottom=low, width=0.72, **style.BAND)
    axes.hlines(values.mean(), at - 0.36, at + 0.36, color=style.BLUE, linewidth=1.6)


def _draw_live(axes: Axes, at: int, values: Floats) -> None:
    aside = np.linspace(-0.2, 0.2, values.size) if values.size > 1 else np.zeros(1)
    for run, (value, shift) in enumerate(zip(values, aside, strict=True)):
        axes.plot(at + shift, value, **style.points(0, run, size=4, alpha=0.85))
