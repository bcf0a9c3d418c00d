"""workbench init writes a folder in which everything runs, and nothing over what is there."""

import json
import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

import eventlib
import sim
from sim.cli.commands import app

FILES = {"README.md", ".github/workflows/ci.yml", "first.ipynb", "scenario.yaml", "requirements.txt"}


def init(folder: Path, *options: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["init", str(folder), *options])
    return done.exit_code, done.output


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "deep" / "mine"
    status, told = init(folder, "--json", str(tmp_path / "told.json"))
    assert status == 0, told
    assert set(json.loads((tmp_path / "told.json").read_text())["files"]) == FILES
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def short(written: Path) -> Path:
    """The folder with a quarter of the load, so that its live runs are short."""
    scenario = written / "scenario.yaml"
    text = scenario.read_text()
    assert "duration_s: 4\n" in text and "at_s: 1.5," in text
    scenario.write_text(text.replace("duration_s: 4\n", "duration_s: 1\n").replace("at_s: 1.5,", "at_s: 0.4,"))
    return written


def test_it_writes_a_scenario_a_notebook_and_a_ci_job(written: Path) -> None:
    assert {file.relative_to(written).as_posix() for file in written.rglob("*") if file.is_file()} == FILES
    assert (written / "requirements.txt").read_text() == f"event-workbench[lab]=={sim.__version__}\n"
    assert sim.__version__ == eventlib.__version__


def test_what_the_ci_job_runs_holds(short: Path, url: str) -> None:
    steps = yaml.safe_load((short / ".github/workflows/ci.yml").read_text())["jobs"]["scenario"]["steps"]
    commands = [step["run"] for step in steps if step.get("run", "").startswith("workbench")]
    assert len(commands) == 2
    for command in commands:
        where = ["--url", url] if " live " in command else []
        # A simulated seed is a function of the scenario, so 3 of the 30 show as much. One live run has no interval.
        fewer = command.replace("--seeds 3 ", "--seeds 1 ").replace("--seeds 30", "--seeds 3")
        arguments = [*fewer.split()[1:], *where]
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == (3 if where else 0), f"{command}\n{done.output}"
        assert "fails" not in done.output and "false   Every" not in done.output
    assert {file.name for file in short.glob("*.xml")} == {"simulated.xml", "live.xml"}


def test_every_command_of_the_readme_is_one(written: Path) -> None:
    named = re.findall(r"^    workbench (\w+) scenario\.yaml", (written / "README.md").read_text(), re.MULTILINE)
    assert named == ["simulate", "live", "compare"]
    for name in named:
        assert CliRunner().invoke(app, [name, "--help"]).exit_code == 0


async def test_the_notebook_runs_from_top_to_bottom(short: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    cells = json.loads((short / "first.ipynb").read_text())["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    program = "\n".join(sources).replace("SEEDS = 10", "SEEDS = 1").replace("[1, 2, 3, 4]", "[1, 2]")
    body = "async def notebook():\n" + "".join(f"    {line}\n" for line in program.splitlines())
    cell: dict[str, object] = {}
    exec(compile(f"{body}    return comparison", "first.ipynb", "exec"), cell)
    comparison = await cell["notebook"]()  # type: ignore[operator]
    assert comparison["lag_s_p50"].live > 0


def test_a_folder_that_has_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    status, told = init(tmp_path)
    assert (status, "is not empty: it has mine.txt; name a new folder" in " ".join(told.split())) == (2, True)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    status, told = init(tmp_path / "file" / "below")
    assert (status, "cannot be written" in " ".join(told.split())) == (2, True)
