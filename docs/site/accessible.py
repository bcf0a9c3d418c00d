"""What the theme leaves out for keyboards and screen readers, put into the pages when they are made.

axe-core found each of these. A region that scrolls has to be reached by the tab key, a heading has a level, a page has
one of level one, two landmarks of one kind have names, a cell that heads nothing is no head, and parameters define
nothing.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a test reads this without Sphinx
    from sphinx.application import Sphinx

_PUT = (
    (r"<pre(?=[ >])(?! tabindex)", '<pre tabindex="0"'),
    (r'<div class="(?=table-wrapper|diagram|cell_output)', '<div tabindex="0" class="'),
    (r'role="heading"(?! aria-level)', 'role="heading" aria-level="2"'),
    (r'<aside class="sidebar-drawer"(?! aria)', '<aside class="sidebar-drawer" aria-label="All pages"'),
    (r'<aside class="toc-drawer"(?! aria)', '<aside class="toc-drawer" aria-label="This page"'),
    (r'(?<!</h1>)<div id="search-results">', '<h1>Search</h1><div id="search-results">'),
    (r'<th class="([^"]*)"><p></p></th>', r'<td class="\1"></td>'),
)


def accessible(page: str) -> str:
    """The page with these attributes. One that has them already stays as it is."""
    for pattern, put in _PUT:
        page = re.sub(pattern, put, page)
    return re.sub(r'<dl>(\s*<dd><em class="sig-param">.*?)</dl>', _parameters, page, flags=re.DOTALL)


def _parameters(found: re.Match[str]) -> str:
    """A line for each parameter of a long signature, which Sphinx writes as definitions of no term."""
    return f'<div class="parameters">{found[1].replace("<dd>", "<div>").replace("</dd>", "</div>")}</div>'


def mend(app: "Sphinx", exception: Exception | None) -> None:
    """Mend all pages of a site that was made."""
    if exception is None and app.builder.format == "html":
        for file in Path(app.outdir).rglob("*.html"):
            file.write_text(accessible(file.read_text(encoding="utf-8")), encoding="utf-8")


def setup(app: "Sphinx") -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("build-finished", mend)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
