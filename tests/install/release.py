"""Is this ready to be released? Builds wheel and sdist, and tries both as a user would, away from this repository.

usage: python -m tests.install.release [PYTHON ...]

Each PYTHON (python3.11 to python3.14 by default, those that are there) gets a fresh environment with the wheel, and the
last one another with the sdist. There the versions are compared, README's first program is run, a folder is begun with
`workbench init`, its scenario is simulated and run for real, and some claims are measured.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.repository import TOP, paths

PYTHONS = tuple(f"python3.{minor}" for minor in range(11, 15))
_README = (TOP / "README.md").read_text(encoding="utf-8")


class NotReady(Exception):
    """A step failed; the message has its output."""


def told(text: str) -> None:
    """Say how far it is."""
    sys.stderr.write(f"{text}\n")


def run(command: Sequence[str | Path], folder: Path, *, statuses: Sequence[int] = (0,)) -> str:
    """What a command prints, run in a folder without this repository's variables.

    Raises:
        NotReady: it ended with another status.
    """
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV", "REDIS_URL")}
    done = subprocess.run(command, cwd=folder, env=kept, capture_output=True, text=True, check=False)
    if done.returncode not in statuses:
        shown = " ".join(map(str, command))[:200]
        raise NotReady(f"{shown}\nended with {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.stdout


def starts(python: str) -> bool:
    """Is it there, and does it start? What pyenv puts on the PATH for a version may start none."""
    if shutil.which(python) is None:
        return False
    return subprocess.run([python, "--version"], capture_output=True, check=False).returncode == 0


def built(folder: Path) -> tuple[Path, Path]:
    """The wheel and the sdist, built from a copy: setuptools writes into the folder that it builds."""
    copy, dist = folder / "sources", folder / "dist"
    for name in paths():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(TOP / name, copy / name)
    run([sys.executable, "-m", "build", "--outdir", dist, copy], folder)
    return next(dist.glob("*.whl")), next(dist.glob("*.tar.gz"))


def installed(python: str, archive: Path, folder: Path) -> Path:
    """The programs of a fresh environment that has the archive, at the versions of constraints.txt."""
    run([python, "-m", "venv", folder], TOP)
    # Bytecode is compiled for what is imported, which is a small part of what is installed.
    pip: list[str | Path] = [folder / "bin/python", "-m", "pip", "install", "--quiet", "--no-compile"]
    run([*pip, "-c", TOP / "constraints.txt", f"{archive}[workbench]"], TOP)
    return folder / "bin"


def tried(programs: Path, folder: Path) -> Iterator[str]:
    """Use what is installed. Yields what was found, step by step.

    Raises:
        NotReady: something is not as README, metadata or commands say.
    """
    folder.mkdir()
    version = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    versions = run(
        [programs / "python", "-c", "import eventlib, sim; print(eventlib.__version__, sim.__version__)"], folder
    )
    said = f"{versions.split()} {run([programs / 'workbench', '--version'], folder).split()}"
    if said.count(f"'{version}'") != 3:
        raise NotReady(f"pyproject.toml says {version}, and what is installed {said}")
    yield f"its version is {version}"
    program, printed = (re.findall(rf"```{of}\n(.*?)```", _README, re.DOTALL)[0] for of in ("python", "text"))
    if run([programs / "python", "-c", program], folder) != printed:
        raise NotReady("README's first program does not print what README says")
    yield "README's first program runs"
    run([programs / "workbench", "init", "mine"], folder)
    run([programs / "workbench", "simulate", "scenario.yaml", "--seeds", "3"], folder / "mine")
    run(
        [programs / "workbench", "live", "scenario.yaml", "--seeds", "1", "--repeats", "1"],
        folder / "mine",
        statuses=(0, 3),
    )
    yield "a folder is begun, and its scenario runs in both worlds"
    said = run([programs / "workbench", "claims", "--only", "schemas,patterns"], folder)
    yield said.strip().splitlines()[-1]


def main(pythons: Sequence[str]) -> int:
    """Check all of it; 0 if it is ready."""
    there = [python for python in pythons if starts(python)]
    if not there:
        told(f"not ready: of {', '.join(pythons)} none starts; install one, or name its path")
        return 1
    with tempfile.TemporaryDirectory(prefix="workbench-release-") as name:
        folder = Path(name)
        try:
            told("building wheel and sdist")
            wheel, sdist = built(folder)
            told(f"{wheel.name} and {sdist.name}; of {', '.join(pythons)} there are {', '.join(there)}")
            for number, (python, archive) in enumerate([*((each, wheel) for each in there), (there[-1], sdist)]):
                told(f"{python} with {archive.name}")
                programs = installed(python, archive, folder / f"environment-{number}")
                for step in tried(programs, folder / f"work-{number}"):
                    told(f"  {step}")
        except (NotReady, IndexError) as problem:
            told(f"not ready: {problem}")
            return 1
    told("ready to be released")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or PYTHONS))
