"""The schemas commands: exit 0 compatible, 1 something breaks, 2 bad input; never a traceback."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from sim.cli.commands import app

ONE = """
import eventlib as ev

class OrderPlaced(ev.Event, type="order.placed", version=1, stream="orders"):
    order_id: str
"""
ADDED = ONE + "    note: str = ''\n"
BROKEN = ONE + "    total_cents: int\n"
RENAMED = BROKEN.replace("total_cents", "cents")
RAISED = (
    BROKEN.replace("version=1", "version=2")
    + """
    @ev.upcast(1, example={"order_id": "A1"})
    def _free(data):
        return data | {"total_cents": 0}
"""
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with modules in it, as a user has one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, text in {"one": ONE, "added": ADDED, "broken": BROKEN, "raised": RAISED, "renamed": RENAMED}.items():
        (tmp_path / f"shop_{name}.py").write_text(text)
    return tmp_path


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(app, ["schemas", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_export_writes_what_check_reads(here: Path) -> None:
    result = run("export", "shop_one", "--output", "schemas", "--json", "out.json")
    assert result.exit_code == 0 and "1 event, 3 files" in result.output
    assert {file.name for file in (here / "schemas").iterdir()} == {
        "asyncapi.json",
        "order.placed.data.json",
        "order.placed.envelope.json",
    }
    assert json.loads((here / "out.json").read_text())["events"] == ["order.placed"]
    for old in ("schemas", "schemas/asyncapi.json", "shop_one"):
        result = run("check", old, "shop_one")
        assert result.exit_code == 0 and "No changes" in result.output


@pytest.mark.parametrize(
    ("old", "new", "status", "breaks"),
    [
        ("shop_one", "shop_added", 0, []),
        ("shop_added", "shop_one", 0, []),
        ("shop_one", "shop_broken", 1, ["writers"]),
        ("shop_broken", "shop_one", 1, ["readers"]),
        ("shop_one", "shop_raised", 1, ["readers"]),
        ("shop_raised", "shop_one", 1, ["writers"]),
        ("shop_renamed", "shop_broken", 1, ["readers", "writers"]),
    ],
)
@pytest.mark.usefixtures("here")
def test_check_says_what_breaks(old: str, new: str, status: int, breaks: list[str]) -> None:
    result = run("check", old, new, "--json", "out.json")
    told: dict[str, Any] = json.loads(Path("out.json").read_text())
    assert (result.exit_code, told["breaks"], told["compatible"]) == (status, breaks, not breaks)
    assert all({"event", "path", "rule", "breaks", "detail"} == change.keys() for change in told["changes"])
    assert "order.placed" in result.output


@pytest.mark.usefixtures("here")
def test_a_side_can_be_accepted() -> None:
    assert run("check", "shop_one", "shop_raised", "--accept", "readers").exit_code == 0
    assert run("check", "shop_one", "shop_broken", "--accept", "readers").exit_code == 1
    both = ("--accept", "readers", "--accept", "writers")
    assert run("check", "shop_renamed", "shop_broken", *both).exit_code == 0
    assert run("check", "shop_renamed", "shop_broken", *both[:2]).exit_code == 1


WRONG = {
    "raises": "raise RuntimeError('[no] connection')",
    "exits": "raise SystemExit(0)",
    "is no Python": "def (",
    "is declared wrong": ONE.replace("orders", "or:ders"),
    "holds no event": "x = 1",
    "holds two of one type": ONE + ONE.replace("class OrderPlaced", "class Other"),
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_a_module_that_cannot_be_used_is_bad_input(here: Path, text: str) -> None:
    name = f"shop_{abs(hash(text))}"
    (here / f"{name}.py").write_text(text)
    for arguments in (["export", name, "--output", "x"], ["check", "shop_one", name], ["check", name, "shop_one"]):
        result = run(*arguments)
        assert result.exit_code == 2 and "error:" in result.output and "Traceback" not in result.output
        assert not (here / "x").exists()


@pytest.mark.parametrize("old", ["nosuch", "no/such", "shop_one.py", "empty", "no such.module", "..", ""])
def test_a_path_that_is_neither_export_nor_module_is_bad_input(here: Path, old: str) -> None:
    (here / "empty").mkdir()
    result = run("check", old, "shop_one")
    assert result.exit_code == 2 and "error:" in result.output


def test_a_misspelt_module_and_a_broken_one_have_different_messages(here: Path) -> None:
    (here / "broken_shop.py").write_text("import no_such_library")
    assert "check its spelling" in run("check", "nosuch", "shop_one").output.replace("\n", " ")
    assert "no_such_library" in run("check", "broken_shop", "shop_one").output


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("command", [("check", "shop_one.py", "shop_one"), ("export", "shop_one.py", "--output", "x")])
def test_a_modules_file_is_refused_with_the_way_to_name_it(command: tuple[str, ...]) -> None:
    result = run(*command)
    assert result.exit_code == 2 and "name its module as `import` does" in " ".join(result.output.split())


@pytest.mark.usefixtures("here")
def test_an_unknown_side_is_bad_input() -> None:
    assert run("check", "shop_one", "shop_one", "--accept", "all").exit_code == 2


@pytest.mark.parametrize("command", ["export", "check"])
def test_help_gives_an_example(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0 and "Example" in result.output
