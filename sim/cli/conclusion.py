"""How a command ends: it writes its result for machines, shows the verdicts, and fails where one is false."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from eventlib.cli.console import FAILED, write_json
from sim.evidence.checks import Check, check, passed
from sim.evidence.export import history_json
from sim.evidence.history import History
from sim.evidence.metrics import summaries
from sim.show.console import print_checks, print_metrics


def conclude_history(history: History, json_file: Path | None, history_file: Path | None) -> None:
    """End a command that ran one world: write its history, and show its metrics.

    Raises:
        typer.Exit: a check is false.
    """
    if history_file is not None:
        history.save(history_file)
    checks, found = check(history), summaries(history)
    print_metrics(history, found)
    conclude(checks, json_file, history_json(history, found, checks))


def conclude(checks: Sequence[Check], json_file: Path | None, result: Mapping[str, Any]) -> None:
    """End a command: write its result and show its checks.

    Raises:
        typer.Exit: a check is false.
    """
    write_json(json_file, result)
    print_checks(checks)
    if not passed(checks):
        raise typer.Exit(FAILED)
