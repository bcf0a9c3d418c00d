"""workbench live: a scenario on a real Redis."""

import asyncio

import typer

from eventlib.cli.console import Json, ending, keep_apart
from sim.cli.options import Expect, HistoryFile, Junit, LiveSeeds, Markdown, Page, Repeats, Sample, ScenarioFile, Url

app = typer.Typer()


@app.command("live", epilog=ending("`workbench live data/scenarios/quickstart.yaml --seeds 1 --repeats 1`"))
def live_command(
    scenario: ScenarioFile,
    seeds: LiveSeeds = 2,
    repeats: Repeats = 2,
    url: Url = None,
    json_file: Json = None,
    history: HistoryFile = None,
    page: Page = None,
    sample: Sample = False,
    expect: Expect = None,
    junit: Junit = None,
    markdown: Markdown = None,
) -> None:
    """Run a scenario for real: the library, a Redis, processes, SIGKILL."""
    from sim.cli.conclusion import conclude_history
    from sim.cli.expecting import Expected
    from sim.declare.scenario import Scenario
    from sim.show.console import progress
    from sim.worlds.live import run_live

    declared = Scenario.load(scenario, sample_if_missing=sample)
    keep_apart([scenario, *declared.files], json_file, history, page, junit, markdown)
    expected = Expected.of(declared, expect, junit, markdown)
    with progress(f"running {declared.name} live") as advance:
        result = asyncio.run(run_live(declared, range(seeds), repeats=repeats, url=url, progress=advance))
    conclude_history(result, json_file, history, page, expected)
