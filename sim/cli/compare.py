"""workbench compare: a scenario in both worlds, a prediction beside live runs, or two kept histories."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eventlib.cli.console import Json, ending, keep_apart, write_json
from sim.cli.options import CalibrationFile, Learned, LiveSeeds, Repeats, Replications, Sample, Tolerance, Url

if TYPE_CHECKING:  # the help appears without them
    from sim.declare.scenario import Scenario
    from sim.infer.prediction import Prediction

app = typer.Typer()

_EXAMPLES = (
    "`workbench compare data/scenarios/quickstart.yaml`, `workbench compare --prediction prediction.json`, "
    "`workbench compare before.parquet after.parquet`"
)


@app.command("compare", epilog=ending(_EXAMPLES))
def compare_command(
    scenario: Annotated[
        Path | None,
        typer.Argument(help="A scenario's YAML file; or the first of two kept histories.", metavar="SCENARIO"),
    ] = None,
    after: Annotated[
        Path | None, typer.Argument(help="The second history (`live --history FILE` keeps one).", metavar="AFTER")
    ] = None,
    prediction: Annotated[
        Path | None, typer.Option(help="Judge what `predict --out FILE` wrote. Its scenario and seeds run live.")
    ] = None,
    live_seeds: LiveSeeds = 2,
    replications: Replications = 20,
    repeats: Repeats = 5,
    tolerance: Tolerance = 0.1,
    calibration_file: CalibrationFile = None,
    learned: Learned = None,
    url: Url = None,
    json_file: Json = None,
    sample: Sample = False,
) -> None:
    """Predict a scenario, run it live, and judge each prediction by a tolerance.

    With two kept histories, nothing runs: what moved from the first to the second beyond the noise is judged. Then
    status 1 is that something got worse, and 3 that too few runs show the noise.
    """
    if after is not None:
        if prediction is not None or scenario is None:
            raise typer.BadParameter("two histories are compared with each other; leave --prediction out")
        _compare_kept(scenario, after, json_file)
    elif prediction is not None:
        _judge(prediction, scenario, repeats, tolerance, url, json_file, sample)
    elif scenario is not None:
        kept = (calibration_file, learned)
        _both_worlds(scenario, kept, live_seeds, replications, repeats, tolerance, url, json_file, sample)
    else:
        raise typer.BadParameter("nothing to compare; name a scenario, two histories, or a --prediction")


def _both_worlds(
    file: Path,
    kept: tuple[Path | None, Path | None],
    live_seeds: int,
    replications: int,
    repeats: int,
    tolerance: float,
    url: str | None,
    json_file: Path | None,
    sample: bool,
) -> None:
    """Time the machine, predict the scenario, run it live, and judge."""
    from sim.cli.calibrating import calibrated
    from sim.cli.learning import learned_target, with_own_handlers
    from sim.declare.scenario import Scenario
    from sim.infer.predict import predict
    from sim.show.console import progress
    from sim.worlds.live import server_at

    calibration_file, learned = kept
    declared = Scenario.load(file, sample_if_missing=sample)
    keep_apart([file, calibration_file, *declared.files], json_file, learned_target(learned))
    with server_at(url) as address:
        declared = with_own_handlers(declared, learned, address)
        calibration = calibrated(calibration_file, address)
        with progress(f"simulating {declared.name}") as advance:
            predicted = predict(
                declared, range(live_seeds), calibration=calibration, replications=replications, progress=advance
            )
        _run_and_judge(declared, predicted, repeats, tolerance, address, json_file)


def _judge(
    file: Path,
    scenario: Path | None,
    repeats: int,
    tolerance: float,
    url: str | None,
    json_file: Path | None,
    sample: bool,
) -> None:
    """Run what was predicted, and judge."""
    from sim.declare.scenario import Scenario
    from sim.infer.prediction import Prediction
    from sim.worlds.live import product_at, server_at

    predicted = Prediction.open(file)
    declared = predicted.scenario if scenario is None else Scenario.load(scenario, sample_if_missing=sample)
    predicted.check_is_of(declared)
    keep_apart([file, scenario, *declared.files], json_file)
    with server_at(url) as address:
        predicted.check_fits(asyncio.run(product_at(address)))
        _run_and_judge(declared, predicted, repeats, tolerance, address, json_file)


def _run_and_judge(
    declared: "Scenario", predicted: "Prediction", repeats: int, tolerance: float, url: str, json_file: Path | None
) -> None:
    """Run the seeds of a prediction live, show what was predicted beside it, and end with the verdict."""
    from sim.cli.conclusion import conclude
    from sim.environment import about_json
    from sim.infer.compare import compare, comparison_json
    from sim.show.console import print_comparison, progress
    from sim.worlds.live import run_live

    with progress(f"running {declared.name} live") as advance:
        live = asyncio.run(run_live(declared, predicted.seeds, repeats=repeats, url=url, progress=advance))
    with progress("checking") as advance:
        advance(0.0)
        result = compare(predicted, live, tolerance=tolerance)
    write_json(json_file, about_json() | comparison_json(result))
    print_comparison(result)
    conclude(live, result.checks, [result])


def _compare_kept(before: Path, after: Path, json_file: Path | None) -> None:
    """Put two kept histories side by side."""
    from sim.cli.conclusion import conclude_kept
    from sim.environment import about_json
    from sim.evidence.history import History
    from sim.infer.kept import compare_kept, kept_json
    from sim.show.console import print_kept, progress

    keep_apart([before, after], json_file)
    with progress("comparing") as advance:
        advance(0.0)
        found = compare_kept(History.open(before), History.open(after))
    write_json(json_file, about_json() | kept_json(found))
    print_kept(found)
    conclude_kept(found)
