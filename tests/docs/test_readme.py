"""The README's examples, links and commands work."""

import asyncio
import contextlib
import io
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from typer.testing import CliRunner

from sim.calibration import Calibration
from sim.claims.registry import all_claims
from sim.cli.commands import COMMANDS, app
from sim.environment import machine, versions
from sim.worlds.live import product_at

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def run(*arguments: str) -> str:
    """What this Python prints. Fails with its last words if it fails."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def printed_by(program: str) -> str:
    """What an example prints, run here: what takes long is what it imports, and that is here."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(program, {"__name__": "example"})
    return printed.getvalue()


def test_the_examples_print_what_it_says() -> None:
    library, patterns, workbench = blocks("python")
    printed, _, done, *_, simulated, _ = blocks("text")
    assert run("-c", library) == printed
    assert printed_by(patterns) == done
    assert printed_by(workbench) == simulated


def test_a_comparison_has_the_rows_that_it_shows(tmp_path: Path, url: str) -> None:
    """Of the same scenario, in a third of its time, on a machine that is not timed first."""
    *_, shown = blocks("text")
    declared = yaml.safe_load((ROOT / "data/scenarios/quickstart.yaml").read_text(encoding="utf-8"))
    declared["load"]["duration_s"] /= 3
    for fault in declared["faults"]:
        fault["at_s"] /= 3
    (tmp_path / "short.yaml").write_text(yaml.safe_dump(declared))
    here: dict[str, Any] = {"server": asyncio.run(product_at(url)), "machine": machine(), "versions": versions()}
    replace(Calibration.constant(dispatch_s=0.001), **here).save(tmp_path / "here.json")
    few = (
        "--live-seeds",
        "1",
        "--repeats",
        "2",
        "--replications",
        "3",
        "--url",
        url,
        "--calibration",
        str(tmp_path / "here.json"),
    )
    done = CliRunner().invoke(app, ["compare", str(tmp_path / "short.yaml"), *few], env={"COLUMNS": "120"})
    assert done.exit_code in (0, 1, 3), done.output
    _, header, _, *rows = (line.split() for line in shown.splitlines())
    printed = [line.split() for line in done.stdout.splitlines()]
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
    named = set(re.findall(r"(?:`|bin/)workbench (\w+)", README))
    assert named
    for command in sorted(named):
        assert "Example" in CliRunner().invoke(app, [command, "--help"]).stdout


def test_every_command_is_named() -> None:
    named = set(re.findall(r"(?:`|bin/)workbench (\w+)", README))
    assert sorted(set(COMMANDS) - named) == []


def test_it_says_how_many_claims_are_measured() -> None:
    claims = all_claims()
    absent = sum(claim.how.startswith("Nothing is measured") for claim in claims)
    assert f"{len(claims) - absent} statements are measured, {absent} more are listed as not built" in README
    page = (ROOT / "docs/claims.md").read_text(encoding="utf-8")
    assert (
        f"{len(claims) - absent} are measured" in page and f"other {absent} are about parts that are not built" in page
    )
