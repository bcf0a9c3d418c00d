"""Scenarios and notebooks come with the package: `report` and `lab` work in any folder."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sim.cli.commands import app
from sim.cli.shipped import copy_to_work_in, in_clone, shipped
from tests.install.conftest import Environment
from tests.repository import TOP

LOCATE = "from sim.cli.shipped import in_clone, shipped; print(in_clone(), shipped())"
SHIPPED = {
    "data/scenarios/quickstart.yaml",
    "data/sample/llm-trace-sample.csv",
    "notebooks/01_quickstart.ipynb",
    "examples/own_service/shop.yaml",
}


def test_an_installation_finds_them(library: Environment) -> None:
    done = library.python(LOCATE)
    told, _, folder = done.stdout.strip().partition(" ")
    assert told == "False", done.stderr
    assert Path(folder).is_relative_to(library.directory.resolve())
    assert all((Path(folder) / name).is_file() for name in SHIPPED)


def test_pip_target_finds_them(library: Environment, wheel: Path, tmp_path: Path) -> None:
    library.pip("install", "--no-deps", "--target", str(tmp_path), str(wheel))
    assert library.python(LOCATE, PYTHONPATH=str(tmp_path)).stdout.split() == [
        "False",
        str(tmp_path / "share/event-workbench"),
    ]


def test_a_clone_has_its_own() -> None:
    assert in_clone() and shipped() == TOP


def test_a_copy_keeps_what_the_user_changed(tmp_path: Path) -> None:
    changed = tmp_path / "mine" / "notebooks" / "01_quickstart.ipynb"
    changed.parent.mkdir(parents=True)
    changed.write_text("mine")
    assert copy_to_work_in(tmp_path / "mine") == changed.parent
    assert changed.read_text() == "mine"
    assert all((tmp_path / "mine" / name).is_file() for name in SHIPPED)


class Reached(Exception):
    """The command has read its scenarios."""


def test_report_reads_the_shipped_scenarios_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def validate(scenarios: Any, **settings: Any) -> None:
        raise Reached([scenario.name for scenario in scenarios])

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sim.infer.validate.validate", validate)
    result = CliRunner().invoke(app, ["report", "--full", "--sample-if-missing", "--url", "redis://127.0.0.1:1"])
    assert isinstance(result.exception, Reached), result.output
    assert result.exception.args == (
        ["quickstart", "llm-trace", "fan-out", "priorities", "tenants", "request-reply", "saga"],
    )
