"""The calibration that a command predicts from: one that was kept, or one that is measured now."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sim.calibration import Calibration


def calibrated(file: Path | None, url: str) -> "Calibration":
    """What was measured here before, read from its file; without one, what is measured now.

    Raises:
        InvalidCalibration: the file is no calibration, or it was measured on another machine, server or library.
        SimError, EventlibError: as `calibrate` does.
    """
    from sim.calibration import Calibration
    from sim.infer.calibrate import calibrate
    from sim.show.console import progress
    from sim.worlds.live import product_at

    if file is not None:
        found = Calibration.load(file)
        found.check_fits(asyncio.run(product_at(url)))
        return found
    with progress("timing this machine") as advance:
        found, _ = asyncio.run(calibrate(url=url, progress=advance))
    return found
