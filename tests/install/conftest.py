"""The wheel of this project, and a new virtual environment that has the wheel with what it cannot do without.

pip finds the packages as it does for `make`: in its index, at the versions of constraints.txt.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "workbench.py", "eventlib", "sim", "data", "examples", "notebooks")


@dataclass(frozen=True)
class Environment:
    """A virtual environment, and the folder that its programs are run in."""

    directory: Path

    def run(self, program: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run one of its programs, away from this repository and from what other environments are told."""
        return subprocess.run(
            [self.directory / "bin" / program, *arguments],
            cwd=self.directory,
            env={**_plain_variables(), **variables},
            capture_output=True,
            text=True,
            check=False,
        )

    def python(self, program: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a Python program that is given as text."""
        return self.run("python", "-c", program, **variables)

    def pip(self, *arguments: str) -> str:
        """What the pip that runs these tests prints when it works on this environment, which has none of its own."""
        command = [sys.executable, "-m", "pip", "--python", str(self.directory), *arguments]
        done = subprocess.run(
            command, cwd=self.directory, env=_plain_variables(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"pip {' '.join(arguments)}\n{done.stderr}"
        return done.stdout


def _plain_variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "REDIS_URL", "COLUMNS"}}


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """A virtual environment with nothing in it."""
    directory = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", directory], check=True)
    return Environment(directory)


@pytest.fixture(scope="session")
def wheel(empty: Environment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: setuptools writes into the folder that it builds."""
    copy, built = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        source = TOP / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy)
    empty.pip("wheel", "--no-deps", "--wheel-dir", str(built), str(copy))
    [wheel] = built.glob("*.whl")
    return wheel


@pytest.fixture(scope="session")
def library(empty: Environment, wheel: Path) -> Environment:
    """A virtual environment with the library alone, as `pip install event-workbench` makes it."""
    empty.pip("install", "--constraint", str(TOP / "constraints.txt"), str(wheel))
    return empty
