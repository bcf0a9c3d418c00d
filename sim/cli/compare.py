"""workbench compare: a scenario in both worlds."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from eventlib.cli.console import Json, ending, keep_apart, write_json
from sim.cli.options import LiveSeeds, Repeats, Sample, Seeds, Tolerance, Url

app = typer.Typer()


@app.command(
    "compare",
    epilog=ending(
        "`workbench compare data/scenarios/quickstart.yaml`, `workbench compare before.parquet after.parquet`"
    ),
)
def compare_command(
    scenario: Annotated[
        Path, typer.Argument(help="A scenario's YAML file; or the first of two kept histories.", metavar="SCENARIO")
    ],
    after: Annotated[
        Path | None, typer.Argument(help="The second history (`live --history FILE` keeps one).", metavar="AFTER")
    ] = None,
    seeds: Seeds = 30,
    live_seeds: LiveSeeds = 2,
    repeats: Repeats = 3,
    tolerance: Tolerance = 0.1,
    url: Url = None,
    json_file: Json = None,
    sample: Sample = False,
) -> None:
    """Run a scenario in both worlds and judge each prediction by a tolerance.

    With two kept histories, nothing runs: what moved from the first to the second beyond the noise is judged. Then
    status 1 is that something got worse, and 3 that too few runs show the noise.
    """
    if after is not None:
        _compare_kept(scenario, after, json_file)
        return
    from sim.cli.conclusion import conclude
    from sim.declare.scenario import Scenario
    from sim.environment import about_json
    from sim.infer.calibrate import calibrate
    from sim.infer.compare import compare, comparison_json
    from sim.show.console import print_comparison, progress
    from sim.worlds.live import run_live, server_at
    from sim.worlds.simulated import simulate

    declared = Scenario.load(scenario, sample_if_missing=sample)
    keep_apart([scenario, *declared.offered_load.files], json_file)
    with server_at(url) as address:
        with progress("timing this machine") as advance:
            calibration, _ = asyncio.run(calibrate(url=address, progress=advance))
        with progress(f"simulating {declared.name}") as advance:
            simulated = simulate(declared, range(max(seeds, live_seeds)), calibration=calibration, progress=advance)
        with progress(f"running {declared.name} live") as advance:
            live = asyncio.run(run_live(declared, range(live_seeds), repeats=repeats, url=address, progress=advance))
    with progress("checking") as advance:
        advance(0.0)
        result = compare(simulated, live, tolerance=tolerance)
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
