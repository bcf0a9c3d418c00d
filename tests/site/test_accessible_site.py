"""Everyone can read the documentation site too: a browser and axe-core judge one page of each kind.

`make docs` makes the site, and runs this test. `make test` leaves this folder out: Sphinx takes a minute and is not
installed.
"""

from typing import Any

from tests.node.conftest import installed
from tests.node.judging import Judge, judge, wrong
from tests.repository import TOP

__all__ = ["installed", "judge"]  # fixtures

SITE = TOP / "reports" / "docs"
PAGES = {
    "all pages": "docs/index",
    "reference of the API": "docs/reference/testing",
    "reference of commands": "docs/reference/commands",
    "reference of scenario fields": "docs/reference/scenario-fields",
    "a notebook": "notebooks/01_quickstart",
    "how-to": "docs/how-to/troubleshoot",
    "a tutorial": "docs/tutorials/first-scenario",
    "a decision record": "docs/adr/001-one-scenario-two-worlds",
    "a diagram": "DESIGN",
    "search": "search",
}
# Its drawers lie beside the page on purpose, so that what is beyond its edge is not asked.
LOOKS: list[dict[str, Any]] = [
    {"media": "screen", "scheme": "light", "width": 390, "height": 844},
    {"media": "screen", "scheme": "dark", "width": 1280, "height": 900},
]


def test_axe_finds_nothing_wrong_on_a_page_of_each_kind(judge: Judge) -> None:
    assert (SITE / "index.html").exists(), "there is no site in reports/docs; make docs makes it"
    found = judge({kind: SITE / f"{page}.html" for kind, page in PAGES.items()}, LOOKS, rules_only=True)
    assert {kind: problems for kind, one in found.items() if (problems := wrong(one))} == {}
