"""The guarantees hold on every server found."""

from collections.abc import AsyncIterator

import pytest
import redis.asyncio as redis

from eventlib.broker import Broker
from eventlib.keys import Keys
from tests.ledger import Ledger


@pytest.fixture(scope="session")
def url(server: str) -> str:
    return server


@pytest.fixture
def ledger(raw: redis.Redis, namespace: str) -> Ledger:
    """What the server knows about group "billing" on stream "orders"."""
    return Ledger(raw, Keys(namespace).group("orders", "billing"))


@pytest.fixture
async def broker(url: str, namespace: str) -> AsyncIterator[Broker]:
    """The layer below the bus, for what only it can be made to do."""
    made = Broker(url, namespace)
    yield made
    await made.close()
