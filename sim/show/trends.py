"""A trend as a small line, with the band in which the newest value should lie."""

import numpy as np
from markupsafe import Markup

from sim.infer.trends import Trend
from sim.wording import digits

_WIDTH, _HEIGHT, _MARGIN = 160.0, 32.0, 3.0


def trend_line(trend: Trend) -> Markup:
    """The values as an SVG line; the newest is a dot. Its label says the same in words."""
    bounds = [bound for bound in (trend.low, trend.high) if np.isfinite(bound)]
    low, high = min([*trend.values, *bounds]), max([*trend.values, *bounds])
    scale = (_HEIGHT - 2 * _MARGIN) / (high - low or 1.0)
    step = (_WIDTH - 2 * _MARGIN) / max(1, len(trend.values) - 1)

    def y(value: float) -> float:
        return round(float(_HEIGHT - _MARGIN - (value - low) * scale), 1)

    points = " ".join(f"{round(_MARGIN + place * step, 1)},{y(value)}" for place, value in enumerate(trend.values))
    at = points.rpartition(" ")[2].partition(",")
    band = ""
    if bounds:
        band = Markup('<rect x="0" y="{}" width="{}" height="{}" fill="var(--faint)"/>').format(
            y(trend.high), _WIDTH, round(y(trend.low) - y(trend.high), 1)
        )
    label = f"{len(trend.values)} reports, from {digits(float(trend.values[0]))} to {digits(float(trend.values[-1]))}"
    return Markup(
        '<svg role="img" aria-label="{}" viewBox="0 0 {:g} {:g}" width="{:g}" height="{:g}">{}'
        '<polyline points="{}" fill="none" stroke="var(--accent)" stroke-width="1.5"/>'
        '<circle cx="{}" cy="{}" r="2.5" fill="var(--ink)"/></svg>'
    ).format(label, _WIDTH, _HEIGHT, _WIDTH, _HEIGHT, band, points, at[0], at[2])
