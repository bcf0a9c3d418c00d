"""calibrate(): the times that this machine, server and library add to a scenario's own times, measured live.

Only times need calibration. Rules do not, because both worlds call the library's own rules.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from eventlib.policy import Retry
from sim.declare.declared import Floats
from sim.declare.faults.kill import Kill
from sim.declare.loads.constant import ConstantLoad
from sim.declare.scenario import Progress, Scenario
from sim.declare.service import Service
from sim.declare.service_times.constant import ConstantTime
from sim.errors import LiveRunFailed
from sim.evidence.history import History
from sim.worlds.live import run_live
from sim.worlds.simulated import Overheads

if TYPE_CHECKING:
    import pandas as pd

_BACK_AFTER_S = 0.2
_RETRY_S = 0.05
_WORK_S = 0.005
_BUSY_S = 0.014


def probe() -> Scenario:
    """The scenario that is measured: messages never queue at two of its services, and the third always has work."""
    retry = Retry(attempts=20, wait_s=_RETRY_S, wait_s_max=_RETRY_S, jitter="none")
    steady = ConstantTime(kind="constant", mean_s=_WORK_S)
    return Scenario(
        name="calibration",
        description="A hundred events a second through two idle services and a busy one, to time the machine.",
        load=ConstantLoad(kind="constant", event="first", rate_per_s=100, duration_s=2.0),
        services={
            "one": Service(
                consumes="first", concurrency=8, service_time=steady, error_rate=0.1, retry=retry, emits=("second",)
            ),
            # It is given one and a half times what it can do, so it never waits for an entry.
            "busy": Service(consumes="first", service_time=ConstantTime(kind="constant", mean_s=_BUSY_S)),
            "two": Service(consumes="second", consumers=2, concurrency=8, service_time=steady, lease_s=0.5),
        },
        faults=(Kill(kind="kill", service="two", at_s=1.0, back_after_s=_BACK_AFTER_S),),
    )


async def calibrate(*, url: str | None = None, progress: Progress | None = None) -> tuple[Overheads, History]:
    """Measure the overheads in about four seconds. Also returns the history that they were read from.

    Raises:
        SimError, EventlibError: as `run_live` does.
    """
    history = await run_live(probe(), [0], repeats=1, url=url, progress=progress)
    return overheads_of(history), history


def overheads_of(history: History) -> Overheads:
    """How long each step took in a history of `probe`.

    A step that makes an event late is given by its median; a step that uses up the capacity of a service by its mean.

    Raises:
        LiveRunFailed: the history lacks one of the steps.
    """
    frame = history.frame()

    def at_s(kind: str, service: str | None, event: str) -> "pd.Series[float]":
        chosen = (frame["kind"] == kind) & (frame["event"] == event)
        chosen &= frame["service"].isna() if service is None else frame["service"] == service
        return frame[chosen].set_index(["message", "attempt"])["t_s"]

    sent_s = at_s("sent", None, "first").xs(0, level="attempt")
    publish_s = _typical("publish_s", at_s("published", None, "first").xs(0, level="attempt") - sent_s)
    started_s = at_s("started", "one", "first")
    dispatch_s = _typical("dispatch_s", started_s.xs(1, level="attempt") - sent_s - publish_s / 2.0)
    retried_s = at_s("retried", "one", "first").rename(index=lambda attempt: attempt + 1, level="attempt")
    handled_s = at_s("handled", "two", "second")
    busy_s = at_s("started", "busy", "first").sort_values()
    pause_s = busy_s.to_numpy()[1:] - at_s("handled", "busy", "first").sort_values().to_numpy()[:-1]
    fault_s = frame.set_index("kind")["t_s"]
    return Overheads(
        publish_s=publish_s,
        dispatch_s=dispatch_s,
        read_s=_typical("read_s", pause_s[len(pause_s) // 4 :], np.mean),
        handle_s=_typical("handle_s", handled_s - at_s("started", "two", "second") - _WORK_S, np.mean),
        settle_s=_typical("settle_s", at_s("acked", "two", "second") - handled_s),
        retry_s=_typical("retry_s", started_s - retried_s - _RETRY_S - dispatch_s),
        start_s=_typical("start_s", fault_s.loc[["restarted"]].to_numpy() - fault_s.loc["killed"] - _BACK_AFTER_S),
    )


def _typical(name: str, values: "pd.Series[float] | Floats", average: Callable[[Floats], Any] = np.median) -> float:
    """The average of the values that are known."""
    known = np.asarray(values)[~np.isnan(values)]
    if not known.size:
        raise LiveRunFailed("calibration", f"nothing to read {name} from; run it again on a quieter machine")
    return max(0.0, float(average(known)))
