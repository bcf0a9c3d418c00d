"""validate(): each scenario in both worlds, one after the other, for the report."""

from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial

from sim.calibration import Calibration
from sim.declare.scenario import Scenario
from sim.evidence.history import History
from sim.infer.calibrate import calibrate
from sim.infer.compare import TOLERANCE, Comparison, compare
from sim.infer.own_services import learn_services
from sim.infer.predict import REPLICATIONS
from sim.infer.prediction import Prediction
from sim.worlds.live import run_live
from sim.worlds.simulated import simulate

Steps = Callable[[str, float], None]  # is called with the step that runs and the share of it that is done

LIVE_REPEATS = 3  # fewer leave error bars that are too wide to tell


async def validate(
    scenarios: Sequence[Scenario], *, seeds: int, url: str, progress: Steps, tolerance: float = TOLERANCE
) -> AsyncIterator[Comparison]:
    """Calibrate, then run each scenario in both worlds, and yield how they compare as soon as that is known.

    The first scenario runs live for so many `seeds`, the others for one; each seed three times, to see the noise.

    Raises:
        SimError, EventlibError: as `simulate` and `run_live` do.
    """
    calibration, _ = await calibrate(url=url, progress=partial(progress, "timing this machine"))
    for index, declared in enumerate(scenarios):
        live_seeds = range(1 if index else seeds)
        scenario = await learn_services(declared, url=url, progress=partial(progress, f"learning {declared.name}"))
        prediction, simulated = _simulated(scenario, live_seeds, calibration, progress)
        running = partial(progress, f"running {scenario.name} live")
        live = await run_live(scenario, live_seeds, repeats=LIVE_REPEATS, url=url, progress=running)
        yield compare(prediction, live, tolerance=tolerance, simulated=simulated)


def _simulated(
    scenario: Scenario, live_seeds: range, calibration: Calibration, progress: Steps
) -> tuple[Prediction, History]:
    """What the live runs will measure, before they run; and the same seeds, for the figures."""
    told = partial(progress, f"simulating {scenario.name}")
    simulated = simulate(scenario, live_seeds, repeats=REPLICATIONS, calibration=calibration, progress=told)
    return Prediction.of(simulated, live_seeds), simulated
