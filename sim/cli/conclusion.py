"""How a command ends: it writes its result for machines, shows it, and fails where a verdict is false."""

from collections.abc import Sequence
from pathlib import Path

import typer

from eventlib.cli.console import FAILED, write_json
from sim.evidence.checks import Check, check, passed
from sim.evidence.export import history_json
from sim.evidence.history import History
from sim.evidence.metrics import summaries
from sim.show.console import print_checks, print_metrics, steps
from sim.show.environment import about_json


def conclude_history(history: History, json_file: Path | None, history_file: Path | None) -> None:
    """End a command that ran one world: write its history, and show its metrics.

    Raises:
        typer.Exit: a check is false.
    """
    with steps() as advance:
        advance("checking", 0.0)
        checks, found = check(history), summaries(history)
        if history_file is not None:
            advance(f"writing {history_file}", 0.0)
            history.save(history_file)
    write_json(json_file, about_json() | history_json(history, found, checks))
    print_metrics(history, found)
    conclude(checks)


def conclude(checks: Sequence[Check]) -> None:
    """End a command: show its checks.

    Raises:
        typer.Exit: a check is false.
    """
    print_checks(checks)
    if not passed(checks):
        raise typer.Exit(FAILED)
