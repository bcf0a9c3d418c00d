"""workbench simulate: a scenario in virtual time."""

import typer

from eventlib.cli.console import Json, ending, keep_apart
from sim.cli.options import (
    Expect,
    HistoryFile,
    Junit,
    KnownLearned,
    Markdown,
    MetricsOnly,
    Page,
    Sample,
    ScenarioFile,
    Seeds,
)

app = typer.Typer()


@app.command("simulate", epilog=ending("`workbench simulate data/scenarios/quickstart.yaml --seeds 30`"))
def simulate_command(
    scenario: ScenarioFile,
    seeds: Seeds = 30,
    metrics_only: MetricsOnly = False,
    learned: KnownLearned = None,
    json_file: Json = None,
    history: HistoryFile = None,
    page: Page = None,
    sample: Sample = False,
    expect: Expect = None,
    junit: Junit = None,
    markdown: Markdown = None,
) -> None:
    """Run a scenario in virtual time."""
    from sim.cli.conclusion import conclude_history
    from sim.cli.expecting import Expected
    from sim.declare.scenario import Scenario
    from sim.show.console import progress
    from sim.worlds.simulated import simulate

    declared = Scenario.load(scenario, sample_if_missing=sample)
    keep_apart([scenario, learned, *declared.files], json_file, history, page, junit, markdown)
    expected = Expected.of(declared, expect, junit, markdown)
    if learned is not None:
        from sim.cli.learning import learned_from

        declared = learned_from(declared, learned)
    if metrics_only:
        from sim.cli.metrics_only import refuse_rows, simulate_and_conclude

        refuse_rows({"--history": history, "--html": page})
        simulate_and_conclude(declared, seeds, json_file, expected)
        return
    with progress(f"simulating {declared.name}") as advance:
        result = simulate(declared, range(seeds), progress=advance)
    conclude_history(result, json_file, history, page, expected)
