"""The files of this repository, also where there is no git: in a ZIP of it, or in a copy without its history."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

TOP = Path(__file__).parents[1]


def paths(top: Path = TOP) -> Iterator[str]:
    """Every file, committed or about to be, by its path from the top: all that .gitignore does not name."""
    rules = [line.strip() for line in (top / ".gitignore").read_text("utf-8").splitlines()]
    patterns = [rule for rule in rules if rule and not rule.startswith("#")]
    for folder, folders, names in os.walk(top):
        inside = PurePosixPath(Path(folder).relative_to(top).as_posix())
        folders[:] = [name for name in folders if name != ".git" and not _ignored(f"{inside / name}/", patterns)]
        kept = [name for name in names if name != ".git" and not _ignored(str(inside / name), patterns)]
        yield from (str(inside / name) for name in kept)


def _ignored(path: str, patterns: list[str]) -> bool:
    """Does a pattern name this path? A folder's path ends in a slash, and so does a pattern for folders alone."""
    return any(_names(pattern, path) for pattern in patterns)


def _names(pattern: str, path: str) -> bool:
    if pattern.endswith("/") and not path.endswith("/"):
        return False
    own, named = PurePosixPath(path), PurePosixPath(pattern.removeprefix("/"))
    anywhere = "/" not in pattern.rstrip("/")
    return own.match(str(named)) and (anywhere or len(own.parts) == len(named.parts))
