"""How `workbench simulate --metrics-only` runs and ends. Options that need rows are refused."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

from eventlib.cli.console import keep_and_show, write_json
from sim.cli.conclusion import conclude
from sim.cli.expecting import Expected
from sim.declare.scenario import Scenario
from sim.environment import about_json
from sim.evidence.expectations import judge, judged_json
from sim.evidence.export import history_json
from sim.evidence.metrics import summarize
from sim.show.console import print_metrics, progress
from sim.worlds.simulated import simulate_metrics


def refuse_rows(needing_rows: Mapping[str, Any]) -> None:
    """Refuse options, by their names, that would write rows.

    Raises:
        typer.BadParameter: one of them was given.
    """
    for option, value in needing_rows.items():
        if value is not None:
            raise typer.BadParameter(
                f"it keeps no rows, and {option} needs them; leave one out", param_hint="--metrics-only"
            )


def simulate_and_conclude(scenario: Scenario, seeds: int, json_file: Path | None, expected: Expected) -> None:
    """Run the scenario without keeping rows, show its metrics, judge what is expected of them, and end the command.

    Raises:
        InvalidScenario, InvalidTrace: as `simulate_metrics` does.
        typer.Exit: as `conclude` does.
    """
    with progress(f"simulating {scenario.name}") as advance:
        found = simulate_metrics(scenario, range(seeds), progress=advance)
    history = found.without_rows()
    summed = {name: summarize(values, found.metrics.unhandled.get(name)) for name, values in found.metrics.items()}
    judged = judge(expected.expectations, found.metrics)
    told = history_json(history, summed, found.checks) | {
        "overloads": [asdict(overload) for overload in found.overloads],
        "expectations": judged_json(judged),
    }
    keep_and_show(
        lambda: print_metrics(history, summed),
        lambda: write_json(json_file, about_json() | told),
        lambda: expected.write(f"{scenario.name}, simulated", judged, found.checks, summed),
    )
    conclude(history, found.checks, judged=judged, overloaded=found.overloads)
