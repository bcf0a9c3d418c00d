"""A figure of one message's life: a line for each service, its waits in light and its attempts in dark."""

from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from sim.evidence.lives import MessageLife, Stage
from sim.show import style
from sim.show.frame import SETTINGS, new_figure, titled
from sim.show.wording import shortened
from sim.wording import quantity

_LOOKS: dict[str, dict[str, Any]] = {  # of attempts by their outcome, and of waits
    "handled": {"color": style.BLUE},
    "failed": {"color": style.VERMILLION},
    "cut off": {"color": style.INK},
    "not ended": {"color": style.GREY},
    "waits": {"color": style.SHADE},
    "waits for a retry": {"facecolor": style.SHADE, "hatch": "//", "edgecolor": style.GREY, "linewidth": 0},
    "waits for a lease": {"facecolor": style.SHADE, "hatch": "xx", "edgecolor": style.GREY, "linewidth": 0},
}


@rc_context(SETTINGS)
def life_of(life: MessageLife) -> Figure:
    """When a message waited and who tried it, in seconds since it was meant to be sent."""
    services = list(dict.fromkeys(stage.service for stage in life.stages))
    figure, (axes,) = new_figure(1.4 + 0.55 * max(1, len(services)))
    used: dict[str, Patch] = {}
    for stage in life.stages:
        look, place = _look(stage), services.index(stage.service)
        height = 0.56 if stage.is_attempt else 0.28
        length_s = stage.to_s - stage.from_s
        axes.barh(place, length_s, left=stage.from_s - life.intended_s, height=height, **_LOOKS[look])
        used.setdefault(look, Patch(**_LOOKS[look]))
        if stage.is_attempt:
            middle_s = stage.from_s - life.intended_s + length_s / 2
            axes.annotate(
                f"{stage.consumer}", (middle_s, place + 0.3), ha="center", va="bottom", fontsize=7, color=style.GREY
            )
    axes.set_yticks(range(len(services)), [shortened(name) for name in services])
    axes.set_ylim(len(services) - 0.4, -0.6)
    axes.grid(visible=False)
    axes.set_xlabel("seconds since it was meant to be sent")
    caption = f"Numbers: the consumer. Sent {quantity(life.sent_s - life.intended_s, 's')} after it was meant to be."
    keys = [(used[look], look) for look in _LOOKS if look in used]
    return titled(figure, f"Message {life.number}", life.scenario, caption, keys)


def _look(stage: Stage) -> str:
    if stage.is_attempt:
        return {"done": "handled"}.get(stage.outcome, stage.outcome)
    for look in ("waits for a retry", "waits for a lease"):
        if stage.what.startswith(look.replace("a lease", "its lease")):
            return look
    return "waits"
