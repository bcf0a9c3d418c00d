"""What can be made for a page of the reference, by the name that its comment gives: `<!-- made: commands -->`."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from docs.site import api, command_line, events, metrics, scenario_fields

MADE: dict[str, Callable[[], str]] = {
    "eventlib": api.library,
    "testing": api.testing,
    "sim": api.simulator,
    "errors": api.errors,
    "events": events.catalog,
    "commands": command_line.commands,
    "scenario": scenario_fields.fields,
    "metrics": metrics.of_program,
    "exporter": metrics.of_exporter,
}
_WANTED = re.compile(r"^<!-- made: (\S+) -->$", re.MULTILINE)
_LINK = re.compile(r"\[([^\]\[]+)\]\(([^)\s#:]+)\)")


def wanted(text: str) -> Iterator[str]:
    """What a page wants."""
    yield from _WANTED.findall(text)


def filled(text: str) -> str:
    """The page with what its comments want."""
    return _WANTED.sub(lambda found: MADE[found[1]](), text)


def without_folders(text: str, place: Path) -> str:
    """The text, where links to folders are their words alone: a clone shows a folder, a site cannot."""

    def words(found: re.Match[str]) -> str:
        return found[1] if (place / found[2]).is_dir() else found[0]

    return _LINK.sub(words, text)
