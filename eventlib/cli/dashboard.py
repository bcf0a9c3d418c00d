"""workbench dashboard: a dashboard for Grafana."""

import json

import typer

from eventlib.cli.console import Json, ending, write_json, write_text
from eventlib.cli.looking import Set, thresholds_from
from eventlib.operate.dashboard import dashboard

app = typer.Typer()


@app.command("dashboard", epilog=ending("`workbench dashboard > dashboard.json`, then import it into Grafana"))
def dashboard_command(given: Set = None, json_file: Json = None) -> None:
    """Print a dashboard for Grafana, with the thresholds as lines.

    It shows the metrics of programs and those of `workbench exporter`.
    """
    made = dashboard(thresholds_from(given))
    write_json(json_file, made)
    write_text(as_text(made), json_file)


def as_text(made: dict[str, object]) -> str:
    """The dashboard as the text of a file."""
    return json.dumps(made, indent=1) + "\n"
