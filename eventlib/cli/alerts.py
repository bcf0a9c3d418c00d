"""workbench alerts: alert rules for Prometheus, and the runbook that they name."""

from typing import Annotated, Any

import typer

from eventlib.cli.console import Json, ending, write_json, write_text
from eventlib.cli.looking import Set, thresholds_from
from eventlib.operate.alerts import rules
from eventlib.operate.runbook import runbook

app = typer.Typer()
RUNBOOK = "docs/runbook.md"
_HEAD = (
    "# Made by `workbench alerts`. Thresholds are set there: `workbench alerts --set oldest_age_s=30 > rules.yml`.\n"
)


@app.command("alerts", epilog=ending("`workbench alerts --set oldest_age_s=30 > rules.yml`"))
def alerts_command(
    given: Set = None,
    runbook_url: Annotated[str, typer.Option(help="Where the runbook is; alerts link to its sections.")] = RUNBOOK,
    as_runbook: Annotated[
        bool, typer.Option("--runbook", help="Print the runbook instead: what each alert means, and its mend.")
    ] = False,
    json_file: Json = None,
) -> None:
    """Print alert rules for Prometheus, made from thresholds, or the runbook.

    They ask the metrics of programs and those of `workbench exporter`. Check them with `promtool check rules`.
    """
    thresholds = thresholds_from(given)
    made = rules(thresholds, runbook_url)
    write_json(json_file, made)
    write_text(runbook(thresholds) if as_runbook else as_yaml(made), json_file)


def as_yaml(made: dict[str, Any]) -> str:
    """The rules as the text of a file. Text of several lines is written as such."""
    import yaml  # when it is needed: the help appears without it

    class Dumper(yaml.SafeDumper):
        """A dumper of its own, so that others stay as they are."""

    def represent(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)

    Dumper.add_representer(str, represent)
    return _HEAD + yaml.dump(made, Dumper=Dumper, sort_keys=False, width=116, allow_unicode=True)
