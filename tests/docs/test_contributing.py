"""What the pages for contributors name is there: files, commands, links; and a license that the metadata name too."""

import re
import tomllib
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
PAGES = ("CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md", "docs/claims.md")
STARTS = ("sim/", "eventlib/", "tests/", "docs/", "examples/")


@pytest.mark.parametrize("page", PAGES)
def test_every_file_and_link_of_a_page_is_there(page: str) -> None:
    text = (TOP / page).read_text(encoding="utf-8")
    named = [path for path in re.findall(r"[`(\s]([\w./-]+/[\w./-]*\w)", text) if path.startswith(STARTS)]
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    missing = [path for path in named if not (TOP / path).exists()]
    missing += [link for link in links if not ((TOP / page).parent / link).exists()]
    assert not missing


def test_every_make_target_is_one() -> None:
    targets = re.findall(r"^([a-z-]+):", (TOP / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    named = re.findall(r"\bmake ([a-z-]+)  ", (TOP / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    assert named and set(named) <= set(targets)


def test_the_four_ways_to_add_something_take_less_than_a_page_each() -> None:
    parts = re.split(r"^## ", (TOP / "CONTRIBUTING.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    ways = {part.partition("\n")[0]: len(part.splitlines()) for part in parts if part.startswith("Add ")}
    assert set(ways) == {"Add a load", "Add a fault", "Add an event to the catalog", "Add a claim"}
    assert max(ways.values()) < 40


def test_the_license_is_the_one_that_the_metadata_name() -> None:
    project = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = (TOP / "LICENSE").read_text(encoding="utf-8")
    assert project["license"] == "Apache-2.0" and "Apache License" in text and "Version 2.0, January 2004" in text
