"""The tutorials, guides and explanations: every block of code runs, and prints what the page shows."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from eventlib.testing import private_server
from tests.docs.pages import Reader, fences, lines_missing
from tests.repository import TOP

FOLDERS = ("tutorials", "how-to", "patterns", "explanation", "adr", "reference")
PAGES = sorted(
    [page for folder in FOLDERS for page in (TOP / "docs" / folder).glob("*.md")]
    + [TOP / "docs" / name for name in ("schedules.md", "usage-guide.md")]
)
WITH_CODE = [page for page in PAGES if re.search(r"```(python|sh|yaml)", page.read_text(encoding="utf-8"))]

PEERS = {"migrate-from-faststream": ["faststream"], "migrate-from-bullmq": ["bullmq"]}  # no part of the set-up


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with private_server() as started:
        yield started.url


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: f"{page.parent.name}/{page.stem}")
def test_a_page_does_what_it_says(page: Path, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", server)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for peer in PEERS.get(page.stem, ()):
        pytest.importorskip(peer)
    with redis.Redis.from_url(server) as client:
        client.flushall()
    with Reader(tmp_path, server) as reader:
        reader.read(page.read_text(encoding="utf-8"))


def test_a_page_that_shows_something_else_is_found(server: str, tmp_path: Path) -> None:
    page = "```python\nprint('charged A1')\n```\n\n```text\ncharged A2\n```\n"
    with (
        Reader(tmp_path, server) as reader,
        pytest.raises(AssertionError, match="line 5: 'charged A2' was not printed"),
    ):
        reader.read(page)


def test_lines_are_looked_for_in_their_order() -> None:
    assert lines_missing("a\n  b   c", "x\na\nb c d") == []
    assert lines_missing("b\na", "a\nb") == ["a"]


def test_fences_of_lists_are_found_too() -> None:
    assert fences("- so:\n\n  ```sh\n  workbench server\n  ```\n") == [("sh", "workbench server\n", 3)]
