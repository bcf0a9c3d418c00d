"""workbench predict: what live runs of a scenario will measure, written down before they run."""

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from eventlib.cli.console import Json, ending, keep_and_show, writable, write_json
from eventlib.cli.terminal import out
from sim.cli.options import (
    CalibrationFile,
    Expect,
    Junit,
    Learned,
    LiveSeeds,
    Markdown,
    Replications,
    Sample,
    ScenarioFile,
    Url,
)

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
    expect: Expect = None,
    junit: Junit = None,
    markdown: Markdown = None,
) -> None:
    """Predict what live runs of a scenario will measure: numbers, intervals and their SHA-256.

    `workbench compare --prediction FILE` runs the scenario live and judges what was predicted.
    """
    from sim.cli.conclusion import end
    from sim.cli.expecting import Expected
    from sim.cli.predicting import declared_in, predicted
    from sim.environment import about_json
    from sim.evidence.expectations import judged_json
    from sim.infer.judging import judge_prediction
    from sim.show.console import print_judged, print_prediction
    from sim.worlds.live import server_at

    outputs = (json_file, target, junit, markdown)
    declared = declared_in(scenario, (calibration_file,), *outputs, learned=learned, sample_if_missing=sample)
    expected = Expected.of(declared, expect, junit, markdown)
    with server_at(url) as address:
        found = predicted(
            declared,
            range(live_seeds),
            replications=replications,
            calibration=calibration_file,
            learned=learned,
            url=address,
        )
    judged = judge_prediction(expected.expectations, found)
    told = {"prediction": found.json(), "expectations": judged_json(judged)}
    keep_and_show(
        lambda: print_prediction(found),
        lambda: found.save(target) if target is not None else None,
        lambda: write_json(json_file, about_json() | told),
        lambda: expected.write(f"{declared.name}, predicted", judged),
    )
    if target is not None:
        out.tell(f"The prediction is in {target}. Judge it: workbench compare --prediction {quote(str(target))}")
    if judged:
        print_judged(judged)
        end((), judged=judged)
