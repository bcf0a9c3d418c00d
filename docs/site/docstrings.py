"""Docstrings are plain text: an indented block after an empty line is code. This tells Sphinx so."""

from typing import Any

from sphinx.application import Sphinx


def with_code_marked(lines: list[str]) -> list[str]:
    """The lines with a directive before each indented block that an empty line precedes."""
    marked, inside = list[str](), False
    for number, line in enumerate(lines):
        indented = line.startswith("    ")
        begins = indented and not inside and number > 0 and not lines[number - 1].strip()
        if begins and not _before(marked).endswith("::"):
            marked += [".. code-block:: python", ""]
        inside = begins or (inside and (indented or not line.strip()))
        marked.append(line)
    return marked


def _before(lines: list[str]) -> str:
    """The last line with text."""
    return next((line for line in reversed(lines) if line.strip()), "")


def _mark(_: Sphinx, __: str, ___: str, ____: object, _____: object, lines: list[str]) -> None:
    lines[:] = with_code_marked(lines)


def setup(app: Sphinx) -> dict[str, Any]:
    """Mark code before sections such as `Raises:` are read."""
    app.connect("autodoc-process-docstring", _mark, priority=400)
    return {"parallel_read_safe": True}
