"""The wheel has everything that the packages need, and nothing else."""

import re
from pathlib import Path
from zipfile import ZipFile

from tests.repository import TOP, paths

NEEDED = (".py", ".lua", ".html", "py.typed")


def contents(wheel: Path) -> set[str]:
    with ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not re.match(r"[^/]*\.(dist-info|data)/", name)}


def shared(wheel: Path) -> set[str]:
    """What pip puts below share/event-workbench of the environment."""
    with ZipFile(wheel) as archive:
        found = (name.partition(".data/data/share/event-workbench/") for name in archive.namelist())
        return {inside for _, _, inside in found if inside}


def committed() -> set[str]:
    """The files of the two packages, and the module of the command, committed or about to be."""
    return {name for name in paths() if name.startswith(("eventlib/", "sim/")) or name == "workbench.py"}


def test_the_wheel_has_every_file_of_the_packages(wheel: Path) -> None:
    assert all(name.endswith(NEEDED) for name in committed()), "say in pyproject.toml's package-data what is new"
    assert contents(wheel) == committed()


def test_what_is_no_module_is_there(wheel: Path) -> None:
    there = contents(wheel)
    assert {"eventlib/py.typed", "sim/py.typed", "sim/show/report.html"} <= there
    scripts = {path.relative_to(TOP).as_posix() for path in (TOP / "eventlib/broker/scripts").glob("*.lua")}
    assert scripts and scripts <= there


def test_scenarios_sample_examples_and_notebooks_are_there(wheel: Path) -> None:
    wanted = {name for name in paths() if name.startswith(("data/", "notebooks/")) and not name.endswith(".py")}
    wanted |= {name for name in paths() if name.startswith("examples/")}
    assert {"data/scenarios/quickstart.yaml", "notebooks/01_quickstart.ipynb"} <= wanted
    assert shared(wheel) == wanted


def test_every_subpackage_is_there(wheel: Path) -> None:
    packages = {path.parent for package in ("eventlib", "sim") for path in (TOP / package).rglob("*.py")}
    assert {f"{package.relative_to(TOP).as_posix()}/__init__.py" for package in packages} <= contents(wheel)
