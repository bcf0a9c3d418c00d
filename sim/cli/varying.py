"""What `--vary FIELD=VALUES` says, and what a simulation of another machine is drawn from."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from sim.calibration import Calibration


def varied(texts: Iterable[str]) -> dict[str, str]:
    """The fields and their values.

    Raises:
        typer.BadParameter: a text has no field or no values, or a field is named twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        field, equals, values = text.partition("=")
        if not equals or not field.strip():
            raise typer.BadParameter(f"--vary {text!r} names no field; say it as services.billing.consumers=1..8")
        if field.strip() in found:
            raise typer.BadParameter(f"--vary {field.strip()} is given twice; give all its values at once")
        found[field.strip()] = values
    return found


def machine_in(file: Path | None, url: str | None, *, runs_here: bool = False) -> "Calibration | None":
    """What was measured here, read from its file. Without one, it is measured now if a scenario `runs_here`, else None.

    Raises:
        InvalidCalibration: the file is no calibration, or it was measured on another machine, server or library.
        SimError, EventlibError: as `calibrated` does.
    """
    from sim.cli.predicting import calibrated
    from sim.worlds.live import server_at

    if file is None and not runs_here:
        return None
    with server_at(url) as address:
        return calibrated(file, address)
