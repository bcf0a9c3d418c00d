"""workbench compare: a scenario in both worlds."""

import asyncio

import typer

from eventlib.cli.console import Json, ending, keep_apart, write_json
from sim.cli.options import LiveSeeds, Repeats, Sample, ScenarioFile, Seeds, Tolerance, Url

app = typer.Typer()


@app.command("compare", epilog=ending("`workbench compare data/scenarios/quickstart.yaml --json compare.json`"))
def compare_command(
    scenario: ScenarioFile,
    seeds: Seeds = 30,
    live_seeds: LiveSeeds = 2,
    repeats: Repeats = 3,
    tolerance: Tolerance = 0.1,
    url: Url = None,
    json_file: Json = None,
    sample: Sample = False,
) -> None:
    """Run a scenario in both worlds and judge each prediction by a tolerance."""
    from sim.cli.conclusion import conclude
    from sim.declare.scenario import Scenario
    from sim.infer.calibrate import calibrate
    from sim.infer.compare import compare, comparison_json
    from sim.show.console import print_comparison, progress
    from sim.show.environment import about_json
    from sim.worlds.live import run_live, server_at
    from sim.worlds.simulated import simulate

    declared = Scenario.load(scenario, sample_if_missing=sample)
    keep_apart([scenario, *declared.files], json_file)
    with server_at(url) as address:
        with progress("timing this machine") as advance:
            overheads, _ = asyncio.run(calibrate(url=address, progress=advance))
        with progress(f"simulating {declared.name}") as advance:
            simulated = simulate(declared, range(max(seeds, live_seeds)), overheads=overheads, progress=advance)
        with progress(f"running {declared.name} live") as advance:
            live = asyncio.run(run_live(declared, range(live_seeds), repeats=repeats, url=address, progress=advance))
    with progress("checking") as advance:
        advance(0.0)
        result = compare(simulated, live, tolerance=tolerance)
    write_json(json_file, about_json() | comparison_json(result))
    print_comparison(result)
    conclude(live, result.checks, [result])
