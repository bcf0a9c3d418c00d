"""The scenarios, the sample and the notebooks that come with the workbench: where they are, and a copy to work in.

In a clone they lie beside the packages. pip puts them below `share/event-workbench` of its environment, in the same
folders, so that a notebook finds its scenario in both.
"""

import shutil
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path

from sim.errors import SimError

_TOP = Path(__file__).parents[2]  # the clone, or the folder that pip installs packages into
_WITNESS = Path("data/scenarios/quickstart.yaml")


class NothingShipped(SimError):
    """The scenarios and notebooks were not installed with the packages."""


def in_clone() -> bool:
    """Do the packages run from a clone, where the notebooks are the user's to change?"""
    return (_TOP / _WITNESS).is_file()


def shipped() -> Path:
    """The folder with `data`, `examples` and `notebooks`.

    Raises:
        NothingShipped: an installation without them.
    """
    for top in (_TOP, _TOP / "share/event-workbench", *_installed()):  # the second one with `pip install --target`
        if (top / _WITNESS).is_file():
            return top
    problem = "its scenarios and notebooks are not installed; pip install 'event-workbench[lab]' brings them"
    raise NothingShipped("event-workbench", problem)


def copy_to_work_in(folder: Path) -> Path:
    """Copy all three into a folder; what is there already stays as it is. Returns the notebooks' folder.

    Raises:
        NothingShipped: an installation without them.
        OSError: the folder cannot be written.
    """
    top = shipped()
    for part in ("data", "examples", "notebooks"):
        for file in sorted(path for path in (top / part).rglob("*") if path.is_file()):
            copy = folder / file.relative_to(top)
            if not copy.exists():
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copy)
    return folder / "notebooks"


def _installed() -> Iterator[Path]:
    """Where pip noted that it put them."""
    for distribution in distributions(name="event-workbench"):
        for file in distribution.files or ():
            if file.as_posix().endswith(_WITNESS.as_posix()):
                yield Path(str(file.locate())).resolve().parents[len(_WITNESS.parts) - 1]
