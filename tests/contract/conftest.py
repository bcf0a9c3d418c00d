"""The guarantees hold on every server found."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from eventlib.broker.connections import Broker
from eventlib.policy import Lease


@pytest.fixture(scope="session")
def url(server: str) -> str:
    return server


@pytest.fixture
async def broker(url: str, namespace: str) -> AsyncIterator[Broker]:
    """The layer below the bus, for what only it can be made to do."""
    made = Broker(url, namespace)
    yield made
    await made.close()


@pytest.fixture
def nobody_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who lost an entry to a thief would take it back after a lease: soon, on a machine that stands still."""
    monkeypatch.setattr(Lease, "sweep_wait_s", lambda *_: 3600.0)


@pytest.fixture
async def unheard() -> list[str]:
    """What the event loop complains of: errors that nobody asked for."""
    complaints = list[str]()
    asyncio.get_running_loop().set_exception_handler(lambda _, about: complaints.append(about["message"]))
    return complaints
