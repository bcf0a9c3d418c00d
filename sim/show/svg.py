"""An SVG file of matplotlib made into an element that can stand in a page among others."""

import re

from sim.show.style import FONTS, ROLES

_VARIABLES = {color.lower(): f"var(--chart-{role}, {color.lower()})" for role, color in ROLES.items()}


def element(file: str, *, name: str, label: str) -> str:
    """The file as an <svg> element: without prolog and date, and without a reference to anything outside itself.

    `name` makes its ids unique in the page; `label` is what a screen reader says. Its colours are CSS variables of the
    page, with the colours of paper where the page sets none.
    """
    text = file[file.index("<svg") :]
    # matplotlib's style rule is for all elements, so in a page it would hold for the page's own elements too.
    text = re.sub(r"<style[^>]*>.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<[^>]*>", lambda tag: _own(tag[0], name), text)  # text between tags stays as it is
    head = f'<svg role="img" aria-label="{_attribute(label)}" style="stroke-linejoin:round;stroke-linecap:butt"'
    return text.replace("<svg", head, 1).replace(" xmlns:xlink", "\n xmlns:xlink", 1).strip()


def _own(tag: str, name: str) -> str:
    """The tag with ids that are unique in the page, and the page's own fonts and colours."""
    tag = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", tag).replace("'DejaVu Sans'", FONTS)
    return re.sub(r'style="[^"]*"', lambda style: _with_variables(style[0]), tag)


def _with_variables(style: str) -> str:
    return re.sub(r"#[0-9a-f]{6}\b", lambda color: _VARIABLES.get(color[0], color[0]), style)


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
