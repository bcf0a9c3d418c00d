"""The README's examples, links and commands work."""

import os
import re
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import yaml
from typer.testing import CliRunner

from sim.cli.commands import app

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def run(*arguments: str, statuses: Collection[int] = (0,)) -> str:
    """What this Python prints. Fails with its last words if it ends with another status."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode in statuses, done.stderr
    return done.stdout


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_examples_print_what_it_says() -> None:
    library, patterns, workbench = blocks("python")
    printed, _, done, *_, simulated, _ = blocks("text")
    assert run("-c", library) == printed
    assert run("-c", patterns) == done
    assert run("-c", workbench) == simulated


def test_a_comparison_has_the_rows_that_it_shows(tmp_path: Path) -> None:
    """Of the same scenario, in a third of its time."""
    *_, shown = blocks("text")
    declared = yaml.safe_load((ROOT / "data/scenarios/quickstart.yaml").read_text(encoding="utf-8"))
    declared["load"]["duration_s"] /= 3
    for fault in declared["faults"]:
        fault["at_s"] /= 3
    (tmp_path / "short.yaml").write_text(yaml.safe_dump(declared))
    few = ("--live-seeds", "1", "--repeats", "2")
    compared = run("-m", "workbench", "compare", str(tmp_path / "short.yaml"), *few, statuses=(0, 1, 3))
    _, header, _, *rows = (line.split() for line in shown.splitlines())
    printed = [line.split() for line in compared.splitlines()]
    assert rows
    # Of one seed, there is no run of the seed before; of a short run, perhaps no steady state that a formula knows.
    always = set(header) - {"last", "run", "M/M/c"}
    assert any(always <= set(line) for line in printed)
    assert {row[0] for row in rows} <= {line[0] for line in printed if line}


def test_what_it_links_to_is_there() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_commands_it_names_exist() -> None:
    named = set(re.findall(r"bin/workbench (\w+)", README))
    assert named
    for command in sorted(named):
        assert "Example" in CliRunner().invoke(app, [command, "--help"]).stdout
