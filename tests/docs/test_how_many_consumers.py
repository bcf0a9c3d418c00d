"""docs/how-many-consumers.md: the file is the shipped one, and the command gives the answer that it shows."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from sim.cli.commands import app

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/how-many-consumers.md").read_text(encoding="utf-8")


def test_the_file_is_the_one_that_is_shipped() -> None:
    [shown] = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    shipped = (ROOT / "data/scenarios/how-many-consumers.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(shown) == yaml.safe_load(shipped)


def test_the_command_gives_the_answer_that_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """With fewer seeds, and beside the answer alone: the numbers differ a little, the answer does not."""
    monkeypatch.chdir(ROOT)
    [command] = re.findall(r"^    workbench (plan .*)$", PAGE, re.MULTILINE)
    [shown] = re.findall(r"```text\n(\d+) consumers of drafter keep", PAGE)
    answer = int(shown)
    arguments = shlex.split(command.replace("=1..32", f"={answer - 1}..{answer}"))
    done = CliRunner().invoke(app, [*arguments, "--seeds", "3", "--workers", "1"])
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(f"{answer} consumers of drafter keep lag_s_p99 < 500 ms, at ")
    assert f"{answer - 1} consumers of drafter do not: lag_s_p99 < 500 ms fails" in done.stdout
