"""workbench fidelity: how good predictions are over many scenarios."""

import asyncio
import re
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from eventlib.cli.console import Json, ending, keep_and_show, keep_apart, writable, write_json
from eventlib.system_errors import with_mend
from sim.cli.options import CalibrationFile, Repeats, Replications, Url

app = typer.Typer()

_IN_NO_FILE = re.compile(r"[/\\\0]")  # what a file's name may not have


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
    declared = [Scenario.load(file, sample_if_missing=True) for file in files]
    for one in declared:
        one.check_size(max(repeats, replications))
    kept = [] if histories is None else _files(histories, [one.name for one in declared])
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
    keep_and_show(
        lambda: print_fidelity(found),
        lambda: write_json(json_file, about_json() | fidelity_json(found)),
        *(partial(one.live.save, file) for one, file in zip(found.comparisons, kept, strict=False)),
    )
    conclude_fidelity(found)


def _files(directory: Path, names: list[str]) -> list[Path]:
    """A file in a directory for each of these scenarios, tried before half an hour is spent on what they are to hold.

    Raises:
        typer.BadParameter: one cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise typer.BadParameter(f"--histories: {directory} cannot be made: {with_mend(error)}") from error
    files = [directory / f"{_IN_NO_FILE.sub('-', name)}.parquet" for name in names]
    for file in files:
        writable(file)
    keep_apart([], *files)
    return files
