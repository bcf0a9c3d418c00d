"""The programs in Node, installed once a machine. Their first meeting and a flush are tested on every server found."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.node.program import SOURCES, NotInstallable, install, place


@pytest.fixture(scope="session")
def url(server: str) -> str:
    return server


@pytest.fixture(scope="session")
def installed(request: pytest.FixtureRequest) -> Callable[[Path], Path]:
    """Installs what programs need. Skips where Node is missing or npm out of reach; but not in CI, where npm is."""
    cache = request.config.cache
    assert cache is not None

    def install_or_skip(sources: Path) -> Path:
        try:
            return install(cache.mkdir("node-packages"), sources)
        except NotInstallable as error:
            if os.environ.get("CI") and shutil.which("npm"):
                raise
            pytest.skip(f"the programs in {sources.name} cannot run: {error}")

    return install_or_skip


@pytest.fixture(scope="session")
def packages(installed: Callable[[Path], Path]) -> Path:
    return installed(SOURCES)


@pytest.fixture
def programs(packages: Path, tmp_path: Path) -> Path:
    """A directory with the programs in it, to run them in."""
    return place(packages, tmp_path / "programs")
