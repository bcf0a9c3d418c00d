"""Docstrings are plain text: an indented block after an empty line is code. This tells Sphinx so."""

import inspect
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx


def with_code_marked(lines: list[str]) -> list[str]:
    """The lines with a directive before each indented block that an empty line precedes, and the mend by itself."""
    lines = re.sub(r"\s+Mend: ", "\n\n**Mend:** ", "\n".join(lines)).split("\n")
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


def _mark(_: "Sphinx", __: str, ___: str, ____: object, _____: object, lines: list[str]) -> None:
    lines[:] = with_code_marked(lines)


def _without_own_fields(_: "Sphinx", kind: str, __: str, thing: object, *___: object) -> tuple[str, str] | None:
    """The signature of a class, without the fields that it fills by itself."""
    if kind != "class" or not isinstance(thing, type):
        return None
    from sphinx.util.inspect import stringify_signature

    try:
        signature = inspect.signature(thing)
    except ValueError:
        return None
    given = [each for each in signature.parameters.values() if repr(each.default) != "<factory>"]
    if len(given) == len(signature.parameters):
        return None
    shown = signature.replace(parameters=given, return_annotation=inspect.Signature.empty)
    return stringify_signature(shown, unqualified_typehints=True), ""


def setup(app: "Sphinx") -> dict[str, Any]:
    """Mark code before sections such as `Raises:` are read."""
    app.connect("autodoc-process-docstring", _mark, priority=400)
    app.connect("autodoc-process-signature", _without_own_fields)
    return {"parallel_read_safe": True}
