"""docs/how-many-consumers.md: the file is the shipped one, and the command gives the answer that it shows."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from sim.cli.commands import app
from sim.declare.scenario import Scenario
from sim.declare.varying import with_fields
from sim.evidence.metrics import measure
from sim.worlds.simulated import simulate
from tests.repository import TOP

SHIPPED = Path("data/scenarios/how-many-consumers.yaml")
PAGE = (TOP / "docs/how-many-consumers.md").read_text(encoding="utf-8")


def test_the_file_is_the_one_that_is_shipped() -> None:
    [shown] = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    shipped = (TOP / SHIPPED).read_text(encoding="utf-8")
    assert yaml.safe_load(shown) == yaml.safe_load(shipped)


def test_the_answer_is_the_one_that_is_shown() -> None:
    """By the page's own scenario, with fewer seeds: the numbers differ a little, the answer does not."""
    [shown] = re.findall(r"```text\n(\d+) consumers of drafter keep lag_s_p99 < 500 ms", PAGE)
    scenario = Scenario.load(TOP / SHIPPED)
    for consumers, holds in ((int(shown), True), (int(shown) - 1, False)):
        up = with_fields(scenario, {"services.drafter.consumers": consumers - 1})  # one of them is down
        assert (measure(simulate(up, range(3)))["lag_s_p99"].mean() < 0.5) == holds


def test_the_command_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The page's own, for a tenth of the time: there, other values may be enough."""
    declared = yaml.safe_load((TOP / SHIPPED).read_text(encoding="utf-8"))
    times = (declared["load"], "at_s for_s duration_s"), (declared["faults"][0], "at_s back_after_s")
    for timed, names in (*times, (declared["services"]["drafter"], "lease_s")):
        timed |= {name: timed[name] / 10 for name in names.split()}
    (tmp_path / SHIPPED.parent).mkdir(parents=True)
    (tmp_path / SHIPPED).write_text(yaml.safe_dump(declared), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    [command] = re.findall(r"^    workbench (plan .*)$", PAGE, re.MULTILINE)
    done = CliRunner().invoke(app, [*shlex.split(command), "--seeds", "3", "--workers", "1"])
    assert done.exit_code == 0, done.output
    [answer, below] = [line for line in done.stdout.splitlines() if " consumers of drafter " in line][:2]
    assert re.match(r"\d+ consumers of drafter keep lag_s_p99 < 500 ms, at .* with 1 of them down", answer)
    assert re.match(r"\d+ consumers of drafter do not: lag_s_p99 < 500 ms fails", below)
