"""workbench compare: a scenario in both worlds, a prediction beside live runs, or two kept histories."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eventlib.cli.console import Json, ending, keep_and_show, keep_apart, write_json
from sim.cli.options import (
    CalibrationFile,
    Expect,
    Junit,
    Learned,
    LiveSeeds,
    Markdown,
    Repeats,
    Replications,
    Sample,
    Tolerance,
    Url,
    refuse_given,
)

if TYPE_CHECKING:  # the help appears without them
    from sim.cli.expecting import Expected
    from sim.declare.scenario import Scenario
    from sim.infer.prediction import Prediction

app = typer.Typer()

_EXAMPLES = (
    "`workbench compare data/scenarios/quickstart.yaml`, `workbench compare --prediction prediction.json`, "
    "`workbench compare before.parquet after.parquet`"
)


_First = Annotated[
    Path | None, typer.Argument(help="A scenario's YAML file; or the first of two kept histories.", metavar="SCENARIO")
]
_After = Annotated[
    Path | None, typer.Argument(help="The second history (`live --history FILE` keeps one).", metavar="AFTER")
]
_Kept = Annotated[
    Path | None,
    typer.Option("--prediction", help="Judge what `predict --out FILE` wrote. Its scenario and seeds run live."),
]
# Parameters that say nothing where a prediction is kept already, and where nothing runs.
_OF_PREDICTION = ("live_seeds", "replications", "calibration_file", "learned")
_OF_RUNS = ("repeats", "tolerance", "url", "sample", "expect", "junit", "markdown")


@app.command("compare", epilog=ending(_EXAMPLES))
def compare_command(
    context: typer.Context,
    scenario: _First = None,
    after: _After = None,
    prediction: _Kept = None,
    live_seeds: LiveSeeds = 2,
    replications: Replications = 20,
    repeats: Repeats = 5,
    tolerance: Tolerance = 0.1,
    calibration_file: CalibrationFile = None,
    learned: Learned = None,
    url: Url = None,
    json_file: Json = None,
    sample: Sample = False,
    expect: Expect = None,
    junit: Junit = None,
    markdown: Markdown = None,
) -> None:
    """Predict a scenario, run it live, and judge each prediction by a tolerance.

    With two kept histories, nothing runs: what moved from the first to the second beyond the noise is judged. Then
    status 1 is that something got worse, and 3 that too few runs show the noise. What is expected is judged by the
    live runs.
    """
    from sim.cli.expecting import Expected
    from sim.cli.predicting import declared_in, predicted
    from sim.worlds.live import product_at, server_at

    if after is not None:
        if prediction is not None or scenario is None:
            raise typer.BadParameter("two histories are compared with each other; leave --prediction out")
        refuse_given(context, "two histories are compared as they were kept", *_OF_RUNS, *_OF_PREDICTION)
        _compare_kept(scenario, after, json_file)
        return
    if prediction is None and scenario is None:
        raise typer.BadParameter("nothing to compare; name a scenario, two histories, or a --prediction")
    outputs = (json_file, junit, markdown)
    if prediction is not None:
        refuse_given(context, "the prediction has its seeds, calibration and handlers", *_OF_PREDICTION)
        declared, made = _kept(prediction, scenario, *outputs, sample_if_missing=sample)
    elif scenario is not None:
        declared = declared_in(scenario, (calibration_file,), *outputs, learned=learned, sample_if_missing=sample)
        made = None
    expected = Expected.of(declared, expect, junit, markdown)
    with server_at(url) as address:
        if made is not None:
            made.check_fits(asyncio.run(product_at(address)))
        else:
            known = {"calibration": calibration_file, "learned": learned}
            made = predicted(declared, range(live_seeds), replications=replications, url=address, **known)
            declared = made.scenario
        _run_and_judge(declared, made, repeats, tolerance, address, json_file, expected)


def _kept(
    file: Path, scenario: Path | None, *outputs: Path | None, sample_if_missing: bool
) -> "tuple[Scenario, Prediction]":
    """A prediction that was kept, and the scenario that it is of: its own, or the one that is named.

    Raises:
        InvalidPrediction: it cannot be read, or it is of another scenario.
    """
    from sim.declare.scenario import Scenario
    from sim.infer.learned_file import learned_as
    from sim.infer.prediction import Prediction

    found = Prediction.open(file)
    declared = found.scenario
    if scenario is not None:
        declared = learned_as(Scenario.load(scenario, sample_if_missing=sample_if_missing), found.scenario)
    found.check_is_of(declared)
    keep_apart([file, scenario, *declared.files], *outputs)
    return declared, found


def _run_and_judge(
    declared: "Scenario",
    predicted: "Prediction",
    repeats: int,
    tolerance: float,
    url: str,
    json_file: Path | None,
    expected: "Expected",
) -> None:
    """Run the seeds of a prediction live, show what was predicted beside it, and end with the verdict."""
    from sim.cli.conclusion import conclude
    from sim.environment import about_json
    from sim.evidence.expectations import judge_history, judged_json
    from sim.infer.compare import compare, comparison_json
    from sim.infer.judging import judge_prediction
    from sim.show.console import print_comparison, print_judged, progress
    from sim.worlds.live import run_live

    with progress(f"running {declared.name} live") as advance:
        live = asyncio.run(run_live(declared, predicted.seeds, repeats=repeats, url=url, progress=advance))
    with progress("checking") as advance:
        advance(0.0)
        result = compare(predicted, live, tolerance=tolerance)
        judged = judge_history(expected.expectations, live)
        foretold = judge_prediction(expected.expectations, predicted)
    told = {"expectations": judged_json(judged), "predicted_expectations": judged_json(foretold)}
    intervals = {row.metric: row.live_interval for row in result.rows}
    keep_and_show(
        lambda: print_comparison(result),
        lambda: write_json(json_file, about_json() | comparison_json(result) | told),
        lambda: expected.write(f"{declared.name}, live", judged, result.checks, intervals),
    )
    print_judged(foretold, "predicted")
    conclude(live, result.checks, [result], judged)


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
    keep_and_show(lambda: print_kept(found), lambda: write_json(json_file, about_json() | kept_json(found)))
    conclude_kept(found)
