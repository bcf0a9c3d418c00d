"""predict(): what live runs of a scenario will measure, before they run."""

from collections.abc import Sequence
from dataclasses import replace

from sim.calibration import Calibration
from sim.declare.order import run_order
from sim.declare.scenario import Progress, Scenario
from sim.declare.varying import with_fields
from sim.errors import InvalidScenario
from sim.evidence.warm_up import warm_up_s
from sim.infer.prediction import Prediction
from sim.worlds.simulated import simulate

REPLICATIONS = 20  # of each seed: Student's t is then within 7 % of what many would give


def predict(
    scenario: Scenario,
    seeds: Sequence[int],
    *,
    calibration: Calibration | None = None,
    replications: int = REPLICATIONS,
    progress: Progress | None = None,
) -> Prediction:
    """Predict what live runs of these seeds measure: the scenario is simulated `replications` times for each.

    A warm-up that MSER-5 is to find is found in the simulation. The prediction's scenario has it as `warm_up_s`, so
    live runs are cut at the same time.

    Raises:
        InvalidTrace, InvalidScenario: as `simulate` does.
    """
    if replications < 1:
        raise InvalidScenario("replications", f"{replications} is too few; give 1 or more, and 3 for intervals")
    seeds = [seed for seed, _ in run_order(seeds, 1)]
    history = simulate(scenario, seeds, repeats=replications, calibration=calibration, progress=progress)
    if scenario.warm_up is not None:  # live runs are cut where the simulation was
        fixed = with_fields(scenario, {"warm_up": None, "warm_up_s": warm_up_s(history)})
        history = replace(history, scenario=fixed)
    return Prediction.of(history, seeds)
