"""workbench predict: what live runs of a scenario will measure, written down before they run."""

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from eventlib.cli.console import Json, ending, keep_and_show, writable, write_json
from eventlib.cli.terminal import out
from sim.cli.options import CalibrationFile, Learned, LiveSeeds, Replications, Sample, ScenarioFile, Url

app = typer.Typer()


@app.command("predict", epilog=ending("`workbench predict data/scenarios/quickstart.yaml --out prediction.json`"))
def predict_command(
    scenario: ScenarioFile,
    target: Annotated[
        Path | None, typer.Option("--out", help="Write the prediction here.", callback=writable, metavar="FILE")
    ] = None,
    live_seeds: LiveSeeds = 2,
    replications: Replications = 20,
    calibration_file: CalibrationFile = None,
    learned: Learned = None,
    url: Url = None,
    json_file: Json = None,
    sample: Sample = False,
) -> None:
    """Predict what live runs of a scenario will measure: numbers, intervals and their SHA-256.

    `workbench compare --prediction FILE` runs the scenario live and judges what was predicted.
    """
    from sim.cli.predicting import predicted
    from sim.environment import about_json
    from sim.show.console import print_prediction
    from sim.worlds.live import server_at

    with server_at(url) as address:
        found = predicted(
            scenario,
            json_file,
            target,
            seeds=range(live_seeds),
            replications=replications,
            calibration=calibration_file,
            learned=learned,
            url=address,
            sample_if_missing=sample,
        )
    keep_and_show(
        lambda: print_prediction(found),
        lambda: found.save(target) if target is not None else None,
        lambda: write_json(json_file, about_json() | {"prediction": found.json()}),
    )
    if target is not None:
        out.tell(f"The prediction is in {target}. Judge it: workbench compare --prediction {quote(str(target))}")
