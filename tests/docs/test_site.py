"""The documentation site: every page is reached, every link leads somewhere, and the reference has all that is there.

`make docs` builds it. These tests need neither Sphinx nor its time.
"""

import importlib
import inspect
import re
from pathlib import Path

import pytest

import eventlib as ev
import sim
from docs.site.accessible import accessible
from docs.site.docstrings import with_code_marked
from docs.site.made import MADE, filled, wanted, without_folders
from eventlib.signals import Signal
from sim.cli.commands import COMMANDS
from sim.declare.declared import kind_name, kinds_in
from sim.declare.faults import Fault
from sim.declare.loads import Load
from tests.docs.pages import fences
from tests.repository import TOP

DOCS = TOP / "docs"
TESTED = "\n".join(path.read_text(encoding="utf-8") for path in (TOP / "tests" / "docs").glob("*.py"))
BY_READER = ("tutorials", "how-to", "patterns", "explanation", "adr", "reference")
PAGES = [*sorted(DOCS.rglob("*.md")), *sorted(TOP.glob("*.md")), TOP / "data" / "README.md"]
NOT_RUN = {"deploy.md"}  # it needs a container engine and a cluster, as it says itself
ERRORS = [
    thing
    for module in (ev, sim)
    for thing in (getattr(module, name) for name in module.__all__)
    if inspect.isclass(thing) and issubclass(thing, ev.EventlibError | sim.SimError)
]


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def without_code(page: Path) -> str:
    return re.sub(r"^ *```.*?^ *```$|`[^`\n]*`", "", text_of(page), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """What links to headings of the page may say, as GitHub and MyST make it of their text."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^ *```.*?^ *```$", "", text_of(page), flags=re.S | re.M), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower().strip()).replace(" ", "-") for heading in headings}


def in_contents(page: Path) -> list[Path]:
    """The pages that a page's tables of contents name."""
    found = list[Path]()
    for fence in fences(text_of(page)):
        if fence.language != "{toctree}":
            continue
        for entry in (each.strip() for each in fence.text.splitlines()):
            line = entry.partition("<")[2].removesuffix(">") or entry  # `Title <page>`
            if "*" in line or "[" in line:
                folder, pattern = (page.parent / line).parent.resolve(), Path(line).name
                found += sorted([*folder.glob(f"{pattern}.md"), *folder.glob(f"{pattern}.ipynb")])
            elif line and not line.startswith(":"):
                found.append((page.parent / f"{line}.md").resolve())
    return found


def test_every_page_is_in_one_table_of_contents() -> None:
    reached, named = [DOCS / "index.md"], list[Path]()
    for page in reached:
        here = in_contents(page) if page.suffix == ".md" else []
        named += here
        reached += here
    assert [str(page) for page in named if not page.exists()] == []
    assert len(named) == len(set(named))
    pages = {page.resolve() for page in [*PAGES, *(TOP / "notebooks").glob("*.ipynb")]} - {DOCS / "index.md"}
    assert {str(page) for page in pages - set(named)} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TOP)))
def test_its_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", without_code(page)):
        if link.startswith(("http:", "https:", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link}: there is no {target}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{link}: {target.name} has {sorted(anchors(target))}"


def test_every_page_with_code_is_run_by_a_test() -> None:
    by_reader = {page for page in PAGES if page.parent.name in BY_READER}
    of_docs = {page for page in PAGES if page.is_relative_to(DOCS)} - by_reader
    with_code = [
        page.name for page in of_docs if {"python", "sh", "yaml"} & {f.language for f in fences(text_of(page))}
    ]
    assert with_code
    assert [
        name for name in with_code if name not in NOT_RUN and name not in TESTED and Path(name).stem not in TESTED
    ] == []


def test_diagrams_say_in_words_what_they_show() -> None:
    diagrams = [(page, fence) for page in PAGES for fence in fences(text_of(page)) if fence.language == "mermaid"]
    assert len(diagrams) > 8
    for page, fence in diagrams:
        title = re.search(r"^ *accTitle: (.+)$", fence.text, re.MULTILINE)
        assert title, f"{page.name}, line {fence.line}: the diagram has no accTitle"
        assert ";" not in title[1], f"{page.name}, line {fence.line}: a semicolon ends the title"


def test_what_pages_want_can_be_made() -> None:
    assert sorted(name for page in PAGES for name in wanted(text_of(page))) == sorted(MADE)


@pytest.mark.parametrize(("name", "module"), [("eventlib", ev), ("sim", sim)])
def test_the_reference_has_every_public_name(name: str, module: object) -> None:
    public = importlib.import_module(name).__all__
    described = re.findall(rf"auto\w+:: {name}\.(\w+)", MADE[name]() + MADE["errors"]())
    assert sorted(described) == sorted(public)


def test_the_reference_has_every_command_and_kind() -> None:
    commands, fields = MADE["commands"](), MADE["scenario"]()
    assert [name for name in COMMANDS if f"\n## workbench {name}\n" not in commands] == []
    assert "| `--seeds` | `int` |" in commands and "### workbench dlq replay\n" in commands
    assert [kind_name(kind) for kind in kinds_in(Fault) if f"\n### Fault: `{kind_name(kind)}`\n" not in fields] == []
    assert [kind_name(kind) for kind in kinds_in(Load) if f"\n### Load: `{kind_name(kind)}`\n" not in fields] == []
    assert "| `consumers` | integer, at least 1, at most 100 | `1` |" in fields


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_an_error_says_its_mend(error: type[Exception]) -> None:
    cause, _, mend = " ".join((error.__doc__ or "").split()).partition("Mend: ")
    assert cause and mend.endswith("."), f"{error.__name__}: say in its docstring what to do: `Mend: ...`"


def test_signals_are_no_errors() -> None:
    assert not [error for error in ERRORS if issubclass(error, Signal)]


def test_a_page_is_filled_and_its_links_to_folders_are_words() -> None:
    assert "## workbench simulate" in filled("# Commands\n\n<!-- made: commands -->\n")
    text = "[all of them](scenario.md), [the folder](site)"
    assert without_folders(text, DOCS) == "[all of them](scenario.md), the folder"


def test_code_and_mends_of_a_docstring_are_marked() -> None:
    marked = with_code_marked(["It fails. Mend: try again.", "", "    run()", "", "Raises:", "    No: never."])
    assert marked == [
        "It fails.",
        "",
        "**Mend:** try again.",
        "",
        ".. code-block:: python",
        "",
        "    run()",
        "",
        "Raises:",
        "    No: never.",
    ]


@pytest.mark.parametrize(
    ("made", "mended"),
    [
        ('<aside class="toc-drawer">', '<aside class="toc-drawer" aria-label="This page">'),
        ('<p class="caption" role="heading">', '<p class="caption" role="heading" aria-level="2">'),
        ('<div class="table-wrapper docutils">', '<div tabindex="0" class="table-wrapper docutils">'),
        ("<pre>x</pre>", '<pre tabindex="0">x</pre>'),
        ('<pre class="literal">', '<pre tabindex="0" class="literal">'),
        ("<preface>", "<preface>"),
        ('<div id="search-results">', '<h1>Search</h1><div id="search-results">'),
        ('<th class="head"><p></p></th>', '<td class="head"></td>'),
        (
            '<dl>\n<dd><em class="sig-param">a</em></dd></dl>',
            '<div class="parameters">\n<div><em class="sig-param">a</em></div></div>',
        ),
    ],
)
def test_what_scrolls_is_reached_and_landmarks_have_names(made: str, mended: str) -> None:
    assert accessible(made) == mended == accessible(mended)
