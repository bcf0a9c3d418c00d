"""How commands predict: what own handlers do is known or learned, the machine is timed or was, then it is simulated."""

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from eventlib.cli.console import keep_apart
from eventlib.cli.terminal import err

if TYPE_CHECKING:
    from sim.calibration import Calibration
    from sim.declare.scenario import Scenario
    from sim.infer.prediction import Prediction


def declared_in(
    file: Path,
    inputs: Iterable[Path | None],
    *outputs: Path | None,
    learned: Path | None = None,
    sample_if_missing: bool = False,
) -> "Scenario":
    """The scenario in a file. `inputs` and `outputs` are the other files that the command reads and writes.

    Raises:
        typer.BadParameter: an output would overwrite something that is read.
        InvalidScenario: as `Scenario.load` does.
    """
    from sim.cli.learning import learned_target
    from sim.declare.scenario import Scenario

    declared = Scenario.load(file, sample_if_missing=sample_if_missing)
    keep_apart([file, *inputs, *declared.files], *outputs, learned_target(learned))
    return declared


def predicted(
    declared: "Scenario",
    seeds: range,
    *,
    replications: int,
    calibration: Path | None,
    learned: Path | None,
    url: str,
) -> "Prediction":
    """The prediction of a scenario.

    Raises:
        SimError, EventlibError: as `with_own_handlers`, `calibrated` and `predict` do.
    """
    from sim.cli.learning import with_own_handlers
    from sim.infer.predict import predict
    from sim.show.console import progress

    declared = with_own_handlers(declared, learned, url)
    declared.check_size(len(seeds) * replications)  # before the machine is timed for half a minute
    measured = calibrated(calibration, url)
    with progress(f"simulating {declared.name}") as advance:
        return predict(declared, seeds, calibration=measured, replications=replications, progress=advance)


def calibrated(file: Path | None, url: str) -> "Calibration":
    """What was measured here before, read from its file; without one, what is measured now.

    Raises:
        InvalidCalibration: the file is no calibration, or it was measured on another machine, server or library.
        SimError, EventlibError: as `calibrate` does.
    """
    from sim.calibration import Calibration
    from sim.worlds.live import product_at

    if file is not None:
        found = Calibration.load(file)
        found.check_fits(asyncio.run(product_at(url)))
    else:
        from sim.infer.calibrate import calibrate
        from sim.show.console import progress

        with progress("timing this machine") as advance:
            found, _ = asyncio.run(calibrate(url=url, progress=advance))
    if found.was_busy:
        err.tell("Note: the machine was busy when it was timed, so lags may be predicted wrongly. Time an idle one.")
    return found
