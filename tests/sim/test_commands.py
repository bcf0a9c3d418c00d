"""The workbench's commands: they are listed at once, imported when they are called, and end with a status."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command
from typer.testing import CliRunner

from sim.cli.commands import COMMANDS, app
from sim.evidence.history import History

HEAVY = {"jinja2", "matplotlib", "numpy", "pandas", "pyarrow", "scipy", "simpy", "yaml"}
# The top-level modules that are imported when each of these commands has shown its help, one after the other.
IMPORTED = """
import sys
from typer.testing import CliRunner
from sim.cli.commands import app
for command in sys.argv[1:]:
    assert "Usage" in CliRunner().invoke(app, [*command.split(), "--help"]).stdout, command
    print(*{name.partition(".")[0] for name in sys.modules})
"""
SMALL: dict[str, Any] = {
    "name": "small",
    "load": {"kind": "constant", "event": "order.placed", "rate_per_s": 10, "duration_s": 1},
    "services": {"billing": {"consumes": "order.placed", "service_time": {"kind": "constant", "mean_s": 0.01}}},
}


def test_help_imports_nothing_heavy_and_the_list_of_commands_not_even_the_library() -> None:
    """In one new process, the list first. The first command that is too heavy is named."""
    commands = ["", *COMMANDS, "dlq list", "schemas check"]
    said = subprocess.check_output([sys.executable, "-c", IMPORTED, *commands], text=True)
    [of_the_list, *_] = imported = [set(line.split()) for line in said.splitlines()]
    assert "typer" in of_the_list and not of_the_list & {"eventlib", "redis"}
    assert [command for command, found in zip(commands, imported, strict=True) if found & HEAVY][:1] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_has_the_same_summary_as_a_commands_own_help(name: str) -> None:
    group: Any = get_command(app)
    context = group.make_context("workbench", [name])
    _, command, _ = group._running().resolve_command(context, [name])
    assert command.name == name
    assert command.help.partition("\n")[0] == COMMANDS[name].summary


def test_simulate_does_not_promise_to_learn() -> None:
    """It runs no handler, so a file that is not there is refused."""
    shown = " ".join(CliRunner().invoke(app, ["simulate", "--help"]).stdout.replace("│", " ").split())
    assert "No handler runs here" in shown and "it is written" not in shown


def test_a_report_on_two_scenarios_of_one_name_is_refused(tmp_path: Path) -> None:
    """The page could not tell them apart. The command refuses them before it runs anything."""
    files = [tmp_path / "one.yaml", tmp_path / "two.yaml"]
    for file in files:
        file.write_text(yaml.safe_dump(SMALL))
    result = CliRunner().invoke(app, ["report", *map(str, files), "--output", str(tmp_path / "page.html")])
    assert result.exit_code == 2
    assert f"{files[1]}: name: {files[0]} is called 'small' too" in result.output.replace("\n", "")


def test_a_misspelt_command_is_named() -> None:
    result = CliRunner().invoke(app, ["simulat"])
    assert result.exit_code == 2
    assert "No such command 'simulat'" in result.output and "'simulate'" in result.output


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run `workbench simulate` on a scenario, with files in a directory of the test's own."""
    monkeypatch.chdir(tmp_path)

    def simulate(scenario: dict[str, Any], *arguments: str) -> Any:
        Path("scenario.yaml").write_text(yaml.safe_dump(scenario))
        return CliRunner().invoke(app, ["simulate", "scenario.yaml", "--seeds", "3", *arguments])

    return simulate


def test_simulate_prints_and_writes_its_results(run: Any) -> None:
    result = run(SMALL, "--json", "out.json", "--history", "history.parquet")
    assert result.exit_code == 0
    assert "lag_s_p50" in result.output and "true    Nothing was handled that was never sent" in result.output
    told = json.loads(Path("out.json").read_text())
    assert (told["scenario"], told["world"], told["seeds"]) == ("small", "simulated", [0, 1, 2])
    lag = told["metrics"]["lag_s_p50"]
    assert (lag["unit"], lag["runs"]) == ("s", 3)
    assert [lag["mean"], lag["low"], lag["high"]] == pytest.approx([0.01] * 3)
    assert told["metrics"]["recovery_s"]["mean"] is None
    assert told["checks"]["lost"] == {"verdict": "true", "detail": "0 of 30"}
    assert len(History.open("history.parquet").runs) == 3


def test_what_was_never_handled_is_shown(run: Any) -> None:
    """One message of ten is handled in time; without the others the median would be a quarter of a second."""
    slow = {"billing": {"consumes": "order.placed", "service_time": {"kind": "constant", "mean_s": 0.7}}}
    result = run(SMALL | {"services": slow, "drain_s": 0.25}, "--json", "out.json")
    (shown,) = [line.split() for line in result.output.splitlines() if line.split()[:1] == ["lag_s_p95"]]
    assert shown == ["lag_s_p95", ">=", "1.25", "90", "%", "unhandled", "s"]
    told = json.loads(Path("out.json").read_text())["metrics"]["lag_s_p95"]
    assert (told["mean"], told["at_least"], told["unhandled"]) == pytest.approx((1.25, True, 0.9))


def test_a_run_that_is_not_drained_in_time_is_status_3(run: Any) -> None:
    """The service is too slow for its load, and a run ends before its backlog is worked off."""
    slow = {"billing": {"consumes": "order.placed", "service_time": {"kind": "constant", "mean_s": 5.0}}}
    result = run(SMALL | {"services": slow, "drain_s": 0.1}, "--json", "out.json")
    assert (result.exit_code, result.output.splitlines()[-1]) == (3, "Invalid run.")
    checks = json.loads(Path("out.json").read_text())["checks"]
    assert {name for name, found in checks.items() if found["verdict"] == "false"} == {"pending"}


def test_a_scenario_that_cannot_be_run_is_reported_in_one_line(run: Any) -> None:
    result = run(SMALL | {"services": {}})
    assert result.exit_code == 2
    assert result.output.startswith("error: scenario.yaml: services") and len(result.output.splitlines()) == 1
