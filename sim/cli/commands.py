"""The command line: workbench simulate | live | compare | report | lab | server, schemas and dlq."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.markup import escape
from rich.table import Table

from eventlib.cli.commands import add_library_commands
from eventlib.cli.console import FAILED, Json, out, writable, write_json
from eventlib.extras import require
from sim.declare.load import TraceLoad
from sim.declare.scenario import Scenario
from sim.evidence.checks import Check, check, passed
from sim.evidence.history import History
from sim.evidence.metrics import measure, of_seeds, summarize, unit_of
from sim.infer.calibrate import calibrate
from sim.infer.compare import Comparison, compare
from sim.infer.validate import validate
from sim.show.console import Commands, progress, steps, table_of
from sim.show.report import environment, render
from sim.worlds.live import run_live, server_at
from sim.worlds.simulated import simulate

app = typer.Typer(
    name="workbench",
    cls=Commands,
    help="Simulate an event-driven system, run it for real on Redis, and measure the difference.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

ScenarioFile = Annotated[Path, typer.Argument(help="A scenario's YAML file.", metavar="SCENARIO")]
Seeds = Annotated[int, typer.Option(help="How many seeds to simulate: 0, 1, ...", min=1, max=100_000)]
LiveSeeds = Annotated[int, typer.Option(help="How many seeds to run live: 0, 1, ...", min=1)]
Repeats = Annotated[int, typer.Option(help="Live runs of each seed; two or more show the noise floor.", min=1)]
Url = Annotated[str | None, typer.Option(help="Redis to use; without it REDIS_URL, or else a private one.")]
Keep = Annotated[
    Path | None, typer.Option("--history", help="Also write the history here, as Parquet.", callback=writable)
]
Sample = Annotated[bool, typer.Option("--sample-if-missing", help="Use the shipped sample where a trace is missing.")]
DEFAULT_SCENARIOS = (Path("data/scenarios/quickstart.yaml"), Path("data/scenarios/llm-trace.yaml"))


@app.command("simulate", epilog="Example: `workbench simulate data/scenarios/quickstart.yaml --seeds 30`")
def simulate_command(
    scenario: ScenarioFile, seeds: Seeds = 30, json_file: Json = None, history: Keep = None, sample: Sample = False
) -> None:
    """Run a scenario in virtual time.

    Exit status: 0 the system kept its promises, 1 a delivery check is false, 2 bad input.
    """
    declared = Scenario.load(scenario, sample_if_missing=sample)
    with progress(f"simulating {declared.name}") as tell:
        result = simulate(declared, range(seeds), progress=tell)
    _show_history(result, json_file, history)


@app.command("live", epilog="Example: `workbench live data/scenarios/quickstart.yaml --seeds 1 --repeats 1`")
def live_command(
    scenario: ScenarioFile,
    seeds: LiveSeeds = 2,
    repeats: Repeats = 2,
    url: Url = None,
    json_file: Json = None,
    history: Keep = None,
    sample: Sample = False,
) -> None:
    """Run a scenario for real: the library, a Redis, processes, SIGKILL.

    Exit status: 0 the system kept its promises, 1 a delivery check is false, 2 bad input or no server.
    """
    declared = Scenario.load(scenario, sample_if_missing=sample)
    with progress(f"running {declared.name} live") as tell:
        result = asyncio.run(run_live(declared, range(seeds), repeats=repeats, url=url, progress=tell))
    _show_history(result, json_file, history)


@app.command("compare", epilog="Example: `workbench compare data/scenarios/quickstart.yaml --json compare.json`")
def compare_command(
    scenario: ScenarioFile,
    seeds: Seeds = 30,
    live_seeds: LiveSeeds = 2,
    repeats: Repeats = 2,
    url: Url = None,
    json_file: Json = None,
    sample: Sample = False,
) -> None:
    """Run a scenario in both worlds and show each difference beside its noise floor.

    Exit status: 0 the system kept its promises, 1 a delivery check is false, 2 bad input or no server.
    """
    declared = Scenario.load(scenario, sample_if_missing=sample)
    with server_at(url) as address:
        with progress("timing this machine") as tell:
            overheads, _ = asyncio.run(calibrate(url=address, progress=tell))
        with progress(f"simulating {declared.name}") as tell:
            simulated = simulate(declared, range(max(seeds, live_seeds)), overheads=overheads, progress=tell)
        with progress(f"running {declared.name} live") as tell:
            live = asyncio.run(run_live(declared, range(live_seeds), repeats=repeats, url=address, progress=tell))
    result = compare(simulated, live)
    out.print(_comparison_table(result))
    _conclude(result.checks, json_file, comparison_json(result))


@app.command("report", epilog="Example: `workbench report --sample-if-missing --output reports/validation.html`")
def report_command(
    scenarios: Annotated[list[Path] | None, typer.Argument(help="Scenarios; the shipped ones by default.")] = None,
    output: Annotated[Path, typer.Option(help="The HTML file to write.")] = Path("reports/validation.html"),
    url: Url = None,
    json_file: Json = None,
    sample: Sample = False,
) -> None:
    """Run the scenarios in both worlds and write the validation report.

    Exit status: 0 the system kept its promises, 1 a delivery check is false, 2 bad input or no server.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    writable(output)
    declared = [Scenario.load(file, sample_if_missing=sample) for file in scenarios or DEFAULT_SCENARIOS]
    with server_at(url) as address, steps() as tell:
        result = asyncio.run(validate(declared, url=address, progress=tell))
    notes = [_SAMPLED.format(s.name) for s in declared if _is_sampled(s)]
    page = render(
        result.comparisons,
        result.claims,
        command=" ".join(("workbench", *sys.argv[1:])),
        notes=notes,
        environment=environment(result.server),
    )
    output.write_text(page, encoding="utf-8")
    for note in notes:
        out.print(f"Note: {note}.", soft_wrap=True)
    for comparison in result.comparisons:
        out.print(_comparison_table(comparison))
        _show_checks(comparison.checks)
    for claim in result.claims:
        out.print(f"{_MARK[claim.verdict]} {claim.claim}: {claim.measured}", soft_wrap=True, highlight=False)
    write_json(json_file, {c.live.scenario.name: comparison_json(c) for c in result.comparisons})
    out.print(f"The report is {output}", soft_wrap=True)
    if not all(passed(comparison.checks) for comparison in result.comparisons):
        raise typer.Exit(FAILED)


@app.command("lab", epilog="Example: `workbench lab --port 8899`")
def lab_command(
    url: Url = None,
    port: Annotated[int, typer.Option(help="Port of JupyterLab on this machine.", min=1, max=65535)] = 8888,
    browser: Annotated[bool, typer.Option(help="Open a browser.")] = True,
) -> None:
    """Open JupyterLab on the notebooks, with a Redis running."""
    require("jupyterlab", "lab", "workbench lab")
    with server_at(url) as address:
        command = [sys.executable, "-m", "jupyterlab", "notebooks", f"--port={port}", "--ip=127.0.0.1"]
        if not browser:
            command.append("--no-browser")
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            command.append("--allow-root")  # as in a container; it listens on this machine alone
        lab = subprocess.Popen(command, env=os.environ | {"REDIS_URL": address})
        try:
            status = lab.wait()
        finally:
            if lab.poll() is None:
                lab.terminate()
                lab.wait()
    raise typer.Exit(FAILED if status else 0)


add_library_commands(app)


# Showing


def _show_history(history: History, json_file: Path | None, history_file: Path | None) -> None:
    if history_file is not None:
        history.save(history_file)
    checks = check(history)
    table = table_of(
        f"{history.scenario.name}, {history.world}, runs: {len(history.runs)}", "mean", "95 % interval", "unit"
    )
    summaries = {name: summarize(of_seeds(history, values)) for name, values in measure(history).items()}
    for name, found in summaries.items():
        interval = f"{_number(found.low)} to {_number(found.high)}" if np.isfinite(found.low) else ""
        table.add_row(name, _number(found.mean), interval, unit_of(name))
    out.print(table)
    metrics = {
        name: {"mean": found.mean, "low": found.low, "high": found.high, "runs": found.runs, "unit": unit_of(name)}
        for name, found in summaries.items()
    }
    _conclude(checks, json_file, _about(history) | {"metrics": metrics, "checks": _checks_json(checks)})


def _comparison_table(comparison: Comparison) -> Table:
    name, runs = comparison.live.scenario.name, len(comparison.live.runs)
    title = f"{name} on {comparison.live.server}: both worlds on seeds {list(comparison.seeds)}, {runs} live runs"
    table = table_of(title, "simulated", "live", "error", "noise floor", "inside?")
    for row in comparison.rows:
        numbers = (row.simulated, row.live, row.error, row.noise_floor)
        inside = {True: "yes", False: "no", None: "-"}[row.within_noise]
        table.add_row(row.metric, *(_number(number) for number in numbers), inside)
    return table


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """The comparison for machines; null where there is no such number."""
    metrics = {
        row.metric: {
            "simulated": row.simulated,
            "live": row.live,
            "error": row.error,
            "noise_floor": row.noise_floor,
            "unit": row.unit,
        }
        for row in comparison.rows
    }
    about = _about(comparison.live) | {"seeds": list(comparison.seeds)}
    return about | {"metrics": metrics, "checks": _checks_json(comparison.checks)}


def _about(history: History) -> dict[str, Any]:
    product, _, version = history.server.partition(" ")
    seeds = sorted({run.seed for run in history.runs})
    return {
        "scenario": history.scenario.name,
        "world": history.world,
        "server": {"product": product, "version": version},
        "seeds": seeds,
    }


def _checks_json(checks: Sequence[Check]) -> dict[str, dict[str, str]]:
    return {check.name: {"verdict": check.verdict, "detail": check.detail} for check in checks}


def _conclude(checks: Sequence[Check], json_file: Path | None, result: Mapping[str, Any]) -> None:
    """Write the result, show the checks, and fail where one is false."""
    write_json(json_file, result)
    _show_checks(checks)
    if not passed(checks):
        raise typer.Exit(FAILED)


_MARK = {"true": "[green]true[/]   ", "false": "[bold red]false[/]  ", "unknown": "[yellow]unknown[/]"}


def _show_checks(checks: Sequence[Check]) -> None:
    for found in checks:
        out.print(f"{_MARK[found.verdict]} {found.claim}: {escape(found.detail)}", soft_wrap=True, highlight=False)


def _number(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"


_SAMPLED = "{} ran on the shipped sample, not on the real trace; data/README.md says how to fetch it"


def _is_sampled(scenario: Scenario) -> bool:
    load = scenario.offered_load
    return isinstance(load, TraceLoad) and load.file == load.sample
