"""A figure of a service that is scaled: how many consumers it was to have over time, above its backlog."""

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sim.evidence import distributions, recovery
from sim.evidence.scaling import consumers_over_time
from sim.show import style
from sim.show.frame import SETTINGS, new_figure, with_texts
from sim.show.source import Source, Worlds
from sim.show.wording import TO, shortened


@rc_context(SETTINGS)
def consumers(source: Source, *, service: str) -> Figure:
    """How many consumers a service was to have over time, and the backlog that called for them."""
    worlds = Worlds.of(source)
    rule = worlds.scenario.services[service].autoscale
    assert rule is not None, f"{service} is not scaled"
    code = worlds.services.index(service)
    figure, (above, below) = new_figure(4.2, rows=2, share_x=True)
    histories = [history for history in (worlds.simulated, worlds.live) if history]
    end_s = max(max(run.ended_s for run in history.runs) for history in histories)
    above.set_xlim(0, end_s)
    if worlds.simulated:
        for panel, band in (
            (above, distributions.consumers_over_time_of(worlds.simulated, service, end_s)),
            (below, distributions.backlog_over_time(worlds.simulated, service, end_s)),
        ):
            panel.fill_between(band.at, band.low, band.high, **style.BAND)
            panel.plot(band.at, band.middle, color=style.BLUE)
    for number, (run, rows) in enumerate(worlds.live.each_run() if worlds.live else ()):
        at_s, many = consumers_over_time(worlds.scenario, rows, code)
        ends_s = np.append(at_s, run.ended_s)
        above.step(ends_s, np.append(many, many[-1]), where="post", color=style.VERMILLION, linewidth=0.8, alpha=0.7)
        sampled_s, entries = recovery.backlog(rows, code)
        below.plot(sampled_s, entries, **style.points(entries.size, number, size=2.4, alpha=0.7))
    above.set_ylabel(f"{shortened(service)}\nconsumers (number)")
    below.set_ylabel("backlog (messages)")
    below.set_xlabel("time since the load began (s)")
    above.set_ylim(0, 1.08 * rule.max)
    below.set_ylim(bottom=0)
    for panel in (above, below):
        panel.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    caption = worlds.caption(
        f"Line: median over seeds; band: 5{TO}95 % of seeds.", "Steps above: each run; points below: samples of it."
    )
    return with_texts(figure, "Consumers", worlds, caption)
