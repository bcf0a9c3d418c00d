"""Fills the pages of the reference when the site is built. What they say is read from the code, so it cannot be old."""

from pathlib import Path
from typing import Any

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

from docs.site.made import filled, without_folders


def _fill(app: Sphinx, page: str, source: list[str]) -> None:
    source[0] = without_folders(filled(source[0]), Path(app.env.doc2path(page)).parent)


def _begin(app: Sphinx, error: Exception | None) -> None:
    """The site's address leads to its first page, which is in the folder of the documents."""
    if error is None and app.builder.format == "html":
        first = f"{app.config.root_doc}.html"
        text = f'<!doctype html><meta charset="utf-8"><title>{app.config.html_title}</title>'
        text += f'<meta http-equiv="refresh" content="0; url={first}"><a href="{first}">{app.config.html_title}</a>\n'
        Path(app.outdir, "index.html").write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Fill pages when they are read."""
    for language in (
        "hex",
        "promql",
    ):  # Pygments has no lexer for the first, and one that knows too little for the other
        app.add_lexer(language, TextLexer)
    app.connect("source-read", _fill)
    app.connect("build-finished", _begin)
    return {"parallel_read_safe": True}
