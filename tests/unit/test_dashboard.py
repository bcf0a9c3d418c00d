"""The dashboard: the file is what the code makes, Grafana's own types read all of it, and each question is PromQL."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from typer.testing import CliRunner

from eventlib.cli.dashboard import as_text
from eventlib.operate.dashboard import dashboard
from eventlib.thresholds import Thresholds
from sim.cli.commands import app as workbench
from tests.promtool import needs_promtool, promtool
from tests.repository import TOP

MADE = dashboard(Thresholds())
PANELS = [panel for panel in MADE["panels"] if panel["type"] != "row"]


def test_the_file_is_what_the_code_makes() -> None:
    written = (TOP / "deploy" / "grafana" / "dashboard.json").read_text("utf-8")
    assert written == as_text(MADE), "workbench dashboard > deploy/grafana/dashboard.json"


def lost(ours: Any, read: Any, at: str = "") -> list[str]:
    """Where Grafana's types do not have what we wrote, or read another value."""
    if isinstance(ours, dict):
        return [each for key, value in ours.items() for each in lost(value, (read or {}).get(key), f"{at}.{key}")]
    if isinstance(ours, list):
        if not isinstance(read, list) or len(read) != len(ours):
            return [at]
        return [each for n, pair in enumerate(zip(ours, read, strict=True)) for each in lost(*pair, f"{at}[{n}]")]
    return [] if ours == read else [at]


@pytest.mark.parametrize("command", ["dashboard", "alerts"])
def test_json_for_machines_stands_alone_or_in_a_file_besides(command: str, tmp_path: Path) -> None:
    alone = CliRunner().invoke(workbench, [command, "--json", "-"])
    assert json.loads(alone.stdout)
    besides = CliRunner().invoke(workbench, [command, "--json", str(tmp_path / "made.json")])
    assert besides.stdout == CliRunner().invoke(workbench, [command]).stdout != ""
    assert json.loads((tmp_path / "made.json").read_text()) == json.loads(alone.stdout)


def test_grafanas_own_types_read_all_of_it() -> None:
    register_default_plugins()
    read = json.loads(json.dumps(Dashboard.from_json(json.loads(as_text(MADE))), cls=JSONEncoder))
    assert lost(MADE, read) == []
    wrong = {**MADE, "panels": [{**MADE["panels"][1], "fieldConfig": {"defaults": {"units": "s"}, "overrides": []}}]}
    read = json.loads(json.dumps(Dashboard.from_json(wrong), cls=JSONEncoder))
    assert lost(wrong, read) == [".panels[0].fieldConfig.defaults.units"]  # a field that Grafana does not have


def test_panels_do_not_overlap_and_have_ids_of_their_own() -> None:
    assert len({panel["id"] for panel in MADE["panels"]}) == len(MADE["panels"])
    for one, other in itertools.combinations([panel["gridPos"] for panel in MADE["panels"]], 2):
        apart_x = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart_y = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart_x or apart_y, (one, other)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in MADE["panels"])


def test_thresholds_are_lines() -> None:
    given = dashboard(Thresholds(oldest_age_s=7.0, dead_letters=4))
    lines = {
        (panel["title"], panel["type"]): panel["fieldConfig"]["defaults"]["thresholds"]["steps"][-1]["value"]
        for panel in given["panels"]
        if panel["type"] != "row"
    }
    assert lines["Oldest event", "timeseries"] == 7.0 and lines["Dead letters", "stat"] == 5


@needs_promtool
def test_every_question_is_promql(tmp_path: Path) -> None:
    rules = [
        {"record": f"q:{number}", "expr": target["expr"].replace("$__rate_interval", "5m")}
        for number, target in enumerate(target for panel in PANELS for target in panel["targets"])
    ]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = promtool("check", "rules", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
