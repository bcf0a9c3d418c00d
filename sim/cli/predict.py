"""workbench predict: what live runs of a scenario will measure, written down before they run."""

from pathlib import Path
from typing import Annotated

import typer

from eventlib.cli.console import Json, ending, keep_apart, writable, write_json
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
    from sim.cli.calibrating import calibrated
    from sim.cli.learning import learned_target, with_own_handlers
    from sim.declare.scenario import Scenario
    from sim.environment import about_json
    from sim.infer.predict import predict
    from sim.show.console import print_prediction, progress
    from sim.worlds.live import server_at

    declared = Scenario.load(scenario, sample_if_missing=sample)
    keep_apart([scenario, calibration_file, *declared.files], json_file, target, learned_target(learned))
    with server_at(url) as address:
        declared = with_own_handlers(declared, learned, address)
        calibration = calibrated(calibration_file, address)
    with progress(f"simulating {declared.name}") as advance:
        found = predict(
            declared, range(live_seeds), calibration=calibration, replications=replications, progress=advance
        )
    if target is not None:
        found.save(target)
    write_json(json_file, about_json() | {"prediction": found.json()})
    print_prediction(found)
    if target is not None:
        out.tell(f"The prediction is in {target}. Judge it: workbench compare --prediction {target}")
