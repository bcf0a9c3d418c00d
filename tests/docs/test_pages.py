"""The tutorials, guides and explanations: every block of code runs, and prints what the page shows."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from eventlib.testing import private_server
from tests.docs.pages import Reader
from tests.repository import TOP

FOLDERS = ("tutorials", "how-to", "patterns", "explanation", "adr", "reference")
PAGES = sorted(
    [page for folder in FOLDERS for page in (TOP / "docs" / folder).glob("*.md")] + [TOP / "docs" / "usage-guide.md"]
)
WITH_CODE = [page for page in PAGES if re.search(r"```(python|sh|yaml)", page.read_text(encoding="utf-8"))]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with private_server() as started:
        yield started.url


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: f"{page.parent.name}/{page.stem}")
def test_a_page_does_what_it_says(page: Path, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", server)
    monkeypatch.chdir(tmp_path)
    with redis.Redis.from_url(server) as client:
        client.flushall()
    with Reader(tmp_path, server) as reader:
        reader.read(page.read_text(encoding="utf-8"))
