"""workbench fidelity: how good predictions are over many scenarios."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from eventlib.cli.console import Json, ending, keep_apart, write_json
from sim.cli.options import CalibrationFile, Repeats, Replications, Url

app = typer.Typer()


@app.command("fidelity", epilog=ending("`workbench fidelity --json reports/fidelity.json`"))
def fidelity_command(
    scenarios: Annotated[list[Path] | None, typer.Argument(help="Scenarios; by default data/fidelity.")] = None,
    repeats: Repeats = 5,
    replications: Replications = 20,
    calibration_file: CalibrationFile = None,
    histories: Annotated[
        Path | None, typer.Option(help="Keep the live histories in this directory, as Parquet.", metavar="DIRECTORY")
    ] = None,
    url: Url = None,
    json_file: Json = None,
) -> None:
    """Predict many scenarios from one calibration, run them all, and say how many of them were predicted well.

    The shipped ones take about half an hour. `workbench report` shows the JSON where it finds it.
    """
    from sim.cli.conclusion import conclude_fidelity
    from sim.cli.predicting import calibrated
    from sim.cli.shipped import shipped
    from sim.declare.scenario import Scenario
    from sim.environment import about_json
    from sim.infer.fidelity import fidelity, fidelity_json
    from sim.show.console import print_fidelity, progress
    from sim.worlds.live import server_at

    files = scenarios or sorted((shipped() / "data/fidelity").glob("*.yaml"))
    keep_apart([*files, calibration_file], json_file)
    if histories is not None:
        _make(histories)
    declared = [Scenario.load(file, sample_if_missing=True) for file in files]
    with server_at(url) as address:
        calibration = calibrated(calibration_file, address)
        with progress(f"predicting {len(declared)} scenarios, then running them") as advance:
            trying = fidelity(
                declared,
                calibration=calibration,
                repeats=repeats,
                replications=replications,
                url=address,
                progress=advance,
            )
            found = asyncio.run(trying)
    if histories is not None:
        for one in found.comparisons:
            one.live.save(histories / f"{one.live.scenario.name}.parquet")
    write_json(json_file, about_json() | fidelity_json(found))
    print_fidelity(found)
    conclude_fidelity(found)


def _make(directory: Path) -> None:
    """Make a directory before half an hour is spent on what it is to hold.

    Raises:
        typer.BadParameter: it cannot be made.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise typer.BadParameter(f"--histories: {directory} cannot be made ({error.strerror}); name another") from error
