"""The guarantees hold on every server found."""

from collections.abc import AsyncIterator

import pytest

from eventlib.broker import Broker


@pytest.fixture(scope="session")
def url(server: str) -> str:
    return server


@pytest.fixture
async def broker(url: str, namespace: str) -> AsyncIterator[Broker]:
    """The layer below the bus, for what only it can be made to do."""
    made = Broker(url, namespace)
    yield made
    await made.close()
