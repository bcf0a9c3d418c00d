"""Draws Mermaid diagrams when the site is built: a page needs no program of its own and no network to show them."""

import hashlib
import html
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

log = logging.getLogger(__name__)

_THEMES = {"light": "neutral", "dark": "dark"}  # Furo's classes only-light and only-dark -> Mermaid's themes
_FITS_PX = 720  # the width of a page's text; what is wider scrolls


class Mermaid(SphinxDirective):  # type: ignore[misc]  # mypy skips Sphinx, which only the site needs
    """A fence of Mermaid, drawn once for light pages and once for dark ones. Its `accTitle` is the text for readers."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """The two pictures.

        Raises:
            ExtensionError: the diagram cannot be drawn.
        """
        source = "\n".join(self.content)
        title = re.search(r"^\s*accTitle: *(.+)$", source, re.MULTILINE)
        if title is None:
            log.warning("the diagram has no accTitle: say in words what it shows", location=self.get_location())
        about = title[1] if title else ""
        pictures = "".join(self._picture(source, theme, about) for theme in _THEMES)
        return [nodes.raw("", f'<div class="diagram">{pictures}</div>', format="html")]

    def _picture(self, source: str, theme: str, title: str) -> str:
        svg = drawn(source, _THEMES[theme])
        width = round(float(re.search(r'viewBox="\S+ \S+ (\S+) ', svg)[1]))  # type: ignore[index]  # every SVG has one
        name = f"diagram-{hashlib.sha256(svg.encode()).hexdigest()[:12]}.svg"
        place = Path(self.env.app.outdir, "_images", name)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(svg, encoding="utf-8")
        up = "../" * self.env.docname.count("/")
        fits = " fits" if width <= _FITS_PX else ""
        return f'<img class="only-{theme}{fits}" src="{up}_images/{name}" width="{width}" alt="{html.escape(title)}">'


def drawn(source: str, theme: str) -> str:
    """A diagram as SVG.

    Raises:
        ExtensionError: the source is no diagram.
    """
    import mmdr

    setting = '%%{init: {"theme": "' + theme + '"}}%%\n'
    try:
        svg = str(mmdr.render(setting + source).svg())
    except Exception as error:
        raise ExtensionError(f"this diagram cannot be drawn: {error}\n{source}") from error
    # A picture has no page around it: it says how wide it is by itself.
    return svg.replace('width="100%"', "", 1)


def setup(app: Sphinx) -> dict[str, Any]:
    """Make a fence of Mermaid a picture."""
    app.add_directive("mermaid", Mermaid)
    return {"parallel_read_safe": True}
