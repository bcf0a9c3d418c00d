"""workbench calibrate: what this machine adds to a scenario's own times."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from eventlib.cli import terminal
from eventlib.cli.console import Json, ending, keep_and_show, keep_apart, writable, write_json
from eventlib.cli.terminal import one_line
from sim.cli.options import Url

app = typer.Typer()


@app.command("calibrate", epilog=ending("`workbench calibrate --out calibration.json`"))
def calibrate_command(
    out: Annotated[Path, typer.Option(help="The calibration's file, JSON.", callback=writable)],
    full: Annotated[bool, typer.Option("--full", help="Measure five times as long: narrower intervals.")] = False,
    url: Url = None,
    json_file: Json = None,
) -> None:
    """Measure what this machine, server and library add to a scenario's own times.

    Three live runs, half a minute in all. What is predicted from the file holds for this machine, server and library.
    """
    from sim.environment import about_json
    from sim.infer.calibrate import calibrate
    from sim.show.console import print_calibration, progress

    keep_apart([], json_file, out)
    with progress("timing this machine") as advance:
        calibration, _ = asyncio.run(calibrate(full=full, url=url, progress=advance))
    told = about_json() | {"calibration": calibration.about(), "file": str(out)}
    keep_and_show(
        lambda: print_calibration(calibration),
        lambda: calibration.save(out),
        lambda: write_json(json_file, told),
    )
    terminal.out.tell(one_line(f"The calibration of {calibration.server} is {out}"))
