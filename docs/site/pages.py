"""Fills the pages of the reference when the site is built. What they say is read from the code, so it cannot be old.

A page names what it wants in a comment: `<!-- made: commands -->`.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

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


def filled(text: str) -> str:
    """The page with what its comments name.

    Raises:
        ExtensionError: a comment names nothing that is made.
    """

    def made(found: re.Match[str]) -> str:
        if found[1] not in MADE:
            raise ExtensionError(f"nothing is made for {found[0]}; there are {', '.join(MADE)}")
        return MADE[found[1]]()

    return _WANTED.sub(made, text)


def _fill(_: Sphinx, __: str, source: list[str]) -> None:
    source[0] = filled(source[0])


def _begin(app: Sphinx, error: Exception | None) -> None:
    """The site's address leads to its first page, which is in the folder of the documents."""
    if error is None and app.builder.format == "html":
        first = f"{app.config.root_doc}.html"
        text = f'<!doctype html><meta charset="utf-8"><title>{app.config.html_title}</title>'
        text += f'<meta http-equiv="refresh" content="0; url={first}"><a href="{first}">{app.config.html_title}</a>\n'
        Path(app.outdir, "index.html").write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Fill pages when they are read."""
    app.connect("source-read", _fill)
    app.connect("build-finished", _begin)
    return {"parallel_read_safe": True}
