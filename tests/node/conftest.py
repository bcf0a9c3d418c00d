"""The programs in Node, installed once a machine, against every server found."""

import os
import shutil
from pathlib import Path

import pytest

from tests.node.program import NotInstallable, install, place


@pytest.fixture(scope="session")
def url(server: str) -> str:
    return server


@pytest.fixture(scope="session")
def packages(request: pytest.FixtureRequest) -> Path:
    """Skipped where Node is missing, and where npm is out of reach; but not in CI, where neither should be."""
    cache = request.config.cache
    assert cache is not None
    try:
        return install(cache.mkdir("node-consumer"))
    except NotInstallable as error:
        if os.environ.get("CI") and shutil.which("npm"):
            raise
        pytest.skip(f"the consumer in Node is not tested: {error}")


@pytest.fixture
def programs(packages: Path, tmp_path: Path) -> Path:
    """A directory with the programs in it, to run them in."""
    return place(packages, tmp_path / "programs")
