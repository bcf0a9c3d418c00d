"""The lowest version of every direct dependency, as pyproject.toml allows it, for pip's --constraint.

usage: python -m tests.install.lowest
"""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[2] / "pyproject.toml"
_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(?:\[[^]]*\])?(?:>=(?P<lowest>[\w.!]+))?[^;]*(?P<marker>;.*)?")
_SEPARATE = {"bench"}  # `make bench` installs these, and measures with the versions of constraints.txt alone


def lowest(project: dict[str, Any]) -> Iterator[str]:
    """A line `name==version` for each requirement, with its marker.

    Raises:
        ValueError: a requirement has no lowest version.
    """
    groups = {"": project["dependencies"], **project["optional-dependencies"]}
    for group, requirements in groups.items():
        for requirement in requirements if group not in _SEPARATE else ():
            found = _REQUIREMENT.fullmatch(requirement)
            if found is None or not (found["lowest"] or found["name"] == project["name"]):
                raise ValueError(f"{requirement!r} has no lowest version; write name>=version")
            if found["lowest"]:
                yield f"{found['name']}=={found['lowest']}{found['marker'] or ''}"


if __name__ == "__main__":
    print("\n".join(lowest(tomllib.loads(PROJECT.read_text("utf-8"))["project"])))  # noqa: T201
