"""A Chromium of this machine, with axe-core in it, that judges pages. Tests that ask for it are skipped without one."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.node.program import place

JUDGE = Path(__file__).with_name("browser")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
JUDGE_S = 200  # longer than the browser waits for anything: what it says of that is told


class Judge(Protocol):
    """What is found on each page, by its name, in each look. With `rules_only`, axe-core alone looks."""

    def __call__(
        self, pages: Mapping[str, Path], looks: list[dict[str, Any]], *, rules_only: bool = False
    ) -> dict[str, Any]: ...


@pytest.fixture(scope="module")
def judge(installed: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Judge:
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"there is no Chromium here: none of {', '.join(BROWSERS)} is on the PATH")
    folder = place(installed(JUDGE), tmp_path_factory.mktemp("browser") / "judge", JUDGE)

    def judged(pages: Mapping[str, Path], looks: list[dict[str, Any]], *, rules_only: bool = False) -> dict[str, Any]:
        addresses = {name: file.as_uri() for name, file in pages.items()}
        config = {"browser": browser, "pages": addresses, "looks": looks, "pictures": None, "rules_only": rules_only}
        (folder / "config.json").write_text(json.dumps(config))
        command = ["node", "judge.mjs", "config.json"]
        # A shell script starts Debian's Chromium; it and Chromium want a home for their settings.
        said = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=JUDGE_S,
            check=False,
            env={**os.environ, "HOME": str(folder)},
        )
        assert said.returncode == 0, said.stderr[-2000:]
        found: dict[str, Any] = json.loads(said.stdout)
        return found

    return judged


def wrong(found: Mapping[str, Any]) -> list[str]:
    """All that a browser found wrong with a page, a line each."""
    looks = [
        f"{look['media']}, {look['scheme']}, {look['width']} px: {what}: {one}"
        for look in found["looks"]
        for what in ("rules", "cut", "faint", "dark", "closed")
        for one in look.get(what, ())
    ]
    return [*looks, *found["keys"], *found["fetched"]]
