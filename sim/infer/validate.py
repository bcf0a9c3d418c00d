"""validate(): what the report is made of. Each scenario in both worlds, and the runs by which the claims are judged."""

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from eventlib import App, Settings, connect
from eventlib.catalog import FileUploaded
from sim.calibration import Calibration
from sim.declare.loads.constant import ConstantLoad
from sim.declare.scenario import Scenario
from sim.declare.service import Service
from sim.declare.service_times.constant import ConstantTime
from sim.evidence.history import History
from sim.infer.calibrate import calibrate
from sim.infer.claims import BURST, Claim, Measured, judge
from sim.infer.compare import TOLERANCE, Comparison, compare
from sim.infer.own_services import learn_services
from sim.infer.predict import REPLICATIONS
from sim.infer.prediction import Prediction
from sim.worlds.live import run_live
from sim.worlds.simulated import simulate

Steps = Callable[[str, float], None]  # is called with the step that runs and the share of it that is done

LIVE_REPEATS = 3  # fewer leave error bars that are too wide to tell
_UPLOADED_AT = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Validation:
    """All that a report shows."""

    server: str
    comparisons: tuple[Comparison, ...]
    claims: tuple[Claim, ...]


async def validate(
    scenarios: Sequence[Scenario], *, url: str, progress: Steps, tolerance: float = TOLERANCE
) -> Validation:
    """Calibrate, run each scenario in both worlds, drive a steady load and a burst, and judge the claims.

    The first scenario runs live for two seeds, the others for one; each seed three times, to see the noise.

    Raises:
        SimError, EventlibError: as `simulate` and `run_live` do.
    """
    calibration, [idle, _, _] = await calibrate(url=url, progress=partial(progress, "timing this machine"))
    comparisons = []
    for index, declared in enumerate(scenarios):
        live_seeds = range(1 if index else 2)
        scenario = await learn_services(declared, url=url, progress=partial(progress, f"learning {declared.name}"))
        prediction, simulated = _simulated(scenario, live_seeds, calibration, progress)
        running = partial(progress, f"running {scenario.name} live")
        live = await run_live(scenario, live_seeds, repeats=LIVE_REPEATS, url=url, progress=running)
        comparisons.append(compare(prediction, live, tolerance=tolerance, simulated=simulated))
    steady_progress = partial(progress, "driving a steady load")
    steady = await run_live(steady_load(), [0], repeats=1, url=url, progress=steady_progress)
    progress("publishing a burst", 0.0)
    burst_per_s = await publish_burst(url)
    progress("publishing a burst", 1.0)
    claims = judge(Measured(tuple(comparisons), idle, steady, burst_per_s))
    return Validation(idle.server, tuple(comparisons), claims)


def _simulated(
    scenario: Scenario, live_seeds: range, calibration: Calibration, progress: Steps
) -> tuple[Prediction, History]:
    """What the live runs will measure, before they run; and the same seeds, for the figures."""
    told = partial(progress, f"simulating {scenario.name}")
    simulated = simulate(scenario, live_seeds, repeats=REPLICATIONS, calibration=calibration, progress=told)
    return Prediction.of(simulated, live_seeds), simulated


def steady_load() -> Scenario:
    """Steady 2,000 events a second, to see whether the generator and the library keep up."""
    work = ConstantTime(kind="constant", mean_s=0.002)
    return Scenario(
        name="steady load",
        load=ConstantLoad(kind="constant", event="order.placed", rate_per_s=2000, duration_s=3.0),
        services={"billing": Service(consumes="order.placed", consumers=2, concurrency=16, service_time=work)},
        drain_s=10,
    )


def file_uploaded(index: int) -> FileUploaded:
    """The event with this number: no two are equal, and each has about 470 bytes on the wire."""
    return FileUploaded(
        file_id=f"01J9ZQ4K7M{index:016d}",
        user_id="01J9ZQ4K7M0000000000000042",
        file_name=f"report-{index}.pdf",
        media_type="application/pdf",
        size_bytes=index,
        sha256="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        storage_key=f"files/{index}",
        uploaded_at=_UPLOADED_AT,
    )


async def publish_burst(url: str, count: int = BURST) -> float:
    """Publish `count` typed events of ordinary size as fast as one process can. Returns events a second."""
    events = [file_uploaded(index) for index in range(count)]
    async with connect(App("burst"), url, namespace=f"wb-{secrets.token_hex(6)}", settings=Settings()) as bus:
        try:
            start = time.perf_counter()
            await bus.publish_many(events)
            return count / (time.perf_counter() - start)
        finally:
            await bus.delete_all()
